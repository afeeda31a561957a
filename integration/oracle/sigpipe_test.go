// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// brokenScenarios are about writing without a reader: EPIPE and SIGPIPE.
func brokenScenarios() []scenario {
	return []scenario{
		{"sigpipe/kills the writer", brokenKills},
		{"sigpipe/kills a writer blocked in write", brokenKillsBlocked},
		{"sigpipe/kills a non-blocking writer", brokenKillsNonblocking},
		{"sigpipe/ignored is EPIPE", brokenIgnored},
		{"sigpipe/ignored in a blocked write", brokenIgnoredBlocked},
		{"sigpipe/large write, reader closes midway, ignored", brokenMidway},
		{"sigpipe/large write, reader closes midway, deadly", brokenMidwayKills},
		{"sigpipe/goes once to the thread that wrote", brokenOnce},
		{"sigpipe/handler runs once for each write", brokenHandler},
		{"sigpipe/both ways never", brokenNever},
		{"sigpipe/kills one writer, not its neighbour", brokenNeighbour},
		{"sigpipe/a new reader mends the pipe", brokenMended},
		{"sigpipe/close and write in one process", brokenOneProcess},
		{"sigpipe/writev", brokenVector},
	}
}

// broken makes a writer whose reader has gone.
func broken(s *script) (w *actor, wfd int) {
	w, wfd, r, rfd := s.pair()
	r.do(closing(rfd))
	w.do(poll(wfd, 0, long))
	return w, wfd
}

func brokenKills(s *script) {
	w, wfd := broken(s)
	w.do(onSignal("sig_default", unix.SIGPIPE))
	w.do(write(wfd, "x"))
	w.ends()
	s.usable()
}

func brokenKillsBlocked(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_default", unix.SIGPIPE))
	w.do(nonblock(wfd, true))
	w.do(fill(wfd, 4096))
	w.do(nonblock(wfd, false))
	waiting := w.start(write(wfd, "x"))
	waiting.blocks()
	r.do(closing(rfd))
	waiting.wait()
	w.ends()
	s.usable()
}

func brokenKillsNonblocking(s *script) {
	w, wfd := broken(s)
	w.do(onSignal("sig_default", unix.SIGPIPE))
	w.do(nonblock(wfd, true))
	w.do(write(wfd, "x"))
	w.ends()
}

func brokenIgnored(s *script) {
	w, wfd := broken(s)
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	w.do(write(wfd, "x"))
	w.do(write(wfd, "x"))
	w.do(write(wfd, ""))
	w.do(nonblock(wfd, true))
	w.do(write(wfd, "x"))
	w.do(writePattern(wfd, oversize, 1))
}

func brokenIgnoredBlocked(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	w.do(nonblock(wfd, true))
	w.do(fill(wfd, 4096))
	w.do(nonblock(wfd, false))
	waiting := w.start(write(wfd, "x"))
	waiting.blocks()
	r.do(closing(rfd))
	waiting.wait()
	w.do(write(wfd, "x"))
}

func brokenMidway(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	waiting := w.start(several(writePattern(wfd, oversize, 1), oversize))
	waiting.blocks()
	r.do(drain(rfd, 100_000, 10_000))
	waiting.blocks()
	r.do(closing(rfd))
	waiting.wait()
	w.do(write(wfd, "x"))
}

func brokenMidwayKills(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_default", unix.SIGPIPE))
	waiting := w.start(writePattern(wfd, oversize, 1))
	waiting.blocks()
	r.do(drain(rfd, 100_000, 10_000))
	waiting.blocks()
	r.do(closing(rfd))
	waiting.wait()
	w.ends()
}

func brokenOnce(s *script) {
	w, wfd := broken(s)
	t := w.thread(1)
	t.do(onSignal("sig_block", unix.SIGPIPE))
	for range 3 {
		t.do(write(wfd, "x"))
		t.do(sigPending(unix.SIGPIPE))
		t.do(onSignal("sig_take", unix.SIGPIPE, brief.Milliseconds()))
		t.do(onSignal("sig_take", unix.SIGPIPE, brief.Milliseconds()))
	}
	t.do(write(wfd, ""))
	t.do(sigPending(unix.SIGPIPE))
}

func brokenHandler(s *script) {
	w, wfd := broken(s)
	w.do(sigHandle(unix.SIGPIPE, true))
	const rounds = 50
	for i := range rounds {
		if res := w.quiet(write(wfd, "x")); res.text != "EPIPE" {
			s.line("w: write = %s", res.text)
		}
		w.quiet(onSignal("sig_handled", unix.SIGPIPE, int64(i+1)))
	}
	w.do(onSignal("sig_handled", unix.SIGPIPE, rounds))
}

func brokenNever(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	w.do(onSignal("sig_default", unix.SIGPIPE))
	fd := w.do(open("p", rdwr)).fd()
	rfd := r.do(open("p", rdonly)).fd()
	r.do(closing(rfd))
	w.do(write(fd, "x"))
	w.do(read(fd, 10))
}

func brokenNeighbour(s *script) {
	w, wfd, r, rfd := s.pair()
	neighbour := s.writer()
	nfd := neighbour.do(open("p", wronly)).fd()
	w.do(onSignal("sig_default", unix.SIGPIPE))
	r.do(closing(rfd))
	w.do(poll(wfd, 0, long))
	w.do(write(wfd, "x"))
	w.ends()
	rfd = r.do(open("p", rdonly)).fd()
	neighbour.do(write(nfd, "alive"))
	r.do(read(rfd, 10))
}

func brokenMended(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	for range 3 {
		r.do(closing(rfd))
		w.until("EPIPE", write(wfd, "x"))
		rfd = r.do(open("p", rdonly)).fd()
		w.do(write(wfd, "hello"))
		r.do(nonblock(rfd, true))
		r.do(poll(rfd, unix.POLLIN, long))
		// What the writes before EPIPE put in may come first.
		var got []byte
		for res := r.quiet(read(rfd, 100)); res.Errno == ""; res = r.quiet(read(rfd, 100)) {
			got = append(got, res.Data...)
		}
		s.line("r: the end of what it reads: %q", bytes.TrimLeft(got, "x"))
	}
}

// A process may be its own reader, and loses it like any other.
func brokenOneProcess(s *script) {
	s.fifo("p")
	w := s.writer()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	for range 3 {
		rfd := w.do(open("p", rdonly|nb)).fd()
		wfd := w.do(open("p", wronly)).fd()
		w.do(closing(rfd))
		w.until("EPIPE", write(wfd, "x"))
		w.do(closing(wfd))
	}
}

func brokenVector(s *script) {
	w, wfd := broken(s)
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	w.do(writev(wfd, "", ""))
	w.do(writev(wfd, "one", "two"))
	w.do(onSignal("sig_default", unix.SIGPIPE))
	w.do(writev(wfd, "one", "two"))
	w.ends()
}
