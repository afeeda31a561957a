// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// eofScenarios are about end-of-file, and about data that nobody has read yet
// when an end closes.
func eofScenarios() []scenario {
	return []scenario{
		{"eof/after the data that is left", eofDataLeft},
		{"eof/wakes a blocked reader", eofWakes},
		{"eof/wakes all blocked readers", eofWakesAll},
		{"eof/then a new writer", eofNewWriter},
		{"eof/not while a second writer is there", eofSecondWriter},
		{"eof/writer killed", eofWriterKilled},
		{"eof/writer exits without closing", eofWriterExits},
		{"eof/is seen again and again", eofAgain},
		{"left/data of a reader that closed goes to the next", leftToNext},
		{"left/data of a reader that was killed goes to the next", leftByKilled},
		{"left/part of a write goes to the next reader", leftPart},
		{"left/data is gone when all ends have closed", leftGone},
		{"left/data waits for a reader that reads late", leftLate},
	}
}

func eofDataLeft(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "all of this"))
	w.do(closing(wfd))
	r.do(read(rfd, 4))
	r.do(read(rfd, 4))
	r.do(drain(rfd, 100, 4))
	r.do(read(rfd, 4))
}

func eofWakes(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.wait()
}

func eofWakesAll(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := []*call{r.start(read(rfd, 10)), r.thread(1).start(read(rfd, 10))}
	for range 2 {
		second := s.reader()
		waiting = append(waiting, second.start(read(second.do(open("p", rdonly)).fd(), 10)))
	}
	for _, c := range waiting {
		c.blocks()
	}
	w.do(closing(wfd))
	for _, c := range waiting {
		c.wait()
	}
}

func eofNewWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	for _, text := range []string{"first", "second", "third"} {
		w.do(write(wfd, text))
		w.do(closing(wfd))
		r.do(read(rfd, 100))
		r.do(read(rfd, 100))
		wfd = w.do(open("p", wronly)).fd()
	}
	waiting := r.start(read(rfd, 100))
	waiting.blocks()
	w.do(write(wfd, "fourth"))
	waiting.wait()
}

func eofSecondWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.writer()
	sfd := second.do(open("p", wronly)).fd()
	w.do(closing(wfd))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	second.do(write(sfd, "still"))
	waiting.wait()
	waiting = r.start(read(rfd, 10))
	waiting.blocks()
	second.do(closing(sfd))
	waiting.wait()
}

func eofWriterKilled(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "last words"))
	w.die()
	r.do(read(rfd, 100))
	r.do(read(rfd, 100))
	r.do(closing(rfd))
	s.free()
	s.usable()
}

func eofWriterExits(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := r.start(drain(rfd, 100, 10))
	waiting.blocks()
	w.do(write(wfd, "last words"))
	w.start(onFD("exit", 0, 3))
	w.ends()
	waiting.wait()
}

func eofAgain(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(closing(wfd))
	for range 3 {
		r.do(read(rfd, 10))
	}
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
	second := s.reader()
	r.s.line("a second reader")
	sfd := second.do(open("p", rdonly|nb)).fd()
	second.do(read(sfd, 10))
}

func leftToNext(s *script) {
	w, wfd, r, rfd := s.pair()
	next := s.reader()
	w.do(write(wfd, "one two three"))
	r.do(read(rfd, 4))
	nfd := next.do(open("p", rdonly)).fd()
	r.do(closing(rfd))
	next.do(read(nfd, 4))
	w.do(write(wfd, " four"))
	next.do(drain(nfd, 10, 100))
	w.do(closing(wfd))
	next.do(read(nfd, 100))
}

// Without any reader in between the data still waits, for the writer holds the
// pipe open.
func leftByKilled(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	w.do(write(wfd, "one two three"))
	r.do(read(rfd, 4))
	r.die()
	w.do(poll(wfd, 0, long))
	w.do(write(wfd, "lost"))
	next := s.reader()
	nfd := next.do(open("p", rdonly)).fd()
	next.do(read(nfd, 100))
	w.do(write(wfd, "four"))
	next.do(read(nfd, 100))
}

// A write that waits for room goes on with the next reader.
func leftPart(s *script) {
	w, wfd, r, rfd := s.pair()
	next := s.reader()
	nfd := next.do(open("p", rdonly)).fd()
	waiting := w.start(writePattern(wfd, oversize, 9))
	waiting.blocks()
	r.do(drain(rfd, 100_000, 10_000))
	r.do(closing(rfd))
	next.do(drain(nfd, oversize-100_000, 0))
	waiting.wait()
	w.do(closing(wfd))
	next.do(read(nfd, 10))
}

func leftGone(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "never read"))
	w.do(closing(wfd))
	r.do(poll(rfd, 0, long))
	r.do(closing(rfd))
	s.free()
	rfd = r.do(open("p", rdonly|nb)).fd()
	r.do(read(rfd, 100))
	wfd = w.do(open("p", wronly)).fd()
	r.until("EAGAIN", read(rfd, 100))
	w.do(write(wfd, "new"))
	r.do(read(rfd, 100))
}

func leftLate(s *script) {
	w, wfd, r, rfd := s.pair()
	written := w.do(onFD("stream", wfd, 50_000, 4))
	w.die()
	r.do(poll(rfd, 0, long))
	r.do(drainAgain(rfd, written))
	r.do(read(rfd, 10))
}
