// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "time"

// Ready is what an end could do without waiting, as poll(2) tells it.
type Ready uint8

const (
	// Readable: bytes, or an error to be told.
	Readable Ready = 1 << iota
	// Writable: room for Buf bytes.
	Writable
	// Hangup: a reader's last writer has gone. Not set before one has come.
	Hangup
	// Broken: a writer has no reader (POLLERR).
	Broken
)

// watch is an end's wish to be told of a change, once.
type watch struct {
	notify func() // nil: not armed
	full   bool   // a writer's: it had no room when last looked at while armed
}

// Ready returns r's state. If notify is not nil it runs once, with no lock held,
// when bytes have come or the last writer has gone since.
func (r *Reader) Ready(notify func()) Ready {
	s, starved := r.look(notify)
	if starved != nil {
		starved.Starved()
	}
	return s
}

func (r *Reader) look(notify func()) (s Ready, starved Cluster) {
	p := r.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.closed {
		p.arm(&r.watch, notify)
	}
	if r.from.takable() > 0 || r.from.marks() > 0 || r.fault != nil {
		s |= Readable
	}
	if p.shut || len(p.writers) == 0 && p.shared.lent == 0 && r.sawWriter() {
		s |= Hangup
	}
	if s == 0 && notify != nil {
		starved = p.takeStarving()
	}
	return s, starved
}

// Ready returns w's state. If notify is not nil it runs once, with no lock held,
// when a full pipe has room or the last reader has gone since.
func (w *Writer) Ready(notify func()) Ready {
	p := w.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	var s Ready
	if p.hasRoom(w) {
		s |= Writable
	}
	if !w.closed {
		p.arm(&w.watch, notify)
		w.watch.full = s == 0
	}
	if p.shut || len(p.readers) == 0 || w.deserted() {
		s |= Broken
	}
	return s
}

// hasRoom reports that a write of Buf bytes would not have to wait for room.
// The bytes in the pipe take up room whether or not a reader is there.
func (p *Pipe) hasRoom(w *Writer) bool {
	if p.cfg.Mode != Fanout {
		return !p.shared.claimed && p.fits(&p.shared, Buf)
	}
	for q := range w.outlets() {
		if q.claimed || !p.fits(q, Buf) {
			return false
		}
	}
	return true
}

func (p *Pipe) arm(w *watch, notify func()) {
	if notify == nil {
		return
	}
	if w.notify == nil {
		p.armed++
	}
	w.notify = notify
}

func (p *Pipe) disarm(w *watch) {
	if w.notify != nil {
		p.armed--
	}
	*w = watch{}
}

func (p *Pipe) fire(w *watch, done *completions) {
	if notify := w.notify; notify != nil {
		p.disarm(w)
		done.call(notify)
	}
}

func (p *Pipe) notifyReaders(done *completions) {
	if p.armed == 0 {
		return
	}
	for _, r := range p.readers {
		if !r.remote {
			p.fire(&r.watch, done)
		}
	}
}

func (p *Pipe) notifyWriters(done *completions) {
	if p.armed == 0 {
		return
	}
	for _, w := range p.writers {
		p.fire(&w.watch, done)
	}
}

// pump moves what can move, until nothing does, and tells those who watch.
func (p *Pipe) pump(done *completions) {
	in := false
	for {
		a, s := p.admit(done), p.serve(done)
		in = in || a
		if !a && !s {
			break
		}
	}
	if p.tail != nil && p.buffered() == 0 {
		p.dropTail()
	}
	if in {
		p.notifyReaders(done)
	}
	p.notifyRoom(done)
	p.notifyRemote(done)
}

// notifyRoom tells the writers that had no room and have it now, whatever made
// it: a read, a closed reader, or one that waits for more than the pipe holds.
func (p *Pipe) notifyRoom(done *completions) {
	if p.armed == 0 {
		return
	}
	for _, w := range p.writers {
		switch {
		case w.watch.notify == nil:
		case !p.hasRoom(w):
			w.watch.full = true
		case w.watch.full:
			p.fire(&w.watch, done)
		}
	}
}

func (p *Pipe) tookOut(n int) {
	if n > 0 {
		p.read += uint64(n)
		p.readAt = time.Now()
	}
}
