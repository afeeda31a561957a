// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"bytes"
	"context"
	"iter"
	"math"
	"time"
)

// Writer is an end that gives bytes.
type Writer struct {
	pipe    *Pipe
	info    Info
	patient bool

	rOpens   uint64    // the pipe's count when this opened
	met      bool      // a reader was there when this opened
	begun    bool      // Fanout: the first byte is in and the audience is fixed
	audience []*Reader // Fanout: who gets this writer's bytes
	closed   bool
	watch    watch

	voice   *Voice   // Fanout: what remote readers listen to; may be nil
	remote  bool     // stands for writers of another host: see remote.go
	inboxes []*queue // remote: where its bytes lie; in Fanout one for each reader
	fed     int      // remote: bytes ever put in
	taken   func()   // remote: called when readers have taken some, or have gone
}

// Pipe returns the pipe that w is an end of.
func (w *Writer) Pipe() *Pipe { return w.pipe }

// Close closes the end; see Pipe.Close.
func (w *Writer) Close() { w.pipe.Close(nil, w, nil) }

// Start begins a write of op.Chunks. A write that is not Whole goes in piece by
// piece as room appears.
//
// Errors in op.Err: ErrBroken when there is no reader (a patient writer first
// waits for one to have come), ErrAgain, ErrClosed. op.N tells what had gone in.
func (w *Writer) Start(op *WriteOp) {
	p := w.pipe
	var done completions
	op.writer, op.N, op.Err, op.next, op.left = w, 0, nil, 0, 0
	for _, c := range op.Chunks {
		op.left += c.Len()
	}
	op.whole = op.Whole || op.left <= Buf
	p.mu.Lock()
	op.parked = true
	p.writing.push(&op.node, op)
	if err := w.broken(); err != nil {
		p.finishWrite(op, err, &done) // not behind those that wait
	}
	p.pump(&done)
	if op.parked && op.NonBlock {
		err := ErrAgain
		if op.N > 0 {
			err = nil
		}
		p.finishWrite(op, err, &done)
	}
	if op.parked {
		op.slim()
	}
	p.mu.Unlock()
	done.run()
}

// slim copies short chunks of a write that waits, so that a byte does not hold a
// segment for as long.
func (op *WriteOp) slim() {
	for i := op.next; i < len(op.Chunks); i++ {
		if c := op.Chunks[i]; c.Len() < gatherBelow && c.buf.home != nil {
			op.Chunks[i] = ChunkOf(bytes.Clone(c.Bytes()))
			c.Release()
		}
	}
}

// Cancel withdraws a waiting op; op.N bytes of it stay in the pipe. It returns
// false if op is not waiting: Done has run or will. Writes that waited behind op
// may complete meanwhile: the caller must hold no lock that their Done takes.
func (w *Writer) Cancel(op *WriteOp) bool {
	p := w.pipe
	var done completions
	p.mu.Lock()
	waits := op.parked
	if waits {
		op.parked = false
		p.writing.remove(&op.node)
		op.discard()
		p.pump(&done) // those behind it may go ahead
	}
	p.mu.Unlock()
	done.run()
	return waits
}

// Write waits until all of b is in the pipe, which takes b over. It returns how
// much is; errors as for Start, or the context's cause.
func (w *Writer) Write(ctx context.Context, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	ready := make(chan struct{})
	op := &WriteOp{Chunks: []Chunk{ChunkOf(b)}, Done: func(*WriteOp) { close(ready) }}
	w.Start(op)
	select {
	case <-ready:
	case <-ctx.Done():
		if w.Cancel(op) {
			return op.N, context.Cause(ctx)
		}
		<-ready
	}
	return op.N, op.Err
}

// admit moves waiting writes into the queues, oldest first; it reports whether
// bytes moved.
func (p *Pipe) admit(done *completions) (moved bool) {
	p.unclaim()
	for n := p.writing.first; n != nil; {
		op, next := n.op, n.next
		w := op.writer
		if err := w.broken(); err != nil {
			p.finishWrite(op, err, done)
			n = next
			continue
		}
		if w.heard() {
			before := op.N
			p.take(op)
			moved = moved || op.N > before
			if op.left == 0 {
				p.finishWrite(op, nil, done)
			} else if p.claim(op); p.cfg.Mode != Fanout {
				break // those behind it wait their turn
			}
		}
		n = next
	}
	return moved
}

