// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// pollWakeScenarios are about a blocked poll(2) being woken.
func pollWakeScenarios() []scenario {
	return []scenario{
		{"poll wakes/reader by data", wakeByData},
		{"poll wakes/not by data that another reader took", wakeNotByTaken},
		{"poll wakes/reader by the last writer leaving", wakeByHangup},
		{"poll wakes/reader by a killed writer", wakeByKilled},
		{"poll wakes/reader without a writer, by its first data", wakeFirstWriter},
		{"poll wakes/writer by the last reader leaving", wakeByNoReader},
		{"poll wakes/writer of a full pipe by a drain", wakeByDrain},
		{"poll wakes/two pollers of one pipe", wakeTwo},
		{"poll wakes/poller of both ends", wakeSelf},
		{"poll wakes/again and again", wakeAgain},
	}
}

func wakeByData(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := r.start(poll(rfd, unix.POLLIN, long))
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
	r.do(read(rfd, 10))
}

// One reader takes the data away; the poller of another must go on waiting.
func wakeNotByTaken(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	w.do(write(wfd, "hello"))
	second.do(read(sfd, 10))
	waiting := r.start(poll(rfd, unix.POLLIN, long))
	waiting.blocks()
	w.do(write(wfd, "again"))
	waiting.wait()
}

func wakeByHangup(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.writer()
	sfd := second.do(open("p", wronly)).fd()
	waiting := r.start(poll(rfd, unix.POLLIN, long))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.blocks()
	second.do(closing(sfd))
	waiting.wait()
}

func wakeByKilled(s *script) {
	w, _, r, rfd := s.pair()
	waiting := r.start(poll(rfd, unix.POLLIN, long))
	waiting.blocks()
	w.die()
	waiting.wait()
}

func wakeFirstWriter(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	rfd := r.do(open("p", rdonly|nb)).fd()
	waiting := r.start(poll(rfd, unix.POLLIN, long))
	waiting.blocks()
	wfd := w.do(open("p", wronly)).fd()
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
}

func wakeByNoReader(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	waiting := w.start(poll(wfd, 0, long))
	waiting.blocks()
	r.do(closing(rfd))
	waiting.blocks()
	second.do(closing(sfd))
	waiting.wait()
}

func wakeByDrain(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	waiting := w.start(poll(wfd, unix.POLLOUT, long))
	waiting.blocks()
	r.do(drainAgain(rfd, filled))
	waiting.wait()
	w.do(write(wfd, "more"))
}

// Pollers do not take data: all that wait are told.
func wakeTwo(s *script) {
	w, wfd, r, rfd := s.pair()
	second := s.reader()
	sfd := second.do(open("p", rdonly)).fd()
	calls := []*call{
		r.start(poll(rfd, unix.POLLIN, long)),
		r.thread(1).start(poll(rfd, unix.POLLIN, long)),
		second.start(poll(sfd, unix.POLLIN, long)),
	}
	for _, c := range calls {
		c.blocks()
	}
	w.do(write(wfd, "hello"))
	for _, c := range calls {
		c.wait()
	}
}

func wakeSelf(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", rdwr)).fd()
	waiting := w.start(poll(fd, unix.POLLIN, long))
	waiting.blocks()
	w.thread(1).do(write(fd, "hello"))
	waiting.wait()
}

func wakeAgain(s *script) {
	w, wfd, r, rfd := s.pair()
	for range 100 {
		waiting := r.start(poll(rfd, unix.POLLIN, long))
		w.quiet(write(wfd, "x"))
		if woken := waiting.quiet(); woken.text != "IN" {
			s.line("r: poll = %s", woken.text)
		}
		if got := r.quiet(read(rfd, 10)); got.text != `1 "x"` {
			s.line("r: read = %s", got.text)
		}
	}
	s.line("100 rounds")
}
