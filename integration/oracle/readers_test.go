// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// readersScenarios are about several readers of one pipe: each byte goes to
// exactly one of them.
func readersScenarios() []scenario {
	return []scenario{
		{"readers/take turns", readersTurns},
		{"readers/one write wakes one of two", readersOneWakes},
		{"readers/a large write feeds all that wait", readersLarge},
		{"readers/one leaves, the other goes on", readersLeave},
		{"readers/killed while waiting takes nothing along", readersKilled},
		{"readers/interrupted while waiting takes nothing along", readersInterrupted},
		{"readers/two threads read one descriptor", readersThreads},
	}
}

func readersTurns(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	for range 3 {
		w.do(write(wfd, "abcdef"))
		r.do(read(rfd, 3))
		second.do(read(sfd, 3))
	}
}

// Which reader gets the bytes is not defined; that only one does, is.
func readersOneWakes(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	a, b := r.start(read(rfd, 10)), second.start(read(sfd, 10))
	a.blocks()
	b.blocks()
	w.do(write(wfd, "x"))
	if err := until("a reader to return", func() bool { return a.poll() || b.poll() }); err != nil {
		panic(stop{err.Error()})
	}
	if b.poll() {
		a, b = b, a
	}
	s.line("one reader: %s", a.quiet().text)
	a.a.proc.name, b.a.proc.name = "winner", "loser"
	b.blocks()
	w.do(write(wfd, "y"))
	b.wait()
}

func readersLarge(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	a, b := r.start(drain(rfd, 1000, 1000)), second.start(drain(sfd, 1000, 1000))
	a.blocks()
	b.blocks()
	w.do(writePattern(wfd, 2000, 1))
	s.line("together: %d", a.quiet().Ret+b.quiet().Ret)
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
}

func readersLeave(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	r.do(closing(rfd))
	w.do(write(wfd, "for the second"))
	second.do(read(sfd, 100))
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	second.do(closing(sfd))
	w.until("EPIPE", write(wfd, "x"))
}

func readersKilled(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	waiting := r.start(read(rfd, 100))
	waiting.blocks()
	r.die()
	w.do(write(wfd, "not lost"))
	second.do(read(sfd, 100))
}

func readersInterrupted(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(sigHandle(unix.SIGUSR1, false))
	for _, text := range []string{"one", "two", "three"} {
		waiting := r.start(read(rfd, 100))
		waiting.blocks()
		r.signal(unix.SIGUSR1)
		waiting.wait()
		w.do(write(wfd, text))
		r.do(read(rfd, 100))
	}
}

func readersThreads(s *script) {
	w, wfd, r, rfd := s.pair()
	calls := []*call{r.start(read(rfd, 1)), r.thread(1).start(read(rfd, 1))}
	for _, c := range calls {
		c.blocks()
	}
	w.do(write(wfd, "xx"))
	for _, c := range calls {
		c.wait()
	}
}