// claim keeps the queues that have no room for op from the writes behind it, so
// that a writer's bytes stay in order and a long write is not overtaken for
// ever. Queues that have room are open to writes for others.
func (p *Pipe) claim(op *WriteOp) {
	if op.NonBlock {
		return // it will not wait
	}
	need := 1
	if op.whole {
		need = op.left
	}
	for q := range op.writer.outlets() {
		if !p.fits(q, need) {
			q.claimed = true
			for _, r := range p.readers {
				if r.queue.shares(q) {
					r.queue.claimed = true
				}
			}
		}
	}
}

func (p *Pipe) unclaim() {
	p.shared.claimed = false
	if p.cfg.Mode == Fanout {
		for _, r := range p.readers {
			r.queue.claimed = false
		}
	}
}

// broken returns why w cannot write any more, or nil.
func (w *Writer) broken() error {
	p := w.pipe
	switch {
	case w.closed:
		return ErrClosed
	case p.shut:
		return ErrBroken
	case w.deserted():
		return ErrBroken
	case !w.heard() && (!w.patient || w.sawReader() || p.spent):
		return ErrBroken
	}
	return nil
}

func (w *Writer) sawReader() bool { return w.met || w.pipe.rOpens != w.rOpens }

// deserted reports that everybody who got w's first byte has gone.
func (w *Writer) deserted() bool { return w.begun && len(w.audience) == 0 }

// heard reports that there is a reader for w's next byte.
func (w *Writer) heard() bool {
	p := w.pipe
	if p.cfg.Mode != Fanout || p.farReaders == 0 && !w.begun {
		return len(p.readers) > 0
	}
	for range w.outlets() {
		return true
	}
	return false
}

// outlets are the queues that w's next byte is for.
func (w *Writer) outlets() iter.Seq[*queue] {
	return func(yield func(*queue) bool) {
		p := w.pipe
		if p.cfg.Mode != Fanout {
			if len(p.readers) > 0 {
				yield(&p.shared)
			}
			return
		}
		listeners := p.readers
		if w.begun {
			listeners = w.audience
		}
		for _, r := range listeners {
			if r.hears(w) && !yield(&r.queue) {
				return
			}
		}
	}
}

func (r *Reader) hears(w *Writer) bool { return !r.remote || r.only != nil && r.only == w.voice }

// begin fixes who gets w's bytes: those who are there for its first.
func (w *Writer) begin() {
	if w.pipe.cfg.Mode != Fanout || w.begun {
		return
	}
	w.begun = true
	w.audience = w.audience[:0]
	for _, r := range w.pipe.readers {
		if r.hears(w) {
			w.audience = append(w.audience, r)
		}
	}
}

// room is how many bytes w may add now.
func (p *Pipe) room(w *Writer) int {
	room := math.MaxInt
	for q := range w.outlets() {
		if q.claimed {
			return 0
		}
		room = min(room, p.limit(q)-p.held(q))
	}
	return room
}

// held is how many bytes take up room in q. A host's remote readers of a Fanout pipe have
// it together: else each writer that comes would bring room of its own.
func (p *Pipe) held(q *queue) int {
	n := q.bytes + q.lent
	if q.host == "" {
		return n
	}
	for _, r := range p.readers {
		if r.queue.shares(q) {
			n += r.queue.bytes + r.queue.lent
		}
	}
	return n
}

// shares reports that q is another queue, which has its room together with o.
func (q *queue) shares(o *queue) bool { return q.host != "" && q.host == o.host && q != o }

// limit is the queue's capacity, or what a waiting read must have at once if
// that is more, here or on another host: else writer and reader would wait for
// each other.
func (p *Pipe) limit(q *queue) int {
	limit := p.cfg.Capacity
	if p.farReaders > 0 {
		for _, r := range p.readers {
			if r.remote && r.lender() == q {
				limit = max(limit, r.window)
			}
		}
	}
	if p.hungry == 0 {
		return limit
	}
	for n := p.reading.first; n != nil; n = n.next {
		if n.op.reader.from.queues[0] == q {
			limit = max(limit, n.op.Min)
		}
	}
	return limit
}

