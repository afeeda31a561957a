// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// nonblockScenarios are about O_NONBLOCK, at open and switched later.
func nonblockScenarios() []scenario {
	return []scenario{
		{"nonblock/reader without a writer", nonblockReaderAlone},
		{"nonblock/reader with an idle writer", nonblockReaderIdleWriter},
		{"nonblock/writer without a reader", nonblockWriterAlone},
		{"nonblock/writer with a reader blocked in open", nonblockWriterMeetsOpener},
		{"nonblock/writer after the reader has gone", nonblockWriterAfterReader},
		{"nonblock/full pipe", nonblockFull},
		{"nonblock/large write is partial", nonblockPartial},
		{"nonblock/small write is whole or not at all", nonblockWhole},
		{"nonblock/blocks of an odd size are whole", nonblockOddBlocks},
		{"nonblock/switched by fcntl on a reader", nonblockSwitchedReader},
		{"nonblock/switched by fcntl on a writer", nonblockSwitchedWriter},
		{"nonblock/switched off without a writer", nonblockSwitchedAlone},
	}
}

func nonblockReaderAlone(s *script) {
	s.fifo("p")
	r := s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	r.do(read(rfd, 10))
	r.do(read(rfd, 10))
}

func nonblockReaderIdleWriter(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	wfd := w.do(open("p", wronly)).fd()
	r.until("EAGAIN", read(rfd, 10))
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 10))
	r.do(read(rfd, 10))
	w.do(closing(wfd))
	r.until(`0 ""`, read(rfd, 10))
	r.do(read(rfd, 10))
}

func nonblockWriterAlone(s *script) {
	s.fifo("p")
	w := s.writer()
	w.do(open("p", wronly|nb))
	w.do(open("p", wronly|nb|unix.O_CREAT))
	// The attempt must leave no writer behind.
	r := s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	r.do(read(rfd, 10))
	w.do(open("p", wronly|nb))
}

func nonblockWriterMeetsOpener(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	waiting := r.start(open("p", rdonly))
	waiting.blocks()
	wfd := w.do(open("p", wronly|nb)).fd()
	rfd := waiting.wait().fd()
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 10))
}

func nonblockWriterAfterReader(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	wfd := w.do(open("p", wronly|nb)).fd()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	r.do(closing(rfd))
	w.until("EPIPE", write(wfd, "x"))
	w.do(open("p", wronly|nb))
	w.do(closing(wfd))
	w.do(open("p", wronly|nb))
}

func nonblockFull(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	w.do(writePattern(wfd, 4096, 1))
	w.do(writePattern(wfd, oversize, 1))
	r.do(drainAgain(rfd, filled))
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
	w.do(write(wfd, "room again"))
	r.do(read(rfd, 100))
}

func nonblockPartial(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	written := w.do(several(writePattern(wfd, oversize, 1), oversize))
	w.do(writePattern(wfd, oversize, 1))
	w.do(writePattern(wfd, 4096, 1))
	// What was taken is the start of the block, and nothing else.
	r.do(drainAgain(rfd, written))
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
}

// A pipe with less room than a small write refuses it, however much room that is.
func nonblockWhole(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	for _, size := range []int{1, 100, 3000} {
		r.do(several(read(rfd, size), size))
		w.do(writePattern(wfd, 4096, 1))
	}
	r.do(several(read(rfd, 4096-3101), 4096-3101))
	w.do(writePattern(wfd, 4096, 1))
	rest := r.quiet(drain(rfd, filled.Ret, 65536))
	s.line("r: reads the rest and the block: %v", rest.Ret == filled.Ret)
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
}

func nonblockOddBlocks(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	for _, size := range []int{3000, 4095, 1999} {
		filled := w.do(fill(wfd, size))
		s.line("w: taken in whole blocks: %v", filled.Ret > 0 && filled.Ret%int64(size) == 0)
		r.do(drainAgain(rfd, filled))
	}
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
}

func nonblockSwitchedReader(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
	r.do(nonblock(rfd, false))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	// The switch is for later calls: this one goes on waiting.
	r.thread(1).do(nonblock(rfd, true))
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
	r.do(read(rfd, 10))
}

func nonblockSwitchedWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	w.do(nonblock(wfd, false))
	waiting := w.start(write(wfd, "waited"))
	waiting.blocks()
	r.do(drainAgain(rfd, filled))
	waiting.wait()
	r.do(read(rfd, 100))
}

// Switched to blocking, a reader without a writer still gets end-of-file.
func nonblockSwitchedAlone(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	r.do(nonblock(rfd, false))
	r.do(read(rfd, 10))
	wfd := w.do(open("p", wronly)).fd()
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.wait()
}
