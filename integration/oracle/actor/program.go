// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// programOps do as whole programs do.
func programOps() map[string]op {
	return map[string]op{
		"exec":        execute,
		"ping_pong":   pingPong,
		"close_then":  closeThen,
		"meet":        meet,
		"meet_first":  meetFirst,
		"go_write":    goWrite,
		"go_read":     goRead,
		"go_deadline": goDeadline,
	}
}

// execute runs the command line Words, which inherits every descriptor of the
// actor without FD_CLOEXEC. Ret is its exit status, Text its output.
func execute(r Request) Result {
	cmd := exec.Command(r.Words[0], r.Words[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return answer(0, err)
	}
	return Result{Ret: int64(cmd.ProcessState.ExitCode()), Text: out.String()}
}

// goWrite copies a pattern to Path through package os, whose files are in
// epoll and non-blocking where the kernel allows it. Args: size, seed.
func goWrite(r Request) Result {
	f, err := os.OpenFile(r.Path, os.O_WRONLY, 0)
	if err != nil {
		return answer(0, err)
	}
	h := sha256.New()
	n, err := io.Copy(f, io.TeeReader(io.LimitReader(Pattern(r.Args[1]), r.Args[0]), h))
	return ended(n, sum(h), errors.Join(err, f.Close()))
}

// goRead reads Path to its end through package os.
func goRead(r Request) Result {
	f, err := os.Open(r.Path)
	if err != nil {
		return answer(0, err)
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	return ended(n, sum(h), errors.Join(err, f.Close()))
}

// goDeadline reads Path through package os with a deadline, Args: milliseconds.
func goDeadline(r Request) Result {
	f, err := os.Open(r.Path)
	if err != nil {
		return answer(0, err)
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(time.Duration(r.Args[0]) * time.Millisecond)); err != nil {
		return Result{Ret: -1, Errno: "no deadline"}
	}
	buf := make([]byte, shown)
	n, err := f.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Result{Ret: -1, Errno: "deadline exceeded"}
	}
	return readAnswer(n, err, buf)
}

// pingPong answers each byte that comes from Path with one to Path2. Both are
// non-blocking and it only reads when an edge-triggered epoll says so. Args:
// rounds to play; with 0 it serves until the other side hangs up. Ret is the
// bytes received.
func pingPong(r Request) Result {
	rounds := r.Args[0]
	in, out, err := openBoth(r.Path, r.Path2, rounds > 0)
	if err != nil {
		return answer(0, err)
	}
	defer unix.Close(in)
	defer unix.Close(out)
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return answer(0, err)
	}
	defer unix.Close(ep)
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(in)}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, in, &event); err != nil {
		return answer(0, err)
	}
	if rounds > 0 {
		if _, err := unix.Write(out, []byte("x")); err != nil {
			return answer(0, err)
		}
	}
	return play(ep, in, out, rounds)
}

func play(ep, in, out int, rounds int64) Result {
	var got int64
	buf := make([]byte, 10)
	for {
		n, err := unix.Read(in, buf)
		switch {
		case err == unix.EAGAIN:
			events := make([]unix.EpollEvent, 1)
			if n, err := unix.EpollWait(ep, events, 10_000); err != nil || n == 0 {
				return ended(got, "", errors.Join(err, errors.New("no event")))
			}
			continue
		case err != nil:
			return ended(got, "", err)
		case n == 0:
			return Result{Ret: got}
		}
		got += int64(n)
		if rounds > 0 && got == rounds {
			return Result{Ret: got}
		}
		if _, err := unix.Write(out, buf[:n]); err != nil {
			return ended(got, "", err)
		}
	}
}

// openBoth opens in for reading and out for writing, out first or last, and
// makes both non-blocking.
func openBoth(inPath, outPath string, outFirst bool) (in, out int, err error) {
	if outFirst {
		out, err = unix.Open(outPath, unix.O_WRONLY, 0)
	}
	if err == nil {
		in, err = unix.Open(inPath, unix.O_RDONLY, 0)
	}
	if err == nil && !outFirst {
		out, err = unix.Open(outPath, unix.O_WRONLY, 0)
	}
	if err == nil {
		err = errors.Join(unix.SetNonblock(in, true), unix.SetNonblock(out, true))
	}
	return in, out, err
}

// meet reads Path to its end and sends what came to Path2, opening both anew
// each time. Args: rounds.
func meet(r Request) Result {
	for i := range r.Args[0] {
		data, err := os.ReadFile(r.Path)
		if err == nil {
			err = send(r.Path2, data)
		}
		if err != nil {
			return ended(i, "", err)
		}
	}
	return Result{Ret: r.Args[0]}
}

// meetFirst is the partner of meet: it sends to Path what must come back on
// Path2.
func meetFirst(r Request) Result {
	for i := range r.Args[0] {
		question := []byte(fmt.Sprintf("round %d", i))
		err := send(r.Path, question)
		var data []byte
		if err == nil {
			data, err = os.ReadFile(r.Path2)
		}
		if err == nil && !bytes.Equal(data, question) {
			err = fmt.Errorf("%q came back for %q", data, question)
		}
		if err != nil {
			return ended(i, "", err)
		}
	}
	return Result{Ret: r.Args[0]}
}

func send(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// closeThen opens both ends of Path, closes one and at once, in the same
// thread, does what must notice. Args: rounds; 0 for write after the reader's
// close, 1 for read after the writer's, 2 for opening to write without waiting
// after the reader's. Ret is how often the close was noticed.
func closeThen(r Request) Result {
	var noticed int64
	for range r.Args[0] {
		rfd, err := unix.Open(r.Path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return ended(noticed, "", err)
		}
		wfd, err := unix.Open(r.Path, unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return ended(noticed, "", err)
		}
		ends := []int{rfd, wfd}
		if r.Args[1] == 1 {
			ends = []int{wfd, rfd}
		}
		_ = unix.Close(ends[0]) // its descriptor is good: it was just opened
		if notices(r, ends[1]) {
			noticed++
		}
		_ = unix.Close(ends[1]) // likewise
	}
	return Result{Ret: noticed}
}

// notices tells whether a call shows that the other end has been closed.
func notices(r Request, fd int) bool {
	switch r.Args[1] {
	case 0:
		_, err := unix.Write(fd, []byte("x"))
		return err == unix.EPIPE
	case 1:
		n, err := unix.Read(fd, make([]byte, 1))
		return n == 0 && err == nil
	default:
		second, err := unix.Open(r.Path, unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			_ = unix.Close(second) // likewise
		}
		return err == unix.ENXIO
	}
}
