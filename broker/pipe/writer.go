// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"context"
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
	op.Whole = op.Whole || op.left <= Buf
	p.mu.Lock()
	op.parked = true
	p.writing.push(&op.node, op)
	p.pump(&done)
	if op.parked && op.NonBlock {
		err := ErrAgain
		if op.N > 0 {
			err = nil
		}
		p.finishWrite(op, err, &done)
	}
	p.mu.Unlock()
	done.run()
}

// Cancel withdraws a waiting op; op.N bytes of it stay in the pipe. It returns
// false if op is not waiting: Done has run or will.
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
	for n := p.writing.first; n != nil; {
		op, next := n.op, n.next
		w := op.writer
		if err := w.broken(); err != nil {
			p.finishWrite(op, err, done)
			n = next
			continue
		}
		if w.hasAudience() {
			before := op.N
			p.take(op)
			moved = moved || op.N > before
			if op.left == 0 {
				p.finishWrite(op, nil, done)
			} else if p.cfg.Mode != Fanout {
				break // those behind it wait their turn
			}
		}
		n = next
	}
	return moved
}

// broken returns why w cannot write any more, or nil.
func (w *Writer) broken() error {
	p := w.pipe
	switch {
	case w.closed:
		return ErrClosed
	case p.shut:
		return ErrBroken
	case w.begun:
		if len(w.audience) == 0 {
			return ErrBroken
		}
	case len(p.readers) == 0 && (!w.patient || w.sawReader()):
		return ErrBroken
	}
	return nil
}

func (w *Writer) sawReader() bool { return w.met || w.pipe.rOpens != w.rOpens }

// hasAudience reports whether somebody is there to write for; in Fanout the
// first byte fixes who.
func (w *Writer) hasAudience() bool {
	p := w.pipe
	if p.cfg.Mode != Fanout {
		return len(p.readers) > 0
	}
	if !w.begun && len(p.readers) > 0 {
		w.begun = true
		w.audience = append(w.audience[:0], p.readers...)
	}
	return len(w.audience) > 0
}

// room is how many bytes w may add now.
func (p *Pipe) room(w *Writer) int {
	if p.cfg.Mode != Fanout {
		return p.limit(&p.shared) - p.shared.bytes
	}
	room := p.limit(&w.audience[0].queue) - w.audience[0].queue.bytes
	for _, r := range w.audience[1:] {
		room = min(room, p.limit(&r.queue)-r.queue.bytes)
	}
	return room
}

// limit is the queue's capacity, or what a waiting read must have at once if
// that is more: else writer and reader would wait for each other.
func (p *Pipe) limit(q *queue) int {
	limit := p.cfg.Capacity
	if p.hungry == 0 {
		return limit
	}
	for n := p.reading.first; n != nil; n = n.next {
		if n.op.reader.from == q {
			limit = max(limit, n.op.Min)
		}
	}
	return limit
}

// take moves what it may of op's chunks into the queues.
func (p *Pipe) take(op *WriteOp) {
	room := p.room(op.writer)
	if op.Whole {
		if op.left > room && !(op.left > p.cfg.Capacity && p.vacant(op.writer)) {
			return
		}
		room = op.left
	}
	before := op.N
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
		p.putIn(op.writer, c)
	}
	if op.N > before {
		p.written += uint64(op.N - before)
		p.wroteAt = time.Now()
	}
}

// vacant reports that w's readers have taken everything: a whole write larger
// than the capacity enters then.
func (p *Pipe) vacant(w *Writer) bool {
	for _, r := range w.audience {
		if r.queue.bytes > 0 {
			return false
		}
	}
	return p.shared.bytes == 0
}

func (p *Pipe) putIn(w *Writer, c Chunk) {
	if c.Len() < gatherBelow && !p.awaited(w) {
		p.gather(w, c)
		return
	}
	p.enqueue(w, c)
}

// enqueue hands c, with its reference, to everyone who shall read it.
func (p *Pipe) enqueue(w *Writer, c Chunk) {
	if p.cfg.Mode != Fanout {
		p.shared.push(c)
		return
	}
	for _, r := range w.audience {
		r.queue.push(c.buf.Chunk(c.from, c.to))
	}
	c.Release()
}

// awaited reports that a read waits for exactly these bytes: they need not be
// copied since they will not stay.
func (p *Pipe) awaited(w *Writer) bool {
	return p.cfg.Mode != Fanout && p.reading.first != nil && p.shared.bytes == 0
}

// gather copies c behind the short chunks before it.
func (p *Pipe) gather(w *Writer, c Chunk) {
	b := c.Bytes()
	for len(b) > 0 {
		if p.tail == nil || p.fill == len(p.tail.bytes) {
			p.newTail(w, len(b))
		}
		n := copy(p.tail.bytes[p.fill:], b)
		p.enqueue(w, p.tail.Chunk(p.fill, p.fill+n))
		p.fill += n
		b = b[n:]
	}
	c.Release()
}

// newTail starts small: a pipe with a line in it shall not hold a segment.
func (p *Pipe) newTail(w *Writer, n int) {
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
