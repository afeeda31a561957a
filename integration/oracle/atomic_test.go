// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"fmt"
)

// atomicScenarios are about writes up to PIPE_BUF staying whole.
func atomicScenarios() []scenario {
	return []scenario{
		{"atomic/8 writers of full blocks, one reader", func(s *script) { manyWriters(s, 8, 200, 4096) }},
		{"atomic/4 writers of all sizes, one reader", func(s *script) { manyWriters(s, 4, 300, 0) }},
		{"atomic/8 writers of full blocks, two readers", func(s *script) { manyReaders(s, 8, 2, 200) }},
		{"atomic/writers in threads of one process", atomicThreads},
		{"atomic/blocked small writes stay whole", atomicBlocked},
		{"atomic/large writes of two writers may mix but lose nothing", atomicLarge},
	}
}

// conserved records whether the readers together got every record of every
// writer exactly once, and each reader those of one writer in order.
func conserved(s *script, writers, count int, readers []result) {
	seen := map[int64]int{}
	ordered := true
	for _, r := range readers {
		last := map[int64]int64{}
		for _, mark := range r.Values {
			seen[mark]++
			writer := mark >> 32
			if previous, ok := last[writer]; ok && mark <= previous {
				ordered = false
			}
			last[writer] = mark
		}
	}
	missing, doubled := 0, 0
	for w := range writers {
		for n := range count {
			switch seen[int64(w)<<32+int64(n)] {
			case 0:
				missing++
			case 1:
			default:
				doubled++
			}
			delete(seen, int64(w)<<32+int64(n))
		}
	}
	s.line("records missing %d, doubled %d, foreign %d, in order %v", missing, doubled, len(seen), ordered)
}

// attend opens n ends of the pipe p, in a process each. The other end must be
// on its way.
func attend(s *script, n, flags int) (all []*actor, fds []int) {
	for range n {
		a := opener(s, flags)
		all, fds = append(all, a), append(fds, a.do(open("p", flags)).fd())
	}
	return all, fds
}

func manyWriters(s *script, writers, count, size int) {
	s.fifo("p")
	r := s.reader()
	opening := r.start(open("p", rdonly))
	all, fds := attend(s, writers, wronly)
	rfd := opening.wait().fd()
	reading := r.start(getRecords(rfd, 0))
	finish(all, fds, func(i int) op { return putRecords(fds[i], count, i, size) })
	conserved(s, writers, count, []result{reading.wait()})
}

func manyReaders(s *script, writers, readers, count int) {
	s.fifo("p")
	first := s.reader()
	opening := first.start(open("p", rdonly))
	all, fds := attend(s, writers, wronly)
	rest, rfds := attend(s, readers-1, rdonly)
	reading := []*call{first.start(getRecords(opening.wait().fd(), 4096))}
	for i, r := range rest {
		reading = append(reading, r.start(getRecords(rfds[i], 4096)))
	}
	finish(all, fds, func(i int) op { return putRecords(fds[i], count, i, 4096) })
	var got []result
	for _, c := range reading {
		got = append(got, c.wait())
	}
	conserved(s, writers, count, got)
}

// finish lets every actor do its call at the same time, waits for all and
// closes their descriptors.
func finish(all []*actor, fds []int, work func(i int) op) {
	var calls []*call
	for i, a := range all {
		calls = append(calls, a.start(work(i)))
	}
	for i, c := range calls {
		c.wait()
		all[i].do(closing(fds[i]))
	}
}

func atomicThreads(s *script) {
	w, wfd, r, rfd := s.pair()
	reading := r.start(getRecords(rfd, 0))
	const writers, count = 4, 200
	var calls []*call
	for i := range writers {
		calls = append(calls, w.thread(i).start(putRecords(wfd, count, i, 3001)))
	}
	for _, c := range calls {
		c.wait()
	}
	w.do(closing(wfd))
	conserved(s, writers, count, []result{reading.wait()})
}

// Small writes that found the pipe full go in whole, one after the other.
func atomicBlocked(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(nonblock(wfd, true))
	filled := w.do(fill(wfd, 4096))
	const writers, count = 4, 20
	all, fds := attend(s, writers, wronly)
	var calls []*call
	for i, a := range all {
		c := a.start(putRecords(fds[i], count, i, 4000))
		c.blocks()
		calls = append(calls, c)
	}
	r.do(drainAgain(rfd, filled))
	reading := r.start(getRecords(rfd, 0))
	for i, c := range calls {
		c.wait()
		all[i].do(closing(fds[i]))
	}
	w.do(closing(wfd))
	conserved(s, writers, count, []result{reading.wait()})
}

// Writes above PIPE_BUF may be mixed, yet each byte arrives once: the counts
// of the two letters are right.
func atomicLarge(s *script) {
	s.fifo("p")
	r := s.reader()
	opening := r.start(open("p", rdonly))
	all, fds := attend(s, 2, wronly)
	rfd := opening.wait().fd()
	const size = 1 << 20
	reading := r.start(letters(rfd))
	finish(all, fds, func(i int) op {
		o := write(fds[i], "")
		o.text = fmt.Sprintf("write(%d letters)", size)
		o.req.Data = make([]byte, size)
		for j := range o.req.Data {
			o.req.Data[j] = byte('a' + i)
		}
		return o
	})
	reading.wait()
}

// letters reads to the end and counts the bytes of each value.
func letters(fd int) op {
	o := onFD("count_bytes", fd)
	o.text = "count letters to the end"
	o.format = formatText
	return o
}
