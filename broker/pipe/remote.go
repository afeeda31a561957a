// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "slices"

// A remote end stands in a pipe for the ends of another host. For its partners
// here it is an end like any other: it counts for open, end of file, EPIPE and
// poll. What it takes or gives travels over a link that the pipe knows nothing of.
//
// A remote reader takes only what writers of this host have written, a remote
// writer gives only to readers of this host: each byte crosses one link at most.

// Cluster is told of what remote ends depend on. Its methods run with no lock
// held, from any goroutine; they ask the pipe what is so by then.
type Cluster interface {
	// Ends tells that an end has closed.
	Ends()
	// Starved tells that a reader of this host waits for bytes: once after Watch, and
	// for each that must have more than SegmentSize at once; or that the last one that
	// waited was withdrawn.
	Starved()
}

// Join makes c hear of the pipe. It comes before any remote end.
func (p *Pipe) Join(c Cluster) {
	p.mu.Lock()
	p.cluster = c
	p.mu.Unlock()
}

// Ends returns how many ends this host has.
func (p *Pipe) Ends() (readers, writers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.readers) - p.farReaders, len(p.writers) - p.farWriters
}

// Gaps returns how often the last reader and the last writer of this host have closed.
func (p *Pipe) Gaps() [2]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gaps
}

// Need returns how many bytes a waiting read of this host must have at once.
func (p *Pipe) Need() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := p.reading.first; x != nil; x = x.next {
		n = max(n, x.op.Min)
	}
	return n
}

// Watch asks for one call of Cluster.Starved, when a reader of this host begins to
// wait, and reports whether one waits already.
func (p *Pipe) Watch() (starved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	starved = p.reading.first != nil
	for _, r := range p.readers {
		starved = starved || !r.remote && r.watch.notify != nil && r.from.takable() == 0
	}
	starved = starved || p.tried
	p.starving, p.tried = true, false
	return starved
}

// Wanted returns how many bytes the readers of this host wait for. Of those that poll
// it is not known: a segment, since a byte at a time would take them for ever.
func (p *Pipe) Wanted() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := p.reading.first; x != nil; x = x.next {
		n += x.op.Max
	}
	if n == 0 {
		return SegmentSize
	}
	return n
}

// Unlent returns how many bytes of this host's writers lie here.
func (p *Pipe) Unlent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shared.bytes
}

// SetApart says whether several hosts want the bytes, so that writes are kept from
// each other: then they can be lent one by one.
func (p *Pipe) SetApart(apart bool) {
	var done completions
	p.mu.Lock()
	if p.shared.apart != apart {
		p.shared.apart = apart
		p.pump(&done)
		p.notifyReaders(&done)
	}
	p.mu.Unlock()
	done.run()
}

// takeStarving returns who is to be told that a read waits; nil: nobody.
func (p *Pipe) takeStarving() Cluster {
	// What lies with others has to be asked for each time.
	if !p.starving && !p.shared.withheld() {
		return nil
	}
	p.starving = false
	return p.cluster
}

// Voice is a writer of a Fanout pipe as remote readers listen to it: each gets the
// bytes of one. It is there before its writer opens, so that they miss nothing.
type Voice struct {
	gone bool // its writer has closed, or will not come; guarded by the pipe's lock
}

// Mute says that a voice's writer will not come.
func (p *Pipe) Mute(v *Voice) {
	var done completions
	p.mu.Lock()
	v.gone = true
	p.notifyRemote(&done)
	p.mu.Unlock()
	done.run()
}

// Gone reports that a voice's writer has closed or will not come.
func (p *Pipe) Gone(v *Voice) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return v.gone
}

// Desert tells that those who got the first byte of a remote reader's voice have
// all gone: its writer has lost them.
func (r *Reader) Desert() {
	p := r.pipe
	var done completions
	p.mu.Lock()
	for _, w := range p.writers {
		if slices.Contains(w.audience, r) {
			w.audience = slices.DeleteFunc(w.audience, func(x *Reader) bool { return x == r })
			r.lender().lent -= r.lent
			r.lent = 0
			r.queue.clear()
			if w.deserted() {
				p.fire(&w.watch, &done)
			}
		}
	}
	p.pump(&done)
	p.mu.Unlock()
	done.run()
}

// AttachReader adds a remote reader. of is whose bytes it gets in a Fanout pipe,
// else nil.
//
// Errors: ErrClosed, ErrSpent, ErrBusy.
func (p *Pipe) AttachReader(info Info, of *Voice) (*Reader, error) {
	var done completions
	p.mu.Lock()
	err := p.attachable(len(p.readers) > 0)
	var r *Reader
	if err == nil {
		r = &Reader{pipe: p, info: info, remote: true, only: of, wOpens: p.wOpens}
		r.from = &r.own // local reads take nothing through it
		if p.cfg.Mode == Fanout {
			r.queue.host = info.Host
		}
		p.farReaders++
		p.addReader(r)
		p.releaseOpeners(&done)
		p.pump(&done)
	}
	p.mu.Unlock()
	done.run()
	return r, err
}

