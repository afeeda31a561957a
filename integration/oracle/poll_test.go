// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// pollScenarios are about the levels poll(2) and select(2) report.
func pollScenarios() []scenario {
	return []scenario{
		{"poll/reader before any writer", pollReaderAlone},
		{"poll/reader after writers have gone", pollReaderAfter},
		{"poll/reader through a pipe's life", pollReaderLife},
		{"poll/writer through a pipe's life", pollWriterLife},
		{"poll/writer of a full pipe", pollFull},
		{"poll/writer of a pipe with one block of room", pollOneBlock},
		{"poll/every event asked for", pollEverything},
		{"poll/nothing asked for", pollNothing},
		{"poll/wrong direction", pollWrongDirection},
		{"poll/select", pollSelect},
		{"poll/select without the other end", pollSelectAlone},
	}
}

func pollReaderAlone(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	r.do(poll(rfd, unix.POLLIN, now))
	r.do(poll(rfd, unix.POLLIN, brief))
	wfd := w.do(open("p", wronly)).fd()
	r.do(poll(rfd, unix.POLLIN, brief))
	w.do(closing(wfd))
	r.do(poll(rfd, unix.POLLIN, long))
	r.do(poll(rfd, unix.POLLIN, now))
}

// A reader that opens after the last writer closed has never seen one.
func pollReaderAfter(s *script) {
	w, wfd, r, rfd := s.pair()
	second, third := s.reader(), s.reader()
	sfd := second.do(open("p", rdonly|nb)).fd()
	w.do(closing(wfd))
	r.do(poll(rfd, unix.POLLIN, long))
	second.do(poll(sfd, unix.POLLIN, long))
	tfd := third.do(open("p", rdonly|nb)).fd()
	third.do(poll(tfd, unix.POLLIN, brief))
	r.do(poll(rfd, unix.POLLIN, now))
	wfd = w.do(open("p", wronly)).fd()
	for i, a := range []*actor{r, second, third} {
		a.do(poll([]int{rfd, sfd, tfd}[i], unix.POLLIN, brief))
	}
	w.do(closing(wfd))
	for i, a := range []*actor{r, second, third} {
		a.do(poll([]int{rfd, sfd, tfd}[i], unix.POLLIN, long))
	}
}

func pollReaderLife(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(poll(rfd, unix.POLLIN, brief))
	w.do(write(wfd, "hello"))
	r.do(poll(rfd, unix.POLLIN, long))
	r.do(read(rfd, 2))
	r.do(poll(rfd, unix.POLLIN, now))
	w.do(closing(wfd))
	r.until("IN|HUP", poll(rfd, unix.POLLIN, now))
	r.do(read(rfd, 10))
	r.do(poll(rfd, unix.POLLIN, now))
	r.do(read(rfd, 10))
	r.do(poll(rfd, unix.POLLIN, now))
	wfd = w.do(open("p", wronly)).fd()
	r.do(poll(rfd, unix.POLLIN, brief))
	w.do(write(wfd, "x"))
	r.do(poll(rfd, unix.POLLIN, long))
}

func pollWriterLife(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(poll(wfd, unix.POLLOUT, now))
	w.do(write(wfd, "hello"))
	w.do(poll(wfd, unix.POLLOUT, now))
	r.do(closing(rfd))
	w.until("OUT|ERR", poll(wfd, unix.POLLOUT, now))
	rfd = r.do(open("p", rdonly)).fd()
	w.until("OUT", poll(wfd, unix.POLLOUT, now))
	r.do(read(rfd, 10))
	r.do(closing(rfd))
	w.until("OUT|ERR", poll(wfd, unix.POLLOUT, now))
}

func pollFull(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	w.do(poll(wfd, unix.POLLOUT, now))
	w.do(poll(wfd, unix.POLLOUT, brief))
	r.do(drainAgain(rfd, filled))
	w.do(poll(wfd, unix.POLLOUT, long))
	w.do(write(wfd, "x"))
	w.do(fill(wfd, 4096))
	r.do(closing(rfd))
	w.until("ERR", poll(wfd, unix.POLLOUT, now))
}

func pollOneBlock(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	w.do(fill(wfd, 4096))
	r.do(drain(rfd, 100, 100))
	w.do(poll(wfd, unix.POLLOUT, brief))
	r.do(drain(rfd, 3996, 3996))
	w.do(poll(wfd, unix.POLLOUT, long))
	w.do(writePattern(wfd, 4096, 1))
	w.do(poll(wfd, unix.POLLOUT, now))
	w.do(writePattern(wfd, 4096, 1))
}

func pollEverything(s *script) {
	all := unix.POLLIN | unix.POLLOUT | unix.POLLPRI | unix.EPOLLRDNORM | unix.EPOLLRDBAND | unix.EPOLLWRNORM |
		unix.EPOLLWRBAND | unix.EPOLLRDHUP
	w, wfd, r, rfd := s.pair()
	r.do(poll(rfd, all, brief))
	w.do(poll(wfd, all, now))
	w.do(write(wfd, "hello"))
	r.do(poll(rfd, all, now))
	w.do(closing(wfd))
	r.until("IN|HUP|RDNORM", poll(rfd, all, now))
	r.do(read(rfd, 10))
	r.do(poll(rfd, all, now))
}

// Hang-ups and errors are reported though nobody asked.
func pollNothing(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.writer()
	sfd := second.do(open("p", wronly)).fd()
	w.do(write(wfd, "hello"))
	r.do(poll(rfd, 0, brief))
	w.do(poll(wfd, 0, brief))
	w.do(closing(wfd))
	r.do(poll(rfd, 0, brief))
	second.do(closing(sfd))
	r.do(poll(rfd, 0, long))
}

func pollWrongDirection(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "hello"))
	r.do(poll(rfd, unix.POLLOUT, brief))
	w.do(poll(wfd, unix.POLLIN, brief))
}

func pollSelect(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(selects(rfd, brief))
	w.do(selects(wfd, now))
	w.do(write(wfd, "hello"))
	r.do(selects(rfd, long))
	r.do(read(rfd, 10))
	waiting := r.start(selects(rfd, long))
	waiting.blocks()
	w.do(write(wfd, "again"))
	waiting.wait()
	r.do(read(rfd, 10))
	waiting = r.start(selects(rfd, long))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.wait()
	r.do(read(rfd, 10))
}

func pollSelectAlone(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(closing(rfd))
	w.do(poll(wfd, 0, long))
	w.do(selects(wfd, now))
	w.do(closing(wfd))
	rfd = r.do(open("p", rdonly|nb)).fd()
	r.do(selects(rfd, brief))
}
