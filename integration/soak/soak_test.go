// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package soak uses one mount for a long time, in random ways.
package soak

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m, "cat", "head", "mkfifo")) }

// length is how long a soak takes: ZPIPES_SOAK, or a moment among the other tests.
func length(t *testing.T) time.Duration {
	setting := os.Getenv("ZPIPES_SOAK")
	if setting == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(setting)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// workers use the mount at once; each has pipes of its own and a seed that the
// log names.
const workers = 8

// TestSoak has workers do one random thing after the other until the time is up.
// Whatever is done, the bytes of those that were not killed are whole, and the
// mount answers.
func TestSoak(t *testing.T) {
	mount := lab.NewMount(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(context.Background(), length(t))
	defer cancel()
	var all sync.WaitGroup
	counts := make([]int, workers)
	for i := range workers {
		all.Go(func() {
			w := &worker{rnd: rand.New(rand.NewPCG(seed, uint64(i))), pipe: filepath.Join(mount.Dir, fmt.Sprint("p", i))}
			for ctx.Err() == nil {
				if err := w.round(); err != nil {
					t.Errorf("worker %d, round %d: %v", i, counts[i], err)
					cancel()
					return
				}
				counts[i]++
			}
		})
	}
	all.Wait()
	t.Logf("rounds: %v", counts)
	left, err := os.ReadDir(mount.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the mount: %v, %v", left, err)
	}
}

type worker struct {
	rnd  *rand.Rand
	pipe string
}

// patience bounds a round: past it something hangs.
const patience = time.Minute

func (w *worker) round() error {
	if err := syscall.Mkfifo(w.pipe, 0o600); err != nil {
		return fmt.Errorf("mkfifo: %w", err)
	}
	rounds := []func(context.Context) error{w.stream, w.stream, w.killWriter, w.killReader, w.openAndClose, w.killOpener}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := rounds[w.rnd.IntN(len(rounds))](ctx); err != nil {
		return err
	}
	return os.Remove(w.pipe)
}

// stream sends random bytes in random blocks and compares what comes.
func (w *worker) stream(context.Context) error {
	size := int64(w.rnd.IntN(4 << 20))
	sent, got := sha256.New(), sha256.New()
	wrote := make(chan error, 1)
	writing := rand.New(rand.NewPCG(w.rnd.Uint64(), 1))
	go func() { wrote <- w.write(writing, sent, size) }()
	n, err := w.read(got)
	if err := errors.Join(err, <-wrote); err != nil {
		return fmt.Errorf("stream of %d bytes: %w", size, err)
	}
	if n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		return fmt.Errorf("stream: %d bytes were sent, %d others came", size, n)
	}
	return nil
}

func (w *worker) write(rnd *rand.Rand, sum hash.Hash, size int64) error {
	f, err := os.OpenFile(w.pipe, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	source := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)})
	for size > 0 {
		block := make([]byte, min(size, 1+rnd.Int64N(300<<10)))
		if _, err := source.Read(block); err != nil {
			return err
		}
		sum.Write(block)
		if _, err := f.Write(block); err != nil {
			return err
		}
		size -= int64(len(block))
	}
	return nil
}

func (w *worker) read(sum hash.Hash) (total int64, err error) {
	f, err := os.Open(w.pipe)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf[:1+w.rnd.IntN(len(buf))])
		sum.Write(buf[:n])
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// shell starts a program on the pipe, which dies with the context.
func (w *worker) shell(ctx context.Context, script string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", script, "sh", w.pipe)
	return cmd, cmd.Start()
}

// killWriter kills a writer at a random moment: its reader gets the end of data.
func (w *worker) killWriter(ctx context.Context) error {
	writer, err := w.shell(ctx, `exec cat /dev/zero >"$1"`)
	if err != nil {
		return err
	}
	f, err := os.Open(w.pipe)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(io.Discard, f, w.rnd.Int64N(8<<20)); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := kill(writer); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, f); err != nil {
		return fmt.Errorf("read what is left: %w", err)
	}
	return nil
}

// killReader kills a reader at a random moment: its writer gets EPIPE.
func (w *worker) killReader(ctx context.Context) error {
	reader, err := w.shell(ctx, `exec cat "$1" >/dev/null`)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(w.pipe, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 100<<10)
	for range w.rnd.IntN(50) {
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if err := kill(reader); err != nil {
		return err
	}
	if _, err := f.Write(block); !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("write without a reader: %v, want EPIPE", err)
	}
	return nil
}

// openAndClose has readers and writers come and go at once.
func (w *worker) openAndClose(context.Context) error {
	const times = 50
	wrote := make(chan error, 1)
	go func() {
		for range times {
			f, err := os.OpenFile(w.pipe, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.Write([]byte{'x'})
				f.Close()
			}
			if err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	keep, err := os.OpenFile(w.pipe, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer keep.Close()
	for got := 0; got < times; {
		f, err := os.OpenFile(w.pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f.Close()
		n, err := keep.Read(make([]byte, times))
		if err != nil && err != io.EOF {
			return err
		}
		got += n
	}
	return <-wrote
}

// killOpener kills a process that waits in open; nothing of it is left.
func (w *worker) killOpener(ctx context.Context) error {
	opener, err := w.shell(ctx, `exec cat "$1"`)
	if err != nil {
		return err
	}
	return kill(opener)
}

// kill ends a process and waits for it.
func kill(cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("wait for the killed process: %w", err)
	}
	return nil
}