func (p *Pipe) attachable(taken bool) error {
	switch {
	case p.shut:
		return ErrClosed
	case p.spent:
		return ErrSpent
	case p.cfg.Mode == Exclusive && taken:
		return ErrBusy
	}
	return nil
}

// Taken reports that a process of this host has such an end of an exclusive pipe. If
// one of another host has, that may have closed it already.
func (p *Pipe) Taken(read, write bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Mode == Exclusive && (read && len(p.readers) > p.farReaders || write && len(p.writers) > p.farWriters)
}

// Spend makes an exclusive pipe take no new ends: its name stands for a new one. No
// partner comes any more for whom an end waits: opens get ErrBusy, reads io.EOF,
// writes ErrBroken.
func (p *Pipe) Spend() {
	if p.cfg.Mode != Exclusive {
		return
	}
	var done completions
	p.mu.Lock()
	p.spent = true
	before := p.openEnds()
	p.failOpens(ErrBusy, &done)
	p.pump(&done)
	tell := p.closed(before > p.openEnds(), before > 0)
	p.mu.Unlock()
	done.run()
	tell()
}

// lender is the queue that a remote reader takes from.
func (r *Reader) lender() *queue {
	if r.pipe.cfg.Mode == Fanout {
		return &r.queue
	}
	return &r.pipe.shared
}

// Lend takes about want bytes and at most max, appended to dst, for the other
// host's readers. Writes of up to Buf bytes are not torn: if max is less than
// SegmentSize there may be bytes and none be lent. The caller releases the chunks.
// Lent bytes take up room until they are settled or returned.
//
// When nothing is lent, end tells that nothing can come any more; else notify runs
// once, with no lock held, when something may have.
func (r *Reader) Lend(dst []Chunk, want, max int, notify func()) (chunks []Chunk, n int, end bool) {
	p := r.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.closed {
		return dst, 0, true
	}
	q := r.lender()
	chunks = dst
	if !q.apart || q.lent == r.lent { // else others have older bytes
		chunks, n = q.takeWhole(dst, want, max)
	}
	q.lent += n
	r.lent += n
	if n > 0 {
		return chunks, n, false
	}
	if r.exhausted() {
		return chunks, 0, true
	}
	p.arm(&r.watch, notify)
	return chunks, 0, false
}

// exhausted reports that no bytes can come for a remote reader: the writers have
// gone, and no other host holds any that it may return.
func (r *Reader) exhausted() bool {
	p := r.pipe
	q := r.lender()
	gone := len(p.writers) == p.farWriters
	if p.cfg.Mode == Fanout {
		gone = r.only == nil || r.only.gone
	}
	return gone && q.bytes == 0 && q.lent == r.lent
}

// Settle tells that n lent bytes have been consumed.
func (r *Reader) Settle(n int) {
	p := r.pipe
	var done completions
	p.mu.Lock()
	if n = min(n, r.lent); !r.closed && n > 0 {
		r.lent -= n
		r.lender().lent -= n
		p.tookOut(n)
		p.lessLent(&done)
	}
	p.mu.Unlock()
	done.run()
}

// Return gives lent bytes back that were not consumed, the oldest first, for the
// pipe's other readers: chunks, whose references it takes over, and nothing of
// what was lent before them.
func (r *Reader) Return(chunks []Chunk) {
	p := r.pipe
	var done completions
	p.mu.Lock()
	if r.closed || p.cfg.Mode == Fanout {
		for _, c := range chunks {
			c.Release()
		}
	} else {
		before := p.shared.bytes
		p.shared.pushFront(chunks)
		n := p.shared.bytes - before
		r.lent -= n
		p.shared.lent -= n
		p.notifyReaders(&done)
	}
	p.lessLent(&done)
	p.mu.Unlock()
	done.run()
}

func (p *Pipe) lessLent(done *completions) {
	p.pump(done)
	if p.shared.lent == 0 {
		p.notifyReaders(done)
	}
}

// SetWindow says how many bytes a remote reader may hold from now on, if that is more
// than the capacity.
func (r *Reader) SetWindow(n int) {
	p := r.pipe
	var done completions
	p.mu.Lock()
	if n != r.window {
		r.window = n
		p.pump(&done)
	}
	p.mu.Unlock()
	done.run()
}

