// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "context"

// Arrive says that op is about to open: what is in the pipe stays for it, and a
// partner that opens from here on lets it in, even if that one has closed again by
// then. Open or Depart follows.
func (p *Pipe) Arrive(op *OpenOp) {
	p.mu.Lock()
	p.arrive(op)
	p.mu.Unlock()
}

func (p *Pipe) arrive(op *OpenOp) {
	op.arrived, op.rOpens, op.wOpens = true, p.rOpens, p.wOpens
	p.arriving.push(&op.node, op)
	if op.Read {
		op.coming = p.newReader(op)
	}
}

// Depart says that op, which has arrived, will not open.
func (p *Pipe) Depart(op *OpenOp) {
	var done completions
	p.mu.Lock()
	p.land(op)
	p.depart(op, &done)
	p.mu.Unlock()
	done.run()
}

// land ends op's arriving: it opens or departs at once.
func (p *Pipe) land(op *OpenOp) {
	op.arrived = false
	p.arriving.remove(&op.node)
}

func (p *Pipe) depart(op *OpenOp, done *completions) {
	if op.coming != nil {
		p.forsake(op.coming, done)
		op.coming = nil
	}
	if p.vacant() {
		p.empty()
	}
}

// vacant reports that the pipe has no ends, nor any to come: its contents are nobody's.
func (p *Pipe) vacant() bool { return p.openEnds() == 0 && p.arriving.first == nil }

// awaitsReader reports that an end for reading is on its way.
func (p *Pipe) awaitsReader() bool {
	for n := p.arriving.first; n != nil; n = n.next {
		if n.op.Read {
			return true
		}
	}
	return false
}

// Open starts op. Its ends count as open from here on, also while it waits for
// a partner, as fifo(7) has it.
//
// Errors in op.Err: ErrNoReader, ErrBusy, ErrClosed; context.Canceled if it was
// withdrawn before and would have to wait. A spent pipe returns ErrSpent and does
// not start op.
func (p *Pipe) Open(op *OpenOp) error {
	var done completions
	p.mu.Lock()
	if !op.arrived {
		p.arrive(op)
	}
	p.land(op)
	if p.spent {
		p.depart(op, &done)
		p.mu.Unlock()
		done.run()
		return ErrSpent
	}
	op.at.Store(p)
	op.Reader, op.Writer, op.Err = nil, nil, p.admits(op)
	if op.Err == nil {
		p.attach(op)
	} else {
		p.depart(op, &done)
		if op.Voice != nil {
			op.Voice.gone = true
		}
	}
	if op.Err == nil && p.mustWait(op) {
		op.parked = true
		p.opening.push(&op.node, op)
	} else {
		done.opens.push(&op.node, op)
	}
	p.releaseOpeners(&done)
	p.pump(&done)
	p.mu.Unlock()
	done.run()
	return nil
}

func (p *Pipe) admits(op *OpenOp) error {
	switch {
	case p.shut:
		return ErrClosed
	case p.taken(op.Read, op.Write):
		return ErrBusy
	case op.Write && !op.Read && op.NonBlock && !op.Patient && len(p.readers) == 0:
		return ErrNoReader
	case op.withdrawn.Load() && p.mustWait(op):
		return context.Canceled
	}
	return nil
}

func (p *Pipe) taken(read, write bool) bool {
	return p.cfg.Mode == Exclusive && (read && len(p.readers) > 0 || write && len(p.writers) > 0)
}

func (p *Pipe) newReader(op *OpenOp) *Reader {
	r := &Reader{pipe: p, info: op.Info, patient: op.Patient, wOpens: op.wOpens}
	r.from = &p.basin
	if p.cfg.Mode == Fanout {
		r.own.queues = []*queue{&r.queue}
		r.from = &r.own
	}
	return r
}

func (p *Pipe) attach(op *OpenOp) {
	// A partner that has come and gone again was its partner.
	p.spent = p.cfg.Mode == Exclusive && op.Read != op.Write && p.metPartner(op) && p.alone(op)
	if op.Read {
		r := op.coming
		r.met = len(p.writers) > 0
		p.addReader(r)
		op.Reader, op.coming = r, nil
	}
	if op.Write {
		w := &Writer{pipe: p, info: op.Info, patient: op.Patient, voice: op.Voice, rOpens: op.rOpens, met: len(p.readers) > 0}
		p.addWriter(w)
		op.Writer = w
	}
}

func (p *Pipe) addReader(r *Reader) {
	p.readers = append(p.readers, r)
	p.rOpens++
	p.paired = p.paired || len(p.writers) > 0
}

func (p *Pipe) addWriter(w *Writer) {
	p.writers = append(p.writers, w)
	p.wOpens++
	p.paired = p.paired || len(p.readers) > 0
}

// mustWait follows fifo_open in the kernel's fs/pipe.c.
func (p *Pipe) mustWait(op *OpenOp) bool {
	if op.NonBlock || op.Patient || op.Read && op.Write {
		return false
	}
	return !p.metPartner(op) && p.alone(op)
}

// alone reports that no partner of op is open.
func (p *Pipe) alone(op *OpenOp) bool {
	return op.Read && len(p.writers) == 0 || op.Write && len(p.readers) == 0
}

// metPartner reports that a partner has opened since op came.
func (p *Pipe) metPartner(op *OpenOp) bool {
	return op.Read && p.wOpens != op.wOpens || op.Write && p.rOpens != op.rOpens
}

// releaseOpeners completes every opener whose partner has come, even if that
// one has gone again.
func (p *Pipe) releaseOpeners(done *completions) {
	for n := p.opening.first; n != nil; {
		op, next := n.op, n.next
		if p.metPartner(op) {
			p.finishOpen(op, nil, done)
		}
		n = next
	}
}

// CancelOpen withdraws a waiting op and closes its end. It returns false if op
// is not waiting: Done has run or will.
func (p *Pipe) CancelOpen(op *OpenOp) bool {
	var done completions
	p.mu.Lock()
	waits := op.parked
	if waits {
		op.parked = false
		p.opening.remove(&op.node)
		p.detach(op.Reader, op.Writer, nil, &done)
		op.Reader, op.Writer = nil, nil
	}
	tell := p.closed(waits, waits)
	p.mu.Unlock()
	done.run()
	tell()
	return waits
}

func (p *Pipe) finishOpen(op *OpenOp, err error, done *completions) {
	op.parked = false
	op.Err = err
	p.opening.remove(&op.node)
	done.opens.push(&op.node, op)
}
