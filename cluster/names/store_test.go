// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// solo is a net of one broker.
type solo peer.ID

func (s solo) Self() peer.ID        { return peer.ID(s) }
func (s solo) Live() []peer.ID      { return []peer.ID{peer.ID(s)} }
func (s solo) Send(peer.ID, []byte) {}

// alone starts a service on a state directory.
func alone(t *testing.T, dir string, boot uint64, cfg Config) (*Service, *model, *bytes.Buffer, error) {
	var lines bytes.Buffer
	cfg.StateDir = dir
	cfg.Log = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelWarn}))
	tree := newModel(t, "alone")
	cfg.Net, cfg.Arbiter = solo{"alone", boot}, tree
	s, err := Open(cfg)
	if err != nil {
		return nil, tree, &lines, err
	}
	return s, tree, &lines, s.Start(tree)
}

func start(t *testing.T, dir string, boot uint64) (*Service, *model, *bytes.Buffer) {
	t.Helper()
	s, tree, lines, err := alone(t, dir, boot, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, tree, lines
}

func fill(t *testing.T, s *Service, n int) {
	t.Helper()
	for i := range n {
		e := broker.Entry{Path: fmt.Sprint("n", i), Kind: broker.Pipe, Owner: broker.Owner{Perm: uint32(i)}}
		if err := s.Make(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReload: what a broker had it has again: names, tombstones, and a clock that
// does not go back. Clients' names are not kept.
func TestReload(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "if", "missing")
	s, tree, _ := start(t, dir, 1)
	fill(t, s, 100)
	for _, err := range []error{
		s.Remove(t.Context(), "n5", broker.Pipe),
		s.Rename(t.Context(), "n6", "moved", false),
		s.Make(t.Context(), broker.Entry{Path: "client", Kind: broker.Pipe, Transient: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	last := s.clock.last
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tree.drop("client")
	s2, tree2, _, err := alone(t, dir, 2, Config{Now: func() time.Time { return time.Unix(1000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	if got, want := tree2.String(), tree.String(); got != want {
		t.Errorf("after a restart:\n%s\nwant:\n%s", got, want)
	}
	if e := s2.names.get("n5"); e == nil || !e.Dead {
		t.Errorf("tombstone: %+v", e)
	}
	if now := s2.clock.now(); now.Time <= last {
		t.Errorf("the clock went back by %d ns", last-now.Time)
	}
}

// TestClockAfterCrash: stamps that were given but not written are not given again.
func TestClockAfterCrash(t *testing.T) {
	frozen := func() time.Time { return time.Unix(5000, 0) }
	dir, copied := t.TempDir(), t.TempDir()
	s, _, _, err := alone(t, dir, 1, Config{Now: frozen})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fill(t, s, 10)
	flushed(t, s, 10)
	before, err := os.ReadFile(filepath.Join(dir, storeName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, storeName), before, 0o600); err != nil {
		t.Fatal(err)
	}
	var last int64
	for range 1000 { // these the copy lacks
		s.mu.Lock()
		last = s.clock.now().Time
		s.mu.Unlock()
	}
	s2, _, _, err := alone(t, copied, 2, Config{Now: frozen})
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	if now := s2.clock.now().Time; now <= last {
		t.Errorf("a stamp was given twice: %d after %d", now, last)
	}
}

// TestLocked: two brokers on one directory would each overwrite the other.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, 1)
	_, _, _, err := alone(t, dir, 2, Config{})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

// TestBadDirectory: no state without a place for it.
func TestBadDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := alone(t, file, 1, Config{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}

// TestKilled: what a broker killed by SIGKILL had for longer than the window is there
// when it starts again.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("NAMES_TEST_DIR"); dir != "" {
		writeUntilKilled(t, dir)
	}
	dir := t.TempDir()
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "NAMES_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var last int
		for n := 0; n < 100*(round+1); n++ {
			if _, err := fmt.Fscanln(out, &last); err != nil {
				t.Errorf("the writer: %v", err)
				break
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s, tree, lines := start(t, dir, uint64(round+10))
		if lines.Len() > 0 {
			t.Errorf("round %d: %s", round, lines)
		}
		if have := len(tree.list("")); have < last {
			t.Errorf("round %d: %d names, %d were on disk", round, have, last)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writeUntilKilled makes names and says how many are on disk by now.
func writeUntilKilled(t *testing.T, dir string) {
	s, tree, _ := start(t, dir, 1)
	for i := len(tree.list("")); ; i++ {
		fmt.Println(flushed(t, s, i))
		if err := s.Make(t.Context(), broker.Entry{Path: fmt.Sprint("n", i), Kind: broker.Pipe}); err != nil {
			t.Fatal(err)
		}
	}
}

// flushed returns n once what was made so far is on disk, each tenth time; else 0.
func flushed(t *testing.T, s *Service, n int) int {
	if n == 0 || n%10 != 0 {
		return 0
	}
	last := []byte(fmt.Sprint("n", n-1))
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for late := time.After(10 * time.Second); ; {
		there := false
		err := s.store.db.View(func(tx *bbolt.Tx) error {
			there = tx.Bucket(namesBucket).Get(last) != nil
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if there {
			return n
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("%s is not on disk after 10 s", last)
		}
	}
}

// TestStoreFails: a disk that does not take it is reported once, and all goes on.
func TestStoreFails(t *testing.T) {
	dir := t.TempDir()
	s, tree, lines := start(t, dir, 1)
	fill(t, s, 10)
	flushed(t, s, 10)
	if err := s.store.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Make(t.Context(), broker.Entry{Path: "more", Kind: broker.Pipe}); err != nil {
		t.Fatal(err)
	}
	if !tree.has("more") {
		t.Error("not made")
	}
	if err := s.Close(); err == nil {
		t.Error("no error, though the copy is not up to date")
	}
	if n := strings.Count(lines.String(), "cannot be written"); n > 1 {
		t.Errorf("reported %d times", n)
	}
}

// TestForbidden: a state directory that may not be written to, or has somebody else's files, is
// refused in one line that says which file it is about, and stays as it is.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		what, about string
		forbid      func(dir string) error
	}{
		{"a new directory", lockName, func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, lockName)), os.Chmod(dir, 0o555))
		}},
		{"a directory", storeName, func(dir string) error {
			return errors.Join(os.Chmod(filepath.Join(dir, lockName), 0o666), os.Chmod(dir, 0o555))
		}},
		{"the lock", lockName, func(dir string) error { return os.Chmod(filepath.Join(dir, lockName), 0) }},
		{"the file", storeName, func(dir string) error {
			return errors.Join(os.Chmod(filepath.Join(dir, lockName), 0o666), os.Chmod(filepath.Join(dir, storeName), 0))
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // only dir is to be in the way
				t.Fatal(err)
			}
			s, _, _ := start(t, dir, 1)
			fill(t, s, 10)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.forbid(dir); err != nil {
				t.Fatal(err)
			}
			err := powerless(func() error {
				s, err := Open(Config{Net: solo{"alone", 2}, StateDir: dir})
				if err == nil {
					err = errors.Join(errors.New("opened"), s.Close())
				}
				return err
			})
			if !errors.Is(err, ErrState) || !errors.Is(err, fs.ErrPermission) || strings.Count(err.Error(), filepath.Join(dir, c.about)) != 1 || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*.*")); len(files) != 1 {
				t.Errorf("left there: %q", files)
			}
		})
	}
}

// powerless runs f on a thread that as far as files go is nobody's.
func powerless(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		const nobody = 65534
		if err := unix.Setfsgid(nobody); err != nil {
			done <- err
			return
		}
		if err := unix.Setfsuid(nobody); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}