// fits reports that n bytes may enter q as one. They may whatever their number
// if q is empty and could never hold them, or if a read waits for more than is
// there: else reader and writer would wait for each other.
func (p *Pipe) fits(q *queue, n int) bool {
	held := p.held(q)
	return n <= p.limit(q)-held || held == 0 && n > p.cfg.Capacity || p.lacks(q)
}

// lacks reports that a waiting read wants more bytes than q has.
func (p *Pipe) lacks(q *queue) bool {
	for n := p.reading.first; n != nil; n = n.next {
		if b := n.op.reader.from; b.queues[0] == q && max(n.op.Min, 1) > b.bytes() {
			return true
		}
	}
	return false
}

// take moves what it may of op's chunks into the queues.
func (p *Pipe) take(op *WriteOp) {
	room := p.room(op.writer)
	if op.whole {
		for q := range op.writer.outlets() {
			if q.claimed || !p.fits(q, op.left) {
				return
			}
		}
		room = op.left
	}
	if op.left == 0 || room <= 0 {
		return
	}
	op.writer.begin()
	short := op.N == 0 && op.left <= Buf
	if short && p.tail != nil && len(p.tail.bytes)-p.fill < op.left {
		p.newTail(op.left) // or its halves could be lent to different hosts
	}
	before, total := op.N, op.left
	for op.left > 0 && room > 0 {
		c := op.Chunks[op.next]
		if c.Len() > room {
			c, op.Chunks[op.next] = c.split(room)
		} else {
			op.next++
		}
		op.N += c.Len()
		op.left -= c.Len()
		room -= c.Len()
		p.putIn(op.writer, c, short, short && c.Len() < total)
	}
	p.written += uint64(op.N - before)
	p.wroteAt = time.Now()
}

// putIn adds c to w's outlets. part: others of the write must lie with it.
func (p *Pipe) putIn(w *Writer, c Chunk, short, part bool) {
	if c.Len() < gatherBelow && (part || !p.awaited(c)) {
		p.gather(w, c, short)
		return
	}
	p.enqueue(w, c, short)
}

// enqueue hands c, with its reference, to everyone who shall read it.
func (p *Pipe) enqueue(w *Writer, c Chunk, short bool) {
	if p.cfg.Mode != Fanout {
		p.shared.push(c, short)
		return
	}
	for _, r := range w.audience {
		r.queue.push(c.buf.Chunk(c.from, c.to), short)
	}
	c.Release()
}

// awaited reports that a read waits for exactly these bytes: they need not be
// copied since they will not stay.
func (p *Pipe) awaited(c Chunk) bool {
	if p.cfg.Mode == Fanout || p.reading.first == nil || p.basin.bytes() > 0 {
		return false
	}
	op := p.reading.first.op
	return op.Min <= c.Len() && c.Len() <= op.Max
}

// gather copies c behind the short chunks before it.
func (p *Pipe) gather(w *Writer, c Chunk, short bool) {
	b := c.Bytes()
	for len(b) > 0 {
		if p.tail == nil || p.fill == len(p.tail.bytes) {
			p.newTail(len(b))
		}
		n := copy(p.tail.bytes[p.fill:], b)
		p.enqueue(w, p.tail.Chunk(p.fill, p.fill+n), short)
		p.fill += n
		b = b[n:]
	}
	c.Release()
}

// newTail starts small: a pipe with a line in it shall not hold a segment.
func (p *Pipe) newTail(n int) {
	first := p.tail == nil
	p.dropTail()
	if first && n <= smallSize {
		p.tail = p.cfg.Pool.small()
	} else {
		p.tail = p.cfg.Pool.Segment()
	}
}

func (p *Pipe) dropTail() {
	if p.tail != nil {
		p.tail.Release()
	}
	p.tail, p.fill = nil, 0
}

func (p *Pipe) finishWrite(op *WriteOp, err error, done *completions) {
	op.parked = false
	op.Err = err
	op.discard()
	p.writing.remove(&op.node)
	done.writes.push(&op.node, op)
}
