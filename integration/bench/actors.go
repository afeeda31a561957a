// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The programs that are measured run in processes of their own, as users' do: this
// one started again with an actor's name. They use bare system calls, so that a
// runtime's poller does not stand between.

// result is what an actor prints when it has ended.
type result struct {
	Bytes   int64         `json:"bytes"`
	Count   int           `json:"count"`
	Elapsed time.Duration `json:"elapsed"`
	P50     time.Duration `json:"p50"`
	P99     time.Duration `json:"p99"`
}

// actor is a running actor.
type actor struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func start(ctx context.Context, args ...string) (*actor, error) { return startWith(ctx, nil, args...) }

// startWith starts an actor that is killed when ctx ends.
func startWith(ctx context.Context, stdin *os.File, args ...string) (*actor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"actor"}, args...)...)
	cmd.Stderr = os.Stderr
	if stdin != nil {
		cmd.Stdin = stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &actor{cmd, bufio.NewReader(out)}, cmd.Start()
}

// startHeld starts an actor that ends when the returned pipe is closed.
func startHeld(ctx context.Context, args ...string) (*actor, io.Closer, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	a, err := startWith(ctx, r, args...)
	return a, w, err
}

func (a *actor) wait() (r result, err error) {
	line, readErr := a.out.ReadBytes('\n')
	if err := a.cmd.Wait(); err != nil {
		return r, fmt.Errorf("%v: %w", a.cmd.Args[2:], err)
	}
	if readErr != nil {
		return r, fmt.Errorf("%v: %w", a.cmd.Args[2:], readErr)
	}
	return r, json.Unmarshal(line, &r)
}

// act is the actor's side.
func act(args []string) error {
	if !strings.HasPrefix(args[0], "z") {
		runtime.LockOSThread()
	}
	var r result
	var err error
	number := func(i int) (n int) {
		if err == nil {
			n, err = strconv.Atoi(args[i])
		}
		return n
	}
	switch args[0] {
	case "source":
		r, err = source(args[1], number(2), number(3))
	case "sink":
		r, err = sink(args[1], number(2))
	case "ping":
		r, err = ping(args[1], args[2], number(3))
	case "pong":
		r, err = pong(args[1], args[2])
	case "zsource":
		r, err = clientSource(args[1], args[2], number(3), number(4), number(5))
	case "zsink":
		r, err = clientSink(args[1], args[2], number(3), number(4))
	case "zping":
		r, err = clientPing(args[1], number(2), number(3), number(4))
	case "zpong":
		r, err = clientPong(args[1], number(2))
	case "hold":
		r, err = hold(args[1], number(2))
	case "openclose":
		r, err = openClose(args[1], number(2))
	case "pour":
		r, err = pour(args[1], number(2), time.Duration(number(3))*time.Millisecond)
	case "swallow":
		r, err = swallow(args[1], number(2))
	case "tcpping":
		r, err = tcpPing(args[1], number(2))
	case "tcppong":
		r, err = tcpPong(args[1])
	case "first":
		r, err = firstBytes(args[1], number(2))
	case "await":
		r, err = awaitFirst(args[1], number(2))
	case "tcpfirst":
		r, err = tcpFirst(args[1], number(2))
	case "tcpawait":
		r, err = tcpAwait(args[1], number(2))
	default:
		err = fmt.Errorf("unknown actor %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// The runtime's own signals interrupt a call; in a FUSE file system SA_RESTART
// does not restart it.
func retry(f func() (int, error)) (n int, err error) {
	for n, err = f(); err == syscall.EINTR; n, err = f() {
	}
	return n, err
}

func openPipe(path string, flags int, mode uint32) (int, error) {
	return retry(func() (int, error) { return syscall.Open(path, flags, mode) })
}

func read(fd int, b []byte) (int, error) {
	return retry(func() (int, error) { return syscall.Read(fd, b) })
}

func write(fd int, b []byte) (int, error) {
	return retry(func() (int, error) { return syscall.Write(fd, b) })
}

// source writes count blocks of size bytes.
func source(path string, size, count int) (r result, err error) {
	fd, err := openPipe(path, syscall.O_WRONLY, 0)
	if err != nil {
		return r, err
	}
	buf := make([]byte, size)
	begin := time.Now()
	for range count {
		for b := buf; len(b) > 0; {
			n, err := write(fd, b)
			if err != nil {
				return r, err
			}
			b = b[n:]
		}
	}
	r.Elapsed = time.Since(begin)
	return r, syscall.Close(fd)
}

// sink reads to the end, in blocks of size bytes.
func sink(path string, size int) (r result, err error) {
	fd, err := openPipe(path, syscall.O_RDONLY, 0)
	if err != nil {
		return r, err
	}
	buf := make([]byte, size)
	begin := time.Now()
	for {
		n, err := read(fd, buf)
		if err != nil {
			return r, err
		}
		if n == 0 {
			break
		}
		r.Bytes += int64(n)
		r.Count++
	}
	r.Elapsed = time.Since(begin)
	return r, syscall.Close(fd)
}

// ping sends a byte to one pipe and waits for it on the other, count times.
func ping(to, from string, count int) (r result, err error) {
	w, err := openPipe(to, syscall.O_WRONLY, 0)
	if err != nil {
		return r, err
	}
	rd, err := openPipe(from, syscall.O_RDONLY, 0)
	if err != nil {
		return r, err
	}
	return pingOn(w, rd, count)
}

func pingOn(w, rd, count int) (r result, err error) {
	var b [1]byte
	times := make([]time.Duration, 0, count)
	begin := time.Now()
	for range count {
		t := time.Now()
		if _, err := write(w, b[:]); err != nil {
			return r, err
		}
		if n, err := read(rd, b[:]); n != 1 {
			return r, fmt.Errorf("read %d: %w", n, err)
		}
		times = append(times, time.Since(t))
	}
	r.Elapsed, r.Count = time.Since(begin), count
	r.percentiles(times)
	return r, nil
}

func (r *result) percentiles(times []time.Duration) {
	slices.Sort(times)
	r.P50, r.P99 = times[len(times)/2], times[len(times)*99/100]
}

// pong sends back what comes until the end.
func pong(from, to string) (r result, err error) {
	rd, err := openPipe(from, syscall.O_RDONLY, 0)
	if err != nil {
		return r, err
	}
	w, err := openPipe(to, syscall.O_WRONLY, 0)
	if err != nil {
		return r, err
	}
	return pongOn(rd, w)
}

func pongOn(rd, w int) (r result, err error) {
	var b [1]byte
	for {
		n, err := read(rd, b[:])
		if n == 0 || err != nil {
			return r, err
		}
		if _, err := write(w, b[:]); err != nil {
			return r, err
		}
		r.Count++
	}
}

// openClose opens for both and closes, count times.
func openClose(path string, count int) (r result, err error) {
	begin := time.Now()
	for range count {
		fd, err := openPipe(path, syscall.O_RDWR, 0)
		if err != nil {
			return r, err
		}
		if err := syscall.Close(fd); err != nil {
			return r, err
		}
	}
	r.Elapsed, r.Count = time.Since(begin), count
	return r, nil
}
