// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// openFlagScenarios are about the flags of open(2) that do not decide whether
// it waits.
func openFlagScenarios() []scenario {
	return []scenario{
		{"flags/O_TRUNC keeps the data", flagTrunc},
		{"flags/O_APPEND", flagAppend},
		{"flags/O_CREAT on an existing pipe", flagCreat},
		{"flags/O_CREAT and O_EXCL on an existing pipe", flagExcl},
		{"flags/O_CREAT waits like any open", flagCreatWaits},
		{"flags/O_DIRECTORY", flagDirectory},
		{"flags/O_NOFOLLOW", flagNofollow},
		{"flags/O_PATH does not wait and is no end", flagPath},
		{"flags/O_CLOEXEC", flagCloexec},
		{"flags/F_GETFL", flagGetfl},
	}
}

func flagTrunc(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "kept"))
	second := w.do(open("p", wronly|unix.O_TRUNC)).fd()
	w.do(write(second, " and more"))
	r.do(drain(rfd, 13, 100))
	r.do(open("p", rdonly|nb|unix.O_TRUNC))
}

func flagAppend(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	opening := r.start(open("p", rdonly))
	opening.blocks()
	wfd := w.do(open("p", wronly|unix.O_APPEND)).fd()
	rfd := opening.wait().fd()
	w.do(write(wfd, "one "))
	w.do(write(wfd, "two"))
	r.do(drain(rfd, 7, 100))
}

func flagCreat(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb|unix.O_CREAT)).fd()
	wfd := w.do(open("p", wronly|unix.O_CREAT)).fd()
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 100))
}

func flagExcl(s *script) {
	s.fifo("p")
	w := s.writer()
	w.do(open("p", wronly|unix.O_CREAT|unix.O_EXCL))
	w.do(open("p", rdwr|nb|unix.O_CREAT|unix.O_EXCL))
	s.usable()
}

// What a shell's redirection does: create, truncate and wait for a reader,
// while the directory stays usable for everybody else.
func flagCreatWaits(s *script) {
	s.fifo("p")
	w, other, r := s.writer(), s.writer(), s.reader()
	waiting := w.start(open("p", wronly|unix.O_CREAT|unix.O_TRUNC))
	waiting.blocks()
	other.do(onName("mkfifo", "q", 0o644))
	other.do(open("q", rdonly|nb))
	other.do(onName("unlink", "q"))
	rfd := r.do(open("p", rdonly)).fd()
	wfd := waiting.wait().fd()
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 100))
}

func flagDirectory(s *script) {
	s.fifo("p")
	w := s.writer()
	w.do(open("p", rdonly|unix.O_DIRECTORY))
	w.do(open("p", rdonly|nb|unix.O_DIRECTORY))
	s.usable()
}

func flagNofollow(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb|unix.O_NOFOLLOW)).fd()
	wfd := w.do(open("p", wronly|unix.O_NOFOLLOW)).fd()
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 100))
}

func flagPath(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", unix.O_PATH)).fd()
	w.do(read(fd, 10))
	w.do(write(fd, "hello"))
	w.do(fstat(fd))
	w.do(open("p", wronly|nb))
	s.usable()
}

// With O_CLOEXEC a program the writer executes does not hold the pipe open;
// without, it does.
func flagCloexec(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	for _, flags := range []int{wronly, wronly | unix.O_CLOEXEC} {
		opening := r.start(open("p", rdonly))
		wfd := w.do(open("p", flags)).fd()
		rfd := opening.wait().fd()
		// The descriptor's number is the only thing a child can know of it.
		echo := execute("echo from the child 2>/dev/null >&" + strconv.Itoa(wfd))
		if flags&unix.O_CLOEXEC != 0 {
			echo = execute("test -h /proc/self/fd/" + strconv.Itoa(wfd))
		}
		w.do(echo)
		w.do(closing(wfd))
		r.do(drain(rfd, 100, 100))
		r.do(closing(rfd))
		s.free()
	}
}

func flagGetfl(s *script) {
	_, _, r, rfd := s.pair()
	show := func(fd int) {
		got := r.quiet(onFD("fcntl", fd, unix.F_GETFL, 0))
		r.s.line("r: flags %s", mask(int(got.Ret)&(unix.O_ACCMODE|nb|unix.O_APPEND), openFlags))
	}
	show(rfd)
	r.do(nonblock(rfd, true))
	show(rfd)
	r.do(nonblock(rfd, false))
	show(rfd)
	show(r.do(open("p", wronly|nb|unix.O_APPEND)).fd())
	show(r.do(open("p", rdwr)).fd())
}
