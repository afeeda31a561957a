// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "sync/atomic"

// An operation is a small record that its caller owns and may reuse once Done
// has run. Started, it completes at once or is parked in the pipe; whoever makes
// it ready completes it. No goroutine and no buffer waits with it.

// OpenOp opens a pipe: the rules of fifo(7).
type OpenOp struct {
	Read, Write bool // both: O_RDWR, which never waits
	NonBlock    bool // O_NONBLOCK: do not wait for a partner
	Patient     bool // open at once; the first read or write waits for the partner instead (ZPIPES)
	Info        Info
	Voice       *Voice // of the writer, if remote readers of a Fanout pipe listen to it; else nil

	// Done runs once, with no lock held, maybe before Open returns.
	Done func(*OpenOp)

	Reader *Reader // set on success if Read
	Writer *Writer // set on success if Write
	Err    error

	withdrawn atomic.Bool                 // Cancel was called: it must not wait
	before    atomic.Pointer[func() bool] // see Before
	at        atomic.Pointer[Pipe]        // where it was started
	node      node[*OpenOp]
	arrived   bool // in Pipe.arriving
	parked    bool // in Pipe.opening

	// From when it came, at Arrive or Open.
	rOpens, wOpens uint64  // the pipe's counts: it waits for one to grow
	coming         *Reader // the end to be, if Read
}

// Cancel withdraws a waiting op and closes its end. It returns false if Done has run
// or will: with context.Canceled, unless the op meets its partner first. The close
// may complete other operations: the caller must hold no lock that their Done takes.
func (op *OpenOp) Cancel() bool {
	op.withdrawn.Store(true)
	if withdraw := op.before.Load(); withdraw != nil && (*withdraw)() {
		return true
	}
	p := op.at.Load()
	return p != nil && p.CancelOpen(op)
}

// Withdrawn reports that Cancel was called.
func (op *OpenOp) Withdrawn() bool { return op.withdrawn.Load() }

// Before says that op waits for something else before it is started, and how
// Cancel withdraws it from there, true: it did; nil: it does no more.
func (op *OpenOp) Before(withdraw func() bool) {
	if withdraw == nil {
		op.before.Store(nil)
		return
	}
	op.before.Store(&withdraw)
}

// Fail completes an op that has not been started.
func (op *OpenOp) Fail(err error) {
	op.Err = err
	op.Done(op)
}

// Reset makes an op that has completed ready for another pipe.
func (op *OpenOp) Reset() {
	op.Reader, op.Writer, op.Voice, op.Err = nil, nil, nil, nil
	op.withdrawn.Store(false)
	op.at.Store(nil)
	op.before.Store(nil)
}

// ReadOp takes bytes from a pipe.
type ReadOp struct {
	Min, Max int  // bytes; completes with fewer than Min only at end of data
	Pieces   int  // at most that many chunks; 0: any number. Wants Min 1.
	NonBlock bool // ErrAgain instead of waiting
	Rest     bool // a later part of one read(2): as NonBlock, and an error to be told once stays for the next read

	// Done runs once, with no lock held, maybe before Start returns.
	Done func(*ReadOp)

	Chunks []Chunk // the bytes; the caller releases each
	N      int     // sum of their lengths
	Err    error   // set only if N is 0

	reader *Reader
	node   node[*ReadOp]
	parked bool // in Pipe.reading
}

// WriteOp gives bytes to a pipe.
type WriteOp struct {
	// Chunks are the bytes, none empty. From Start on they are the pipe's, also
	// when the operation fails; the slice itself stays the caller's.
	Chunks   []Chunk
	Whole    bool // all bytes enter as one or none does; up to Buf they do anyway
	NonBlock bool // ErrAgain instead of waiting, or a short count if not Whole

	// Done runs once, with no lock held, maybe before Start returns.
	Done func(*WriteOp)

	N   int   // bytes taken
	Err error // may come with N > 0: the pipe broke midway

	writer *Writer
	whole  bool // Whole, or short enough
	left   int  // bytes not yet taken
	next   int  // first chunk not yet taken whole
	node   node[*WriteOp]
	parked bool // in Pipe.writing
}

func (op *WriteOp) discard() {
	for _, c := range op.Chunks[op.next:] {
		c.Release()
	}
	op.next = len(op.Chunks)
}

// completions are operations that became ready under the pipe's lock, to be
// told once it is released.
type completions struct {
	reads  list[*ReadOp]
	opens  list[*OpenOp]
	writes list[*WriteOp]

	calls [4]func() // the first few in place: the usual case allocates nothing
	n     int
	more  []func()
}

// run tells readers first: their wake-up is what a round trip waits for.
func (c *completions) run() {
	for op := c.reads.pop(); op != nil; op = c.reads.pop() {
		op.Done(op)
	}
	for op := c.opens.pop(); op != nil; op = c.opens.pop() {
		op.Done(op)
	}
	for op := c.writes.pop(); op != nil; op = c.writes.pop() {
		op.Done(op)
	}
	for _, call := range c.calls[:c.n] {
		call()
	}
	for _, call := range c.more {
		call()
	}
}

func (c *completions) call(f func()) {
	if c.n < len(c.calls) {
		c.calls[c.n] = f
		c.n++
		return
	}
	c.more = append(c.more, f)
}
