// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"

	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// killScenarios kill a process in each call that may block; the pipe must be
// usable afterwards, and nothing of the dead process must be left in it.
func killScenarios() []scenario {
	return []scenario{
		{"kill/in read", killRead},
		{"kill/in write", killWrite},
		{"kill/in a large write", killLargeWrite},
		{"kill/in poll", func(s *script) { killWait(s, "poll") }},
		{"kill/in select", func(s *script) { killWait(s, "select") }},
		{"kill/in epoll_wait", func(s *script) { killWait(s, "epoll") }},
		{"kill/in poll of a full pipe", killPollFull},
		{"kill/in read with many threads", killThreads},
		{"kill/while stopped", killStopped},
		{"kill/SIGTERM in read", killTerm},
		{"kill/a hundred readers and writers in open", killMany},
	}
}

func killRead(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	r.die()
	w.until("EPIPE", write(wfd, "x"))
	w.do(closing(wfd))
	s.free()
	s.usable()
}

func killWrite(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	w.do(nonblock(wfd, false))
	waiting := w.start(write(wfd, "never written"))
	waiting.blocks()
	w.die()
	r.do(poll(rfd, 0, long))
	r.do(drainAgain(rfd, filled))
	r.do(read(rfd, 100))
	r.do(closing(rfd))
	s.free()
	s.usable()
}

// A part of the block may have arrived: it is the start of it.
func killLargeWrite(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := w.start(writePattern(wfd, oversize, 1))
	waiting.blocks()
	r.do(drain(rfd, 100_000, 10_000))
	waiting.blocks()
	w.die()
	r.do(poll(rfd, 0, long))
	rest := r.do(several(drain(rfd, oversize, 1<<20), oversize))
	s.line("it is what comes next: %v", rest.Sum == proto.PatternSum(1, 100_000, rest.Ret))
	r.do(read(rfd, 100))
	r.do(closing(rfd))
	s.free()
	s.usable()
}

func killWait(s *script, how string) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	var waiting *call
	switch how {
	case "poll":
		waiting = r.start(poll(rfd, unix.POLLIN, long))
	case "select":
		waiting = r.start(selects(rfd, long))
	default:
		waiting = r.start(epollWait(watch(r, rfd, unix.EPOLLIN), long))
	}
	waiting.blocks()
	r.die()
	w.until("EPIPE", write(wfd, "x"))
	w.do(closing(wfd))
	s.free()
	s.usable()
}

func killPollFull(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	waiting := w.start(poll(wfd, unix.POLLOUT, long))
	waiting.blocks()
	w.die()
	r.do(poll(rfd, 0, long))
	r.do(drainAgain(rfd, filled))
	r.do(read(rfd, 10))
	r.do(closing(rfd))
	s.free()
	s.usable()
}

func killThreads(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	for i := range 8 {
		waiting := r.thread(i).start(read(rfd, 10))
		waiting.blocks()
	}
	r.die()
	w.until("EPIPE", write(wfd, "x"))
	w.do(closing(wfd))
	s.free()
	s.usable()
}

func killStopped(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	r.do(nonblock(rfd, true))
	r.kill(unix.SIGSTOP)
	r.halted()
	w.do(write(wfd, "to a stopped process"))
	r.die()
	w.until("EPIPE", write(wfd, "x"))
	w.do(closing(wfd))
	s.free()
	s.usable()
}

func killTerm(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	r.do(onSignal("sig_default", unix.SIGTERM))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	r.kill(unix.SIGTERM)
	r.ends()
	w.until("EPIPE", write(wfd, "x"))
}

func killMany(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	var calls []*call
	for i := range 100 {
		calls = append(calls, r.thread(i).start(open("p", rdonly)))
	}
	calls[0].blocks()
	calls[99].blocks()
	r.die()
	s.free()
	calls = nil
	for i := range 100 {
		calls = append(calls, w.thread(i).start(open("p", wronly)))
	}
	calls[0].blocks()
	calls[99].blocks()
	w.die()
	last := s.reader()
	lfd := last.do(open("p", rdonly|nb)).fd()
	last.until(`0 ""`, read(lfd, 10))
	last.do(closing(lfd))
	s.free()
	s.usable()
}
