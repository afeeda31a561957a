// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"time"

	"golang.org/x/sys/unix"
)

// interruptScenarios are about signals with a handler, and about being stopped.
func interruptScenarios() []scenario {
	return []scenario{
		{"signal/read is interrupted", interruptRead},
		{"signal/write of a full pipe is interrupted", interruptWrite},
		{"signal/large write is interrupted after a part", interruptPart},
		{"signal/poll is interrupted", interruptPoll},
		{"signal/select is interrupted", interruptSelect},
		{"signal/epoll_wait is interrupted", interruptEpoll},
		{"signal/a storm loses no bytes", interruptStorm},
		{"signal/an ignored signal does not interrupt", interruptIgnored},
		{"signal/read is restarted under SA_RESTART", interruptRestart},
		{"stop/blocked reader is stopped and goes on", func(s *script) { stopReader(s, "read") }},
		{"stop/writer is stopped after a part", stopWriter},
		{"stop/blocked writer is stopped and goes on", stopFullWriter},
		{"stop/poller is stopped and goes on", func(s *script) { stopReader(s, "poll") }},
	}
}

// interrupt sends the thread of a blocked call a signal with a handler.
func interrupt(c *call) {
	c.blocks()
	c.a.signal(unix.SIGUSR1)
	c.wait()
	c.a.do(onSignal("sig_handled", unix.SIGUSR1, 1))
}

func interruptRead(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(sigHandle(unix.SIGUSR1, false))
	interrupt(r.start(read(rfd, 10)))
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 10))
}

// Nothing of the interrupted write is in the pipe.
func interruptWrite(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(sigHandle(unix.SIGUSR1, false))
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	w.do(nonblock(wfd, false))
	interrupt(w.start(writePattern(wfd, 4096, 8)))
	r.do(drainAgain(rfd, filled))
	w.do(write(wfd, "next"))
	r.do(read(rfd, 10000))
}

// What the count says, and no more, is in the pipe.
func interruptPart(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(sigHandle(unix.SIGUSR1, false))
	waiting := w.start(several(writePattern(wfd, oversize, 8), oversize))
	waiting.blocks()
	w.signal(unix.SIGUSR1)
	part := waiting.wait()
	r.do(drainAgain(rfd, part))
	w.do(write(wfd, "next"))
	r.do(read(rfd, 10000))
}

func interruptPoll(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(sigHandle(unix.SIGUSR1, false))
	interrupt(r.start(poll(rfd, unix.POLLIN, long)))
	w.do(write(wfd, "hello"))
	r.do(poll(rfd, unix.POLLIN, long))
}

func interruptSelect(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(sigHandle(unix.SIGUSR1, false))
	interrupt(r.start(selects(rfd, long)))
	w.do(write(wfd, "hello"))
	r.do(selects(rfd, long))
}

func interruptEpoll(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(sigHandle(unix.SIGUSR1, false))
	ep := watch(r, rfd, unix.EPOLLIN)
	interrupt(r.start(epollWait(ep, long)))
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, long))
}

// Both ends are signalled while a stream runs; the actor carries on after
// EINTR and after short counts, so the stream must come through unharmed.
func interruptStorm(s *script) {
	w, wfd, r, rfd := s.pair()
	const total = 16 << 20
	for _, a := range []*actor{w, r} {
		a.do(sigHandle(unix.SIGUSR1, false))
	}
	reading := r.start(onward(drain(rfd, total, 0)))
	writing := w.start(onward(stream(wfd, total, 6)))
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for i := 0; i < 20_000 && !reading.poll(); i++ {
		for _, a := range []*actor{w, r} {
			if err := unix.Tgkill(a.pid(), a.tid, unix.SIGUSR1); err != nil {
				panic(stop{"tgkill: " + err.Error()})
			}
		}
		<-tick.C
	}
	writing.wait()
	reading.wait()
}

// onward lets a bulk op carry on after EINTR.
func onward(o op) op {
	o.req.Words = []string{"EINTR"}
	return o
}

// A signal that is ignored and one without a handler that stops nobody leave
// the blocked call alone.
func interruptIgnored(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(onSignal("sig_ignore", unix.SIGUSR1))
	r.do(onSignal("sig_default", unix.SIGWINCH))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	r.signal(unix.SIGUSR1)
	r.signal(unix.SIGWINCH)
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
}

func interruptRestart(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(sigHandle(unix.SIGUSR1, true))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	r.signal(unix.SIGUSR1)
	r.thread(1).do(onSignal("sig_handled", unix.SIGUSR1, 1))
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
}

func stopReader(s *script, how string) {
	w, wfd, r, rfd := s.pair()
	o := read(rfd, 10)
	if how == "poll" {
		o = poll(rfd, unix.POLLIN, long)
	}
	waiting := r.start(o)
	waiting.blocks()
	r.kill(unix.SIGSTOP)
	r.halted()
	w.do(write(wfd, "hello"))
	r.kill(unix.SIGCONT)
	waiting.wait()
	if how == "poll" {
		r.do(read(rfd, 10))
	}
}

// Stopped within a transfer, a write returns what it has moved.
func stopWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := w.start(several(writePattern(wfd, oversize, 8), oversize))
	waiting.blocks()
	w.kill(unix.SIGSTOP)
	w.halted()
	w.kill(unix.SIGCONT)
	part := waiting.wait()
	r.do(drainAgain(rfd, part))
	w.do(write(wfd, "next"))
	r.do(read(rfd, 100))
}

// Stopped before it has moved anything, a write goes on as if nothing had been.
func stopFullWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	w.do(nonblock(wfd, false))
	waiting := w.start(write(wfd, "after the stop"))
	waiting.blocks()
	w.kill(unix.SIGSTOP)
	w.halted()
	w.kill(unix.SIGCONT)
	waiting.blocks()
	r.do(drainAgain(rfd, filled))
	waiting.wait()
}
