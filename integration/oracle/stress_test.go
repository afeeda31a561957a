// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// stressScenarios move much or open often. Their sizes bound them: each takes a
// second or two.
func stressScenarios() []scenario {
	return []scenario{
		{"stress/64 MiB in random blocks", stressStream},
		{"stress/64 MiB through a non-blocking pair", stressNonblocking},
		{"stress/4 writers, 4 readers, 32 MiB of records", stressRecords},
		{"stress/200 writers come and go", stressWriters},
		{"stress/200 readers come and go", stressReaders},
		{"stress/200 pairs meet in open", stressPairs},
		{"stress/50 pipes at once", stressPipes},
		{"stress/small writes", stressSmall},
	}
}

func stressStream(s *script) {
	w, wfd, r, rfd := s.pair()
	const total = 64 << 20
	reading := r.start(drain(rfd, total, 0))
	w.do(stream(wfd, total, 11))
	reading.wait()
	w.do(closing(wfd))
	r.do(read(rfd, 10))
}

// Both sides go by poll and never block in read or write.
func stressNonblocking(s *script) {
	w, wfd, r, rfd := s.pair()
	const total = 64 << 20
	w.do(nonblock(wfd, true))
	r.do(nonblock(rfd, true))
	reading := r.start(polling(drain(rfd, total, 0)))
	w.do(polling(stream(wfd, total, 12)))
	reading.wait()
	w.do(closing(wfd))
	r.do(poll(rfd, unix.POLLIN, long))
	r.do(read(rfd, 10))
}

// polling lets a bulk op wait in poll after EAGAIN and carry on.
func polling(o op) op {
	o.req.Words = []string{"EAGAIN"}
	return o
}

func stressRecords(s *script) {
	manyReaders(s, 4, 4, 32<<20/4096/4)
}

// One reader stays; every writer is let in at once and loses nothing.
func stressWriters(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(closing(wfd))
	const rounds, size = 200, 1000
	r.do(poll(rfd, unix.POLLIN, long))
	r.do(nonblock(rfd, true))
	reading := r.start(pollingThroughEnds(drain(rfd, rounds*size, 0)))
	w.do(churn("churn_writer", "p", rounds, size))
	reading.wait()
}

// pollingThroughEnds lets drain carry on after end-of-file, too.
func pollingThroughEnds(o op) op {
	o.req.Words = []string{"EAGAIN", "EOF"}
	return o
}

// A keeper that does not read holds the pipe open between the readers.
func stressReaders(s *script) {
	w, wfd, keeper, kfd := s.pair()
	waiting := w.start(writePattern(wfd, oversize, 2))
	waiting.blocks()
	r := s.reader()
	const rounds, size = 200, 4096
	r.do(churn("churn_reader", "p", rounds, size))
	waiting.blocks()
	keeper.do(drain(kfd, oversize-rounds*size, 0))
	waiting.wait()
}

// Reader and writer meet anew each round, and nobody waits for ever.
func stressPairs(s *script) {
	s.fifo("there")
	s.fifo("back")
	w, r := s.writer(), s.reader()
	echo := r.start(meet("there", "back", 200))
	w.do(meetFirst("there", "back", 200))
	echo.wait()
}

// meet opens one pipe, reads it to the end, closes it and answers on another,
// rounds times; meetFirst is its partner.
func meet(in, out string, rounds int64) op {
	o := onName("meet", in, rounds)
	o.text, o.req.Path2 = "answer 200 times", out
	return o
}

func meetFirst(out, in string, rounds int64) op {
	o := onName("meet_first", out, rounds)
	o.text, o.req.Path2 = "ask 200 times", in
	return o
}

func stressPipes(s *script) {
	w, r := s.writer(), s.reader()
	const pipes, size = 50, 100_000
	var writing, reading []*call
	for i := range pipes {
		name := "p" + string(rune('A'+i%26)) + string(rune('a'+i/26))
		s.fifo(name)
		reading = append(reading, r.thread(i).start(goProgram("go_read", name)))
		writing = append(writing, w.thread(i).start(goProgram("go_write", name, size, int64(i))))
	}
	for i := range pipes {
		a, b := writing[i].quiet(), reading[i].quiet()
		if a.text != b.text || a.Ret != size {
			s.line("pipe %d: wrote %s, read %s", i, a.text, b.text)
		}
	}
	s.line("%d pipes", pipes)
}

func stressSmall(s *script) {
	w, wfd, r, rfd := s.pair()
	const count = 5000
	reading := r.start(getRecords(rfd, 0))
	w.do(putRecords(wfd, count, 0, 20))
	w.do(closing(wfd))
	conserved(s, 1, count, []result{reading.wait()})
}
