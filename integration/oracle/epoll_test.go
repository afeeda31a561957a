// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// epollScenarios are about level-triggered epoll(7).
func epollScenarios() []scenario {
	return []scenario{
		{"epoll/reader, level", epollReader},
		{"epoll/writer, level", epollWriter},
		{"epoll/reader without a writer", epollReaderAlone},
		{"epoll/blocked, woken by data", epollWokenByData},
		{"epoll/blocked, woken by the end", epollWokenByEnd},
		{"epoll/blocked writer, woken by a drain and by the end", epollWriterWoken},
		{"epoll/EPOLLONESHOT", epollOneshot},
		{"epoll/EPOLLRDHUP never comes", epollRdhup},
		{"epoll/two instances watch one descriptor", epollTwo},
		{"epoll/changed and removed", epollChanged},
		{"epoll/closing the descriptor ends the watch", epollClosed},
		{"epoll/an instance inside another", epollNested},
		{"epoll/a thousand rounds of ping and pong", epollPingPong},
	}
}

// watch makes an epoll instance that watches fd.
func watch(a *actor, fd, events int) (epfd int) {
	epfd = a.do(epollCreate()).fd()
	a.do(epollCtl(epfd, unix.EPOLL_CTL_ADD, fd, events))
	return epfd
}

func epollReader(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN)
	r.do(epollWait(ep, brief))
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, long))
	r.do(read(rfd, 2))
	r.do(epollWait(ep, long))
	r.do(read(rfd, 10))
	r.do(epollWait(ep, brief))
	w.do(write(wfd, "x"))
	w.do(closing(wfd))
	r.until("IN|HUP", epollWait(ep, long))
	r.do(read(rfd, 10))
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, long))
	w.do(open("p", wronly))
	r.until("nothing", epollWait(ep, brief))
}

func epollWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	ep := watch(w, wfd, unix.EPOLLOUT)
	w.do(epollWait(ep, long))
	w.do(epollWait(ep, long))
	filled := w.do(fill(wfd, 4096))
	w.do(epollWait(ep, brief))
	r.do(drainAgain(rfd, filled))
	w.do(epollWait(ep, long))
	r.do(closing(rfd))
	w.until("OUT|ERR", epollWait(ep, long))
	w.do(epollWait(ep, long))
}

func epollReaderAlone(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	ep := watch(r, rfd, unix.EPOLLIN)
	r.do(epollWait(ep, brief))
	waiting := r.start(epollWait(ep, long))
	waiting.blocks()
	wfd := w.do(open("p", wronly)).fd()
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
	r.do(read(rfd, 10))
	w.do(closing(wfd))
	r.do(epollWait(ep, long))
}

func epollWokenByData(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN)
	for range 3 {
		waiting := r.start(epollWait(ep, long))
		waiting.blocks()
		w.do(write(wfd, "hello"))
		waiting.wait()
		r.do(read(rfd, 10))
	}
}

func epollWokenByEnd(s *script) {
	w, wfd, r, rfd := s.pair()
	// Nothing is asked for: a hang-up comes all the same.
	ep := watch(r, rfd, 0)
	w.do(write(wfd, "hello"))
	waiting := r.start(epollWait(ep, long))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.wait()
	r.do(read(rfd, 10))
	r.do(read(rfd, 10))
}

func epollWriterWoken(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	ep := watch(w, wfd, unix.EPOLLOUT)
	filled := w.do(fill(wfd, 4096))
	waiting := w.start(epollWait(ep, long))
	waiting.blocks()
	r.do(drainAgain(rfd, filled))
	waiting.wait()
	w.do(fill(wfd, 4096))
	waiting = w.start(epollWait(ep, long))
	waiting.blocks()
	r.do(closing(rfd))
	waiting.wait()
}

func epollOneshot(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN|unix.EPOLLONESHOT)
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, brief))
	w.do(write(wfd, "again"))
	r.do(epollWait(ep, brief))
	r.do(epollCtl(ep, unix.EPOLL_CTL_MOD, rfd, unix.EPOLLIN|unix.EPOLLONESHOT))
	r.do(epollWait(ep, long))
	r.do(read(rfd, 100))
	r.do(epollCtl(ep, unix.EPOLL_CTL_MOD, rfd, unix.EPOLLIN|unix.EPOLLONESHOT))
	r.do(epollWait(ep, brief))
	w.do(closing(wfd))
	r.do(epollWait(ep, long))
	r.do(epollWait(ep, brief))
}

func epollRdhup(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLRDHUP)
	wep := watch(w, wfd, unix.EPOLLRDHUP)
	w.do(epollWait(wep, brief))
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, brief))
	w.do(closing(wfd))
	r.do(epollWait(ep, long))
}

func epollTwo(s *script) {
	w, wfd, r, rfd := s.pair()
	first, second := watch(r, rfd, unix.EPOLLIN), watch(r, rfd, unix.EPOLLIN)
	a, b := r.start(epollWait(first, long)), r.thread(1).start(epollWait(second, long))
	a.blocks()
	b.blocks()
	w.do(write(wfd, "hello"))
	a.wait()
	b.wait()
	r.do(read(rfd, 10))
	r.do(epollWait(first, brief))
	r.do(epollWait(second, brief))
	w.do(closing(wfd))
	r.do(epollWait(first, long))
	r.do(epollWait(second, long))
}

func epollChanged(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, 0)
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, brief))
	r.do(epollCtl(ep, unix.EPOLL_CTL_MOD, rfd, unix.EPOLLIN))
	r.do(epollWait(ep, long))
	r.do(epollCtl(ep, unix.EPOLL_CTL_ADD, rfd, unix.EPOLLIN))
	r.do(epollCtl(ep, unix.EPOLL_CTL_DEL, rfd, 0))
	r.do(epollWait(ep, brief))
	r.do(epollCtl(ep, unix.EPOLL_CTL_DEL, rfd, 0))
	r.do(epollCtl(ep, unix.EPOLL_CTL_ADD, rfd, unix.EPOLLIN))
	r.do(epollWait(ep, long))
}

func epollClosed(s *script) {
	w, wfd, r, rfd := s.pair()
	ep := watch(r, rfd, unix.EPOLLIN)
	second := r.do(open("p", rdonly)).fd()
	w.do(write(wfd, "hello"))
	r.do(epollWait(ep, long))
	r.do(closing(rfd))
	r.do(epollWait(ep, brief))
	r.do(read(second, 10))
}

func epollNested(s *script) {
	w, wfd, r, rfd := s.pair()
	inner := watch(r, rfd, unix.EPOLLIN)
	outer := watch(r, inner, unix.EPOLLIN)
	waiting := r.start(epollWait(outer, long))
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
	r.do(epollWait(inner, long))
	r.do(read(rfd, 10))
	r.do(poll(inner, unix.POLLIN, brief))
}

// Two pipes and two processes that only move when epoll tells them.
func epollPingPong(s *script) {
	s.fifo("there")
	s.fifo("back")
	a, b := s.writer(), s.reader()
	serving := b.start(pingPong("there", "back", 0))
	a.do(pingPong("back", "there", 1000))
	serving.wait()
}

// pingPong answers each byte of one pipe with one on another, waiting in
// epoll; with rounds it begins and ends the game.
func pingPong(in, out string, rounds int64) op {
	o := onName("ping_pong", in)
	o.req.Path2, o.req.Args = out, []int64{rounds}
	return o
}
