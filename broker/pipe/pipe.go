// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package pipe is the engine: one named pipe in memory, with the semantics of
// fifo(7) and pipe(7). It knows no names, files, sockets or hosts.
//
// Bytes move by reference: a write's buffers become chunks in a queue and the
// read's result. See DESIGN.md.
package pipe

import (
	"slices"
	"sync"
	"time"
)

const (
	// Buf is PIPE_BUF: writes up to it are whole (pipe(7)).
	Buf = 4096
	// DefaultCapacity is a pipe's buffer in bytes unless told otherwise.
	DefaultCapacity = 1 << 20
)

// Config shapes a Pipe.
type Config struct {
	Mode     Mode
	Capacity int   // bytes buffered before writers wait; 0: DefaultCapacity; at least Buf
	Pool     *Pool // shared by the pipes of a broker; required

	// Idle runs each time the last end has closed, with no lock held. An end
	// may have opened again by then.
	Idle func()
}

// Pipe is one pipe. Its contents vanish when its last end closes and none arrives.
type Pipe struct {
	cfg Config

	mu      sync.Mutex // guards all below, and all fields of its ends and parked operations
	readers []*Reader
	writers []*Writer
	rOpens  uint64 // opens for reading ever; as the kernel's r_counter it lets an opener see a partner that has left again
	wOpens  uint64 // opens for writing ever
	paired  bool   // a reader and a writer were open together
	spent   bool   // Exclusive only: a paired end has closed
	shut    bool   // Shutdown has run

	shared queue   // Fifo and Exclusive: what this host's writers have written
	basin  basin   // Fifo and Exclusive: what all readers of this host take from
	tail   *Buffer // where short writes are gathered; nil when nothing is
	fill   int     // bytes of tail in use

	cluster    Cluster   // nil: no end is remote
	farReaders int       // of readers, those that are remote
	farWriters int       // of writers
	gaps       [2]uint64 // how often the last reader, the last writer of this host has closed
	starving   bool      // a Cluster wants to know when a read waits
	tried      bool      // a read that would not wait has found nothing since Watch

	arriving list[*OpenOp]  // openers on their way here: what is here stays for them
	opening  list[*OpenOp]  // openers waiting for a partner; their ends count as open
	reading  list[*ReadOp]  // reads waiting for bytes
	writing  list[*WriteOp] // writes waiting for room, in the order they came
	hungry   int            // waiting reads that want more at once than the capacity
	faulty   bool           // reads that wait may have a fault to tell
	armed    int            // ends that wait to be notified

	written, read   uint64    // bytes ever
	fed             uint64    // of written: by remote writers
	wroteAt, readAt time.Time // of the last bytes
}

// New makes a pipe with no ends.
func New(cfg Config) *Pipe {
	if cfg.Capacity == 0 {
		cfg.Capacity = DefaultCapacity
	}
	cfg.Capacity = max(cfg.Capacity, Buf)
	p := &Pipe{cfg: cfg}
	p.basin.queues = []*queue{&p.shared}
	return p
}

// Mode returns the pipe's mode.
func (p *Pipe) Mode() Mode { return p.cfg.Mode }

// Info tells who holds an end, for people who list pipes.
type Info struct {
	Door string `json:"door"`           // "mount", "zpipes", "go", or "peer": an end on another host
	PID  int    `json:"pid"`            // the process that opened it; 0: unknown
	Host string `json:"host,omitempty"` // the node it is on; empty: this one
}

// Stat is a pipe's state at one moment.
type Stat struct {
	Mode             Mode
	Readers, Writers []Info
	Buffered         int    // bytes waiting for a reader
	Written, Read    uint64 // bytes since the pipe was made; what has come from other hosts and gone back is not counted
	WroteAt, ReadAt  time.Time
	Spent            bool

	// Of the bytes that this host's writers have written, wherever they are now. Summed
	// over the hosts that a pipe has ends on they tell of each byte once.
	OwnWritten  uint64
	OwnBuffered int // no reader has taken them, on any host; in Fanout: not the slowest
}

// Open reports whether any end is open.
func (s Stat) Open() bool { return len(s.Readers)+len(s.Writers) > 0 }

// Stat returns the pipe's state.
func (p *Pipe) Stat() Stat {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stat{
		Mode: p.cfg.Mode, Written: p.written, Read: p.read, WroteAt: p.wroteAt, ReadAt: p.readAt, Spent: p.spent,
		OwnWritten: p.written - p.fed, OwnBuffered: p.ownBuffered(),
	}
	s.Buffered = max(p.buffered(), s.OwnBuffered)
	for _, r := range p.readers {
		s.Readers = append(s.Readers, r.info)
	}
	for _, w := range p.writers {
		s.Writers = append(s.Writers, w.info)
	}
	return s
}

// Busy reports whether any end is open, and whether the pipe is spent.
func (p *Pipe) Busy() (open, spent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.openEnds() > 0, p.spent
}

func (p *Pipe) openEnds() int { return len(p.readers) + len(p.writers) }

// buffered counts what the slowest reader has before it.
func (p *Pipe) buffered() int {
	n := p.basin.bytes() + p.shared.lent
	for _, r := range p.readers {
		if p.cfg.Mode == Fanout {
			n = max(n, r.from.bytes(), p.held(&r.queue))
		}
	}
	return n
}

// ownBuffered counts what this host's writers have written and the slowest reader has
// not taken.
func (p *Pipe) ownBuffered() int {
	if p.cfg.Mode != Fanout {
		return p.held(&p.shared)
	}
	n := 0
	for _, r := range p.readers {
		n = max(n, p.held(&r.queue))
	}
	return n
}