// notifyRemote tells remote readers that bytes have come for them, or the end.
func (p *Pipe) notifyRemote(done *completions) {
	if p.farReaders == 0 || p.armed == 0 {
		return
	}
	for _, r := range p.readers {
		if !r.remote || r.watch.notify == nil {
			continue
		}
		q := r.lender()
		if q.bytes > 0 && (!q.apart || q.lent == r.lent) || r.exhausted() {
			p.fire(&r.watch, done)
		}
	}
}

// AttachWriter adds a remote writer. taken runs, with no lock held, each time
// readers have taken bytes of it or have gone.
//
// Errors: ErrClosed, ErrSpent, ErrBusy.
func (p *Pipe) AttachWriter(info Info, taken func()) (*Writer, error) {
	var done completions
	p.mu.Lock()
	err := p.attachable(len(p.writers) > 0)
	var w *Writer
	if err == nil {
		w = &Writer{pipe: p, info: info, remote: true, taken: taken, rOpens: p.rOpens}
		if p.cfg.Mode != Fanout {
			w.inboxes = []*queue{{source: w, former: p.basin.former(info.Host)}}
			p.basin.queues = append(p.basin.queues, w.inboxes[0])
		}
		p.farWriters++
		p.addWriter(w)
		p.releaseOpeners(&done)
		p.pump(&done)
	}
	p.mu.Unlock()
	done.run()
	return w, err
}

// Feed puts chunks, whose references it takes over, before the readers. It does not
// wait for room: the other host sends no more than it was granted. Writes that must
// stay whole lie in one Feed, but maybe across its chunks.
func (w *Writer) Feed(chunks []Chunk) {
	p := w.pipe
	var done completions
	p.mu.Lock()
	if !w.closed {
		w.meet()
		n := 0
		for i, c := range chunks {
			n += c.Len()
			for _, q := range w.inboxes {
				p.feed(q, c)
				q.last().more = i < len(chunks)-1
			}
		}
		w.fed += n
		p.written += uint64(n)
		p.pump(&done)
		p.notifyReaders(&done)
	}
	p.mu.Unlock()
	for _, c := range chunks {
		c.Release()
	}
	done.run()
}

// feed gathers short chunks, as gather does, in a buffer that ends with them: what
// follows comes in a message of its own.
func (p *Pipe) feed(q *queue, c Chunk) {
	if last := q.last(); last != nil && last.mark == nil && c.Len() < gatherBelow && q.tail != nil && len(q.tail.bytes)-q.fill >= c.Len() {
		copy(q.tail.bytes[q.fill:], c.Bytes())
		q.push(q.tail.Chunk(q.fill, q.fill+c.Len()), true)
		q.fill += c.Len()
		return
	}
	if last := q.last(); last != nil && c.Len() < gatherBelow {
		q.dropTail()
		q.tail = p.cfg.Pool.Segment()
		q.fill = copy(q.tail.bytes, c.Bytes())
		q.push(q.tail.Chunk(0, q.fill), true)
		return
	}
	q.push(c.buf.Chunk(c.from, c.to), c.Len() <= SegmentSize)
}

// meet fixes who gets the bytes of a remote writer in a Fanout pipe: the readers
// that are here for its first, or on their way, since those may have let it in.
func (w *Writer) meet() {
	p := w.pipe
	if p.cfg.Mode != Fanout || w.begun {
		return
	}
	w.begun = true
	for _, r := range p.readers {
		if !r.remote {
			w.address(r)
		}
	}
	for n := p.arriving.first; n != nil; n = n.next {
		if n.op.Read {
			w.address(n.op.coming)
		}
	}
}

func (w *Writer) address(r *Reader) {
	q := &queue{source: w}
	w.audience = append(w.audience, r)
	w.inboxes = append(w.inboxes, q)
	r.own.queues = append(r.own.queues, q)
}

// Fed returns how many bytes were ever fed, and how many of them the slowest reader
// has yet to take; alone tells that nobody is there to take them.
func (w *Writer) Fed() (fed, unread int, alone bool) {
	p := w.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range w.inboxes {
		unread = max(unread, q.bytes)
	}
	return w.fed, unread, w.deserted() || len(p.readers) == p.farReaders && !p.awaitsReader()
}

// Recall takes back all bytes that no reader has taken, and returns how many.
func (w *Writer) Recall() (n int) {
	p := w.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Mode == Fanout {
		return 0
	}
	return w.unfeed()
}

func (w *Writer) unfeed() (n int) {
	q := w.inboxes[0]
	n = q.bytes
	q.clear()
	w.fed -= n
	return n
}

func (p *Pipe) tellFed(w *Writer, done *completions) {
	if w.taken != nil {
		done.call(w.taken)
	}
}
