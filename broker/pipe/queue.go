// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

// queue is the bytes one set of readers has yet to take, oldest first. Marks
// between them tell where a writer's host was lost. The pipe's lock guards it.
type queue struct {
	items []item
	head  int // items before it are taken
	bytes int // sum of the chunks' lengths
	marks int // items that are marks
	lent  int // bytes that remote readers have taken and not yet consumed: they take up room

	host    string  // Fanout, of a remote reader: where it is; those of one host have one room together
	source  *Writer // remote: all bytes here are its; nil: they are this host's
	former  *queue  // source: one of the same host that had closed: what is left in it comes first
	begun   bool    // what the first item is part of has been taken in part
	tail    *Buffer // source: where its short chunks are gathered; nil: nothing is
	fill    int     // source: bytes of tail in use
	claimed bool    // a waiting write gets the next room, not those behind it
	apart   bool    // writes stay items of their own, to be lent one by one
}

type item struct {
	chunk Chunk
	whole bool  // has writes in it that must not be torn
	more  bool  // the next item may go on with a write whose beginning is here
	mark  error // non-nil: no chunk, but the error readers get here
}

// keepItems bounds what an empty queue retains.
const keepItems = 64

// push appends c, whose reference the queue takes over. A chunk that lies right
// behind the last one in the same buffer lengthens it.
func (q *queue) push(c Chunk, whole bool) {
	q.bytes += c.Len()
	if last := q.last(); last != nil && !q.apart && last.chunk.buf == c.buf && last.chunk.to == c.from {
		last.chunk.to = c.to
		last.whole = last.whole || whole
		c.Release()
		return
	}
	q.items = append(q.items, item{chunk: c, whole: whole})
}

// pushFront puts chunks, with their references, before all that is there.
func (q *queue) pushFront(chunks []Chunk) {
	items := make([]item, 0, len(chunks)+len(q.items)-q.head)
	for _, c := range chunks {
		q.bytes += c.Len()
		items = append(items, item{chunk: c, whole: c.Len() <= SegmentSize})
	}
	q.items, q.head, q.begun = append(items, q.items[q.head:]...), 0, false
}

// pushMark appends a mark, but not a second one at the same place: a host that is
// lost with several writers is told once.
func (q *queue) pushMark(err error) {
	if last := q.last(); last != nil && last.mark != nil {
		return
	}
	q.items = append(q.items, item{mark: err})
	q.marks++
}

func (q *queue) last() *item {
	if q.head == len(q.items) {
		return nil
	}
	return &q.items[len(q.items)-1]
}

// ready is how many bytes can be taken before the next mark.
func (q *queue) ready() int {
	if q.marks == 0 {
		return q.bytes
	}
	n := 0
	for _, it := range q.items[q.head:] {
		if it.mark != nil {
			break
		}
		n += it.chunk.Len()
	}
	return n
}

// take moves up to max bytes, in at most pieces chunks (0: any number), to dst.
func (q *queue) take(dst []Chunk, max, pieces int) ([]Chunk, int) {
	n := 0
	for q.head < len(q.items) && n < max && (pieces == 0 || len(dst) < pieces) {
		it := &q.items[q.head]
		if it.mark != nil {
			break
		}
		if it.chunk.Len() > max-n {
			var c Chunk
			c, it.chunk = it.chunk.split(max - n)
			dst = append(dst, c)
			n, q.begun = max, true
			break
		}
		n += it.chunk.Len()
		dst = append(dst, it.chunk)
		more := it.more
		q.drop()
		q.begun = more
	}
	q.bytes -= n
	return dst, n
}

// takeMark removes a mark at the front and returns its error.
func (q *queue) takeMark() error {
	if q.marks == 0 || q.items[q.head].mark == nil {
		return nil
	}
	err := q.items[q.head].mark
	q.marks--
	q.drop()
	return err
}

// takeWhole is take for a remote reader: it never tears a write that must stay
// whole, since elsewhere others may come between its parts. For the sake of that it
// goes beyond want, but not beyond max.
func (q *queue) takeWhole(dst []Chunk, want, max int) ([]Chunk, int) {
	n := 0
	for q.head < len(q.items) && n < want {
		it := &q.items[q.head]
		switch size := it.chunk.Len(); {
		case it.mark != nil || it.whole && size > max-n:
			return dst, n
		case !it.whole && size > want-n:
			k := want - n
			if k >= Buf {
				k -= k % Buf // as a FIFO, which tears at pages: tar wants whole blocks
			} else if n > 0 {
				return dst, n
			}
			dst, _ = q.take(dst, k, 0)
			return dst, n + k
		}
		n += it.chunk.Len()
		q.bytes -= it.chunk.Len()
		dst = append(dst, it.chunk)
		q.drop()
	}
	return dst, n
}

func (q *queue) empty() bool { return q.head == len(q.items) }

// oldest is the queue that has to be read before q's own bytes, or q.
func (q *queue) oldest() *queue {
	if q.former == nil {
		return q
	}
	if f := q.former.oldest(); !f.empty() {
		return f
	}
	q.former = nil
	return q
}

// withheld reports that older bytes lie with another host, which may give them back:
// no reader shall have newer ones before.
func (q *queue) withheld() bool { return q.lent > 0 }

// blocked reports that q's own bytes cannot be taken yet, for the sake of order.
func (q *queue) blocked() bool {
	if q.withheld() {
		return true
	}
	f := q.former
	return f != nil && (f.marks > 0 || f.blocked())
}

func (q *queue) drop() {
	q.begun = false
	q.items[q.head] = item{}
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
		q.dropTail()
		if cap(q.items) > keepItems {
			q.items = nil
		}
	case q.head >= keepItems && q.head*2 >= len(q.items):
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}

func (q *queue) clear() {
	for _, it := range q.items[q.head:] {
		it.chunk.Release()
	}
	q.dropTail()
	*q = queue{host: q.host, source: q.source, former: q.former, lent: q.lent, apart: q.apart}
}

func (q *queue) dropTail() {
	if q.tail != nil {
		q.tail.Release()
	}
	q.tail, q.fill = nil, 0
}
