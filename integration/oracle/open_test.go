// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// openScenarios are about open(2) waiting for the other end.
func openScenarios() []scenario {
	return []scenario{
		{"open/reader first", func(s *script) { openWaits(s, rdonly, wronly) }},
		{"open/writer first", func(s *script) { openWaits(s, wronly, rdonly) }},
		{"open/both at once", openBothAtOnce},
		{"open/three readers wait for one writer", openThreeReaders},
		{"open/three writers wait for one reader", func(s *script) { openThreeWriters(s, false) }},
		{"open/three writers wait, and write in turn", func(s *script) { openThreeWriters(s, true) }},
		{"open/non-blocking reader lets a writer in", openWriterByNonblockingReader},
		{"open/both ways lets a reader in", func(s *script) { openByBothWays(s, rdonly) }},
		{"open/both ways lets a writer in", func(s *script) { openByBothWays(s, wronly) }},
		{"open/partner of the same kind does not help", openSameKind},
		{"open/reader killed", func(s *script) { openKilled(s, rdonly) }},
		{"open/writer killed", func(s *script) { openKilled(s, wronly) }},
		{"open/reader interrupted", func(s *script) { openInterrupted(s, rdonly) }},
		{"open/writer interrupted", func(s *script) { openInterrupted(s, wronly) }},
		{"open/writer comes and goes", openWriterComesAndGoes},
		{"open/reader comes and goes", openReaderComesAndGoes},
	}
}

// opener starts an actor for an end with these flags.
func opener(s *script, flags int) *actor {
	if flags&unix.O_ACCMODE == rdonly {
		return s.reader()
	}
	return s.writer()
}

// other answers the flags of the other end.
func other(flags int) int {
	if flags == rdonly {
		return wronly
	}
	return rdonly
}

func openWaits(s *script, first, second int) {
	s.fifo("p")
	a, b := opener(s, first), opener(s, second)
	waiting := a.start(open("p", first))
	waiting.blocks()
	bfd := b.do(open("p", second)).fd()
	afd := waiting.wait().fd()
	if first == rdonly {
		a, afd, b, bfd = b, bfd, a, afd
	}
	a.do(write(afd, "hello"))
	b.do(read(bfd, 100))
	a.do(closing(afd))
	b.do(read(bfd, 100))
}

func openBothAtOnce(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	for range 20 {
		opening := w.start(open("p", wronly))
		rfd := r.do(open("p", rdonly)).fd()
		wfd := opening.wait().fd()
		w.do(write(wfd, "x"))
		w.do(closing(wfd))
		r.do(read(rfd, 10))
		r.do(read(rfd, 10))
		r.do(closing(rfd))
		s.free()
	}
}

func openThreeReaders(s *script) {
	s.fifo("p")
	var waiting []*call
	for range 3 {
		c := s.reader().start(open("p", rdonly))
		c.blocks()
		waiting = append(waiting, c)
	}
	s.writer().do(open("p", wronly))
	for _, c := range waiting {
		c.wait()
	}
}

// openThreeWriters has what each writes read before the next does, or all together.
func openThreeWriters(s *script, inTurn bool) {
	s.fifo("p")
	var waiting []*call
	for range 3 {
		c := s.writer().start(open("p", wronly))
		c.blocks()
		waiting = append(waiting, c)
	}
	r := s.reader()
	rfd := r.do(open("p", rdonly)).fd()
	for _, c := range waiting {
		wfd := c.wait().fd()
		text := c.a.String() + " "
		c.a.do(write(wfd, text))
		if inTurn {
			r.do(drain(rfd, int64(len(text)), 100))
		}
	}
	if !inTurn {
		r.do(drain(rfd, 8, 100))
	}
}

func openWriterByNonblockingReader(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	waiting := w.start(open("p", wronly))
	waiting.blocks()
	rfd := r.do(open("p", rdonly|nb)).fd()
	wfd := waiting.wait().fd()
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 100))
}

func openByBothWays(s *script, flags int) {
	s.fifo("p")
	a, b := opener(s, flags), opener(s, other(flags))
	waiting := a.start(open("p", flags))
	waiting.blocks()
	b.do(open("p", rdwr))
	waiting.wait()
}

func openSameKind(s *script) {
	s.fifo("p")
	first, second := s.writer().start(open("p", wronly)), s.writer().start(open("p", wronly))
	first.blocks()
	second.blocks()
	s.reader().do(open("p", rdonly|nb))
	first.wait()
	second.wait()
}

func openKilled(s *script, flags int) {
	s.fifo("p")
	a := opener(s, flags)
	waiting := a.start(open("p", flags))
	waiting.blocks()
	a.die()
	if flags == rdonly {
		s.free()
	} else {
		// A writer that still counted would make this EAGAIN.
		r := s.reader()
		rfd := r.do(open("p", rdonly|nb)).fd()
		r.until(`0 ""`, read(rfd, 10))
		r.do(closing(rfd))
		s.free()
	}
	s.usable()
}

func openInterrupted(s *script, flags int) {
	s.fifo("p")
	a := opener(s, flags)
	a.do(sigHandle(unix.SIGUSR1, false))
	waiting := a.start(open("p", flags))
	waiting.blocks()
	a.signal(unix.SIGUSR1)
	waiting.wait()
	a.do(onSignal("sig_handled", unix.SIGUSR1, 1))
	if flags == rdonly {
		s.free()
	}
	s.usable()
}

// A writer that has come and gone again has released the reader, though there
// is no writer any more when the reader's open returns.
func openWriterComesAndGoes(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	for range 20 {
		waiting := r.start(open("p", rdonly))
		waiting.blocks()
		wfd := w.do(open("p", wronly)).fd()
		w.do(closing(wfd))
		rfd := waiting.wait().fd()
		r.do(read(rfd, 10))
		r.do(closing(rfd))
		s.free()
	}
}

func openReaderComesAndGoes(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	for range 20 {
		waiting := w.start(open("p", wronly))
		waiting.blocks()
		rfd := r.do(open("p", rdonly)).fd()
		r.do(closing(rfd))
		wfd := waiting.wait().fd()
		w.until("EPIPE", write(wfd, "x"))
		w.do(closing(wfd))
		// The next reader must not be let in by the writer that is going.
		probe := r.do(open("p", rdonly|nb)).fd()
		r.until(`0 ""`, read(probe, 10))
		r.do(closing(probe))
		s.free()
	}
}
