// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// epollEdgeScenarios are about edge-triggered epoll(7): an event for each
// change and none without.
func epollEdgeScenarios() []scenario {
	return []scenario{
		{"edge/reader, one event for each write", edgeReader},
		{"edge/reader, data that was there when it was added", edgeThere},
		{"edge/reader, partly read", edgePartly},
		{"edge/reader, the end", edgeEnd},
		{"edge/reader, blocked", edgeBlocked},
		{"edge/writer, room", edgeWriter},
		{"edge/writer, the last reader leaves", edgeNoReader},
		{"edge/both directions of one descriptor", edgeBoth},
		{"edge/two instances", edgeTwo},
		{"edge/armed again by EPOLL_CTL_MOD", edgeMod},
	}
}

func edgeReader(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	r.do(epollWait(ep, brief))
	for range 3 {
		w.do(write(wfd, "hello"))
		r.do(epollWait(ep, long))
		r.do(epollWait(ep, brief))
	}
	r.do(drain(rfd, 15, 100))
	r.do(epollWait(ep, brief))
}

func edgeThere(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "hello"))
	ep := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, brief))
}

func edgePartly(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, long))
	r.do(read(rfd, 2))
	r.do(epollWait(ep, brief))
	r.do(read(rfd, 1))
	r.do(epollWait(ep, brief))
	w.do(write(wfd, "x"))
	r.do(epollWait(ep, long))
}

func edgeEnd(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, long))
	w.do(closing(wfd))
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, brief))
	r.do(read(rfd, 10))
	r.do(read(rfd, 10))
	r.do(epollWait(ep, brief))
}

func edgeBlocked(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	for range 3 {
		waiting := r.start(epollWait(ep, long))
		waiting.blocks()
		w.do(write(wfd, "unread "))
		waiting.wait()
	}
	waiting := r.start(epollWait(ep, long))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.wait()
}

func edgeWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	ep := watch(w, wfd, unix.EPOLLOUT|unix.EPOLLET)
	w.do(epollWait(ep, long))
	w.do(epollWait(ep, brief))
	filled := w.do(fill(wfd, 4096))
	w.do(epollWait(ep, brief))
	waiting := w.start(epollWait(ep, long))
	waiting.blocks()
	r.do(drain(rfd, 4096, 4096))
	waiting.wait()
	w.do(writePattern(wfd, 4096, 1))
	w.do(epollWait(ep, brief))
	waiting = w.start(epollWait(ep, long))
	waiting.blocks()
	r.quiet(drain(rfd, filled.Ret, 1<<20))
	waiting.wait()
}

func edgeNoReader(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(w, wfd, unix.EPOLLOUT|unix.EPOLLET)
	w.do(epollWait(ep, long))
	waiting := w.start(epollWait(ep, long))
	waiting.blocks()
	r.do(closing(rfd))
	waiting.wait()
	w.do(epollWait(ep, brief))
}

func edgeBoth(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", rdwr|nb)).fd()
	ep := watch(w, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET)
	w.do(epollWait(ep, long))
	w.do(epollWait(ep, brief))
	w.do(write(fd, "hello"))
	w.do(epollWait(ep, long))
	w.do(epollWait(ep, brief))
}

func edgeTwo(s *script) {
	w, wfd, r, rfd := s.pair()
	first := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	second := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	for range 2 {
		w.do(write(wfd, "hello"))
		r.do(epollWait(first, long))
		r.do(epollWait(second, long))
		r.do(epollWait(first, brief))
		r.do(epollWait(second, brief))
	}
}

func edgeMod(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN|unix.EPOLLET)
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, brief))
	r.do(epollCtl(ep, unix.EPOLL_CTL_MOD, rfd, unix.EPOLLIN|unix.EPOLLET))
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, brief))
}
