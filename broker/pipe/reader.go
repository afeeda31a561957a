// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"context"
	"io"
)

// Reader is an end that takes bytes.
type Reader struct {
	pipe    *Pipe
	info    Info
	patient bool

	from   *basin // what it takes from: the pipe's, or in Fanout its own
	own    basin  // Fanout only
	queue  queue  // Fanout only: what this host's writers have written for it
	wOpens uint64 // the pipe's count when this opened
	met    bool   // a writer was there when this opened
	fault  error  // to be told once, before any more bytes
	closed bool
	watch  watch

	remote bool   // stands for the readers of another host: see remote.go
	only   *Voice // remote, Fanout: whose bytes it gets
	lent   int    // remote: bytes taken and not yet consumed there
	window int    // remote: the most it may hold so
}

// Pipe returns the pipe that r is an end of.
func (r *Reader) Pipe() *Pipe { return r.pipe }

// Close closes the end; see Pipe.Close.
func (r *Reader) Close() { r.pipe.Close(r, nil, nil) }

// Start begins a read. It completes with at least op.Min bytes, or fewer if the
// data ends there, and never with more than op.Max.
//
// Errors in op.Err: io.EOF when there is no writer and nothing left (a patient
// reader first waits for a writer to have come), ErrAgain, ErrClosed, or the
// cause a writer was lost for.
func (r *Reader) Start(op *ReadOp) {
	p := r.pipe
	var done completions
	p.mu.Lock()
	op.reader, op.N, op.Err, op.Chunks = r, 0, nil, op.Chunks[:0]
	switch {
	case p.tryRead(op, func(w *Writer) { p.tellFed(w, &done) }):
		done.reads.push(&op.node, op)
	case op.NonBlock || op.Rest:
		op.Err = ErrAgain
		done.reads.push(&op.node, op)
	default:
		p.parkRead(op)
	}
	p.pump(&done)
	var starved Cluster
	if op.Err == ErrAgain && !op.Rest || op.parked {
		starved = p.takeStarving()
		p.tried = p.tried || !op.parked && starved != nil
		if op.parked && op.Min > SegmentSize && p.farWriters > 0 {
			starved = p.cluster
		}
	}
	p.mu.Unlock()
	done.run()
	if starved != nil {
		starved.Starved()
	}
}

// Cancel withdraws a waiting op, which has taken nothing. It returns false if op
// is not waiting: Done has run or will.
func (r *Reader) Cancel(op *ReadOp) bool {
	p := r.pipe
	var done completions
	p.mu.Lock()
	waits := op.parked
	if waits {
		p.unparkRead(op)
		p.pump(&done) // there may be less room than it made; nothing completes
	}
	var sated Cluster
	if waits && p.reading.first == nil && p.farWriters > 0 {
		sated = p.cluster
	}
	p.mu.Unlock()
	done.run()
	if sated != nil {
		sated.Starved()
	}
	return waits
}

// Read waits for at least min and returns at most max bytes; the caller releases
// the chunks. Errors as for Start, or the context's cause: then nothing was taken.
func (r *Reader) Read(ctx context.Context, min, max int) ([]Chunk, error) {
	ready := make(chan struct{})
	op := &ReadOp{Min: min, Max: max, Done: func(*ReadOp) { close(ready) }}
	r.Start(op)
	select {
	case <-ready:
	case <-ctx.Done():
		if r.Cancel(op) {
			return nil, context.Cause(ctx)
		}
		<-ready
	}
	return op.Chunks, op.Err
}

// serve completes the reads that can be; it reports whether bytes moved.
func (p *Pipe) serve(done *completions) (moved bool) {
	fed := func(w *Writer) { p.tellFed(w, done) }
	for n := p.reading.first; n != nil && !p.barren(); {
		op, next := n.op, n.next
		if p.tryRead(op, fed) {
			moved = moved || op.N > 0
			p.finishRead(op, op.Err, done)
		}
		n = next
	}
	p.faulty = false // every read that waits has been told
	return moved
}

// barren reports that none of maybe many waiting reads can be served.
func (p *Pipe) barren() bool {
	return p.cfg.Mode != Fanout && !p.shut && len(p.writers) > 0 && p.basin.bytes() == 0 && p.basin.marks() == 0 && !p.faulty
}

// tryRead fills op if it can complete now.
func (p *Pipe) tryRead(op *ReadOp, fed func(*Writer)) bool {
	r := op.reader
	if err := r.from.takeMark(); err != nil {
		p.fault(r, err)
	}
	if r.fault != nil && !op.Rest {
		op.Err, r.fault = r.fault, nil
		return true
	}
	ready, end := r.from.ready(), r.ended()
	enough := ready >= max(op.Min, 1) || ready > 0 && (end || r.from.marks() > 0)
	switch {
	case r.closed:
		op.Err = ErrClosed
	case enough && r.fault == nil:
		op.Chunks, op.N = r.from.take(op.Chunks, op.Max, op.Pieces, fed)
		p.tookOut(op.N)
		r.from.prune()
	case end:
		op.Err = io.EOF
	default:
		return false
	}
	return true
}

// fault gives every reader of the queue the mark's error, once each.
func (p *Pipe) fault(r *Reader, err error) {
	p.faulty = true
	if p.cfg.Mode == Fanout {
		r.fault = err
		return
	}
	for _, r := range p.readers {
		if !r.remote {
			r.fault = err
		}
	}
}

// ended reports that no more bytes can come: no writer is there, and no other
// host has bytes that it may give back. A patient reader that never met a writer
// still waits.
func (r *Reader) ended() bool {
	p := r.pipe
	return p.shut || len(p.writers) == 0 && p.shared.lent == 0 && (!r.patient || r.sawWriter() || p.spent)
}

func (r *Reader) sawWriter() bool { return r.met || r.pipe.wOpens != r.wOpens }

func (p *Pipe) parkRead(op *ReadOp) {
	op.parked = true
	p.reading.push(&op.node, op)
	if op.Min > p.cfg.Capacity {
		p.hungry++
	}
}

func (p *Pipe) unparkRead(op *ReadOp) {
	op.parked = false
	p.reading.remove(&op.node)
	if op.Min > p.cfg.Capacity {
		p.hungry--
	}
}

func (p *Pipe) finishRead(op *ReadOp, err error, done *completions) {
	p.unparkRead(op)
	op.Err = err
	done.reads.push(&op.node, op)
}
