// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// bothWaysScenarios are about O_RDWR, which fifo(7) leaves to the system:
// Linux opens it at once, as a reader and a writer.
func bothWaysScenarios() []scenario {
	return []scenario{
		{"both ways/open does not wait", bothWaysOpen},
		{"both ways/reads what it wrote", bothWaysSelf},
		{"both ways/write while a read of the same descriptor waits", bothWaysBlockedRead},
		{"both ways/full and drained by itself", bothWaysFull},
		{"both ways/counts as a writer", bothWaysWriter},
		{"both ways/counts as a reader", bothWaysReader},
		{"both ways/poll", bothWaysPoll},
		{"both ways/data stays as long as it is open", bothWaysKeeps},
	}
}

func bothWaysOpen(s *script) {
	s.fifo("p")
	w := s.writer()
	w.do(open("p", rdwr))
	w.do(open("p", rdwr|nb))
	w.do(open("p", rdonly))
	w.do(open("p", wronly))
}

func bothWaysSelf(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", rdwr|nb)).fd()
	w.do(read(fd, 10))
	w.do(write(fd, "hello"))
	w.do(read(fd, 3))
	w.do(read(fd, 10))
	w.do(read(fd, 10))
}

func bothWaysBlockedRead(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", rdwr)).fd()
	waiting := w.start(read(fd, 10))
	waiting.blocks()
	w.thread(1).do(write(fd, "hello"))
	waiting.wait()
}

func bothWaysFull(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", rdwr|nb)).fd()
	filled := w.do(fill(fd, 4096))
	w.do(drainAgain(fd, filled))
	w.do(read(fd, 10))
	// A blocked write and the read that frees it, on one descriptor.
	w.do(nonblock(fd, false))
	waiting := w.start(writePattern(fd, oversize, 5))
	waiting.blocks()
	w.thread(1).do(drain(fd, oversize, 0))
	waiting.wait()
}

func bothWaysWriter(s *script) {
	s.fifo("p")
	both, w, r := s.writer(), s.writer(), s.reader()
	bfd := both.do(open("p", rdwr)).fd()
	rfd := r.do(open("p", rdonly)).fd()
	wfd := w.do(open("p", wronly)).fd()
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 10))
	w.do(closing(wfd))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	both.do(closing(bfd))
	waiting.wait()
}

func bothWaysReader(s *script) {
	s.fifo("p")
	both, w := s.reader(), s.writer()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	bfd := both.do(open("p", rdwr)).fd()
	wfd := w.do(open("p", wronly|nb)).fd()
	w.do(write(wfd, "hello"))
	both.do(read(bfd, 2))
	both.do(closing(bfd))
	w.until("EPIPE", write(wfd, "x"))
}

func bothWaysPoll(s *script) {
	s.fifo("p")
	both, w, r := s.writer(), s.writer(), s.reader()
	fd := both.do(open("p", rdwr)).fd()
	all := unix.POLLIN | unix.POLLOUT
	both.do(poll(fd, all, now))
	both.do(write(fd, "hello"))
	both.do(poll(fd, all, now))
	both.do(read(fd, 10))
	// Other ends come and go: it is its own partner and sees no end.
	wfd, rfd := w.do(open("p", wronly)).fd(), r.do(open("p", rdonly)).fd()
	w.do(closing(wfd))
	r.do(closing(rfd))
	both.do(poll(fd, unix.POLLIN, brief))
	both.do(nonblock(fd, true))
	both.do(fill(fd, 4096))
	both.do(poll(fd, all, now))
	both.do(poll(fd, unix.POLLOUT, now))
}

func bothWaysKeeps(s *script) {
	s.fifo("p")
	keeper, w, r := s.writer(), s.writer(), s.reader()
	keeper.do(open("p", rdwr))
	wfd := w.do(open("p", wronly)).fd()
	w.do(write(wfd, "left "))
	w.do(closing(wfd))
	wfd = w.do(open("p", wronly)).fd()
	w.do(write(wfd, "behind"))
	w.do(closing(wfd))
	rfd := r.do(open("p", rdonly)).fd()
	r.do(drain(rfd, 11, 100))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
}