// Close closes the ends together, as close(2) does with an O_RDWR descriptor;
// either may be nil. A cause says that their host was lost: readers get the
// bytes that have arrived and then the cause, once. Operations still waiting on
// the ends get ErrClosed. Closing twice is harmless.
func (p *Pipe) Close(r *Reader, w *Writer, cause error) {
	var done completions
	p.mu.Lock()
	before := p.openEnds()
	p.detach(r, w, cause, &done)
	tell := p.closed(before > p.openEnds(), before > 0)
	p.mu.Unlock()
	done.run()
	tell()
}

// closed returns what is to be called with no lock held: fewer ends are open, and
// none of those that were.
func (p *Pipe) closed(fewer, some bool) (tell func()) {
	cluster, idle := p.cluster, some && p.openEnds() == 0
	return func() {
		if fewer && cluster != nil {
			cluster.Ends()
		}
		if idle && p.cfg.Idle != nil {
			p.cfg.Idle()
		}
	}
}

func (p *Pipe) detach(r *Reader, w *Writer, cause error, done *completions) {
	if w != nil && !w.closed {
		p.detachWriter(w, cause, done)
	}
	if r != nil && !r.closed {
		p.detachReader(r, done)
	}
	if p.vacant() {
		p.empty()
		return
	}
	p.pump(done)
	p.notifyRemote(done)
}

func (p *Pipe) detachReader(r *Reader, done *completions) {
	r.closed = true
	p.disarm(&r.watch)
	p.readers = slices.DeleteFunc(p.readers, func(x *Reader) bool { return x == r })
	p.spent = p.spent || p.cfg.Mode == Exclusive && p.paired
	for n := p.reading.first; n != nil; {
		op, next := n.op, n.next
		if op.reader == r {
			p.finishRead(op, ErrClosed, done)
		}
		n = next
	}
	if r.remote {
		p.farReaders--
		r.lender().lent -= r.lent
		r.lent = 0
	} else if len(p.readers) == p.farReaders {
		p.gaps[0]++
	}
	p.forsake(r, done)
	if len(p.readers) == p.farReaders {
		for p.basin.takeMark() != nil { // what came before it has been read
		}
		p.basin.prune()
	}
	if len(p.readers) == 0 {
		p.notifyWriters(done)
	}
}

// forsake drops what a reader that goes has before it; its writers see it.
func (p *Pipe) forsake(r *Reader, done *completions) {
	r.queue.clear()
	r.own.clear()
	for _, w := range p.writers {
		w.audience = slices.DeleteFunc(w.audience, func(x *Reader) bool { return x == r })
		w.inboxes = slices.DeleteFunc(w.inboxes, func(q *queue) bool { return slices.Contains(r.own.queues, q) })
		if w.deserted() {
			p.fire(&w.watch, done)
		}
		p.tellFed(w, done)
	}
}

func (p *Pipe) detachWriter(w *Writer, cause error, done *completions) {
	w.closed = true
	p.disarm(&w.watch)
	p.writers = slices.DeleteFunc(p.writers, func(x *Writer) bool { return x == w })
	p.spent = p.spent || p.cfg.Mode == Exclusive && p.paired
	for n := p.writing.first; n != nil; {
		op, next := n.op, n.next
		if op.writer == w {
			p.finishWrite(op, ErrClosed, done)
		}
		n = next
	}
	if w.remote {
		p.farWriters--
	} else if len(p.writers) == p.farWriters {
		p.gaps[1]++
	}
	if w.voice != nil {
		w.voice.gone = true
	}
	if cause != nil {
		p.markLoss(w, cause)
		p.notifyReaders(done)
	}
	p.basin.prune()
	if len(p.writers) == 0 {
		p.notifyReaders(done)
	}
}

// markLoss leaves a mark behind the bytes that arrived from a lost writer, also
// when nobody is there to read them yet.
func (p *Pipe) markLoss(w *Writer, cause error) {
	switch {
	case w.remote:
		w.meet() // those who wait for its first byte
		for _, q := range w.inboxes {
			q.pushMark(cause)
		}
	case p.cfg.Mode == Fanout:
		for q := range w.outlets() {
			q.pushMark(cause)
		}
	case len(p.readers) > 0 || p.shared.bytes > 0:
		p.shared.pushMark(cause)
	}
}

// empty forgets the contents: nobody is left for them. What came from other hosts
// was not read, and they shall know.
func (p *Pipe) empty() {
	for _, q := range p.basin.queues {
		if q.source != nil {
			q.source.unfeed()
		}
	}
	p.basin.clear()
	p.dropTail()
	p.paired = false
}

// failOpens ends all waiting opens.
func (p *Pipe) failOpens(err error, done *completions) {
	for p.opening.first != nil {
		op := p.opening.first.op
		p.finishOpen(op, err, done)
		p.detach(op.Reader, op.Writer, nil, done)
		op.Reader, op.Writer = nil, nil
	}
}

// Shutdown ends the pipe for good, at once: reads get io.EOF, writes ErrBroken,
// opens ErrClosed, whether waiting or still to come. Ends are closed as ever.
func (p *Pipe) Shutdown() {
	var done completions
	p.mu.Lock()
	p.shut = true
	before := p.openEnds()
	p.failOpens(ErrClosed, &done)
	p.pump(&done)
	p.notifyReaders(&done)
	p.notifyWriters(&done)
	tell := p.closed(before > p.openEnds(), before > 0)
	p.mu.Unlock()
	done.run()
	tell()
}
