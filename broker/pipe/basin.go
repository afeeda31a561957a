// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "slices"

// basin is what a reader takes from: the queue of this host's writers first, then
// one for each remote writer that feeds it. The queues take turns, but one whose
// first item has been taken in part goes on: a write of up to Buf bytes shall not
// have others' bytes in its middle. The pipe's lock guards it.
type basin struct {
	queues []*queue
	turn   int // the queue to take from next
}

func (b *basin) bytes() (n int) {
	for _, q := range b.queues {
		n += q.bytes
	}
	return n
}

// takable is how many bytes a reader could take now.
func (b *basin) takable() (n int) {
	for _, q := range b.queues {
		if !q.withheld() {
			n += q.bytes
		}
	}
	return n
}

func (b *basin) marks() (n int) {
	for _, q := range b.queues {
		n += q.marks
	}
	return n
}

// ready is how many bytes can be taken before the next marks.
func (b *basin) ready() (n int) {
	for _, q := range b.queues {
		if !q.blocked() {
			n += q.ready()
		}
	}
	return n
}

// take moves up to max bytes, in at most pieces chunks (0: any number), to dst, and
// calls fed with each remote writer whose bytes went.
func (b *basin) take(dst []Chunk, max, pieces int, fed func(*Writer)) ([]Chunk, int) {
	n := 0
	full := func() bool { return n == max || pieces > 0 && len(dst) == pieces }
	for left := len(b.queues); left > 0; {
		q := b.queues[b.turn].oldest()
		if q.withheld() {
			b.turn = (b.turn + 1) % len(b.queues)
			left--
			continue
		}
		var k int
		dst, k = q.take(dst, max-n, pieces)
		n += k
		if k > 0 && q.source != nil {
			fed(q.source)
		}
		if q.begun {
			break
		}
		if q == b.queues[b.turn] || !q.empty() || full() {
			b.turn = (b.turn + 1) % len(b.queues)
			left--
		}
		if full() {
			break
		}
	}
	return dst, n
}

// takeMark removes a mark at the front of a queue and returns its error.
func (b *basin) takeMark() error {
	for _, q := range b.queues {
		if err := q.takeMark(); err != nil {
			return err
		}
	}
	return nil
}

// former is the last queue of a host whose writer has closed, or nil. A host's
// writers come one after the other: they are read in that order.
func (b *basin) former(host string) *queue {
	for _, q := range slices.Backward(b.queues) {
		if q.source != nil && q.source.closed && q.source.info.Host == host && !q.oldest().empty() {
			return q
		}
	}
	return nil
}

// prune drops the queues of remote writers that have closed and been read.
func (b *basin) prune() {
	if len(b.queues) < 2 {
		return
	}
	gone := func(q *queue) bool { return q.source != nil && q.source.closed && q.empty() }
	for _, q := range b.queues[:b.turn] {
		if gone(q) {
			b.turn-- // the same queue goes on: it may have begun
		}
	}
	b.queues = slices.DeleteFunc(b.queues, gone)
	b.turn %= len(b.queues)
}

func (b *basin) clear() {
	for _, q := range b.queues {
		q.clear()
	}
	b.prune()
}
