// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"context"
	"io"
	"slices"
)

// model is the pipe's rules at their plainest: contents are slices of single
// bytes, and every step asks every waiting operation again. FuzzPipe holds the
// engine to it.
type model struct {
	mode     Mode
	capacity int
	ends     []*mEnd // open and closed, in order of opening
	paired   bool
	spent    bool
	shut     bool
	shared   *mQueue
	arriving []*mOpen
	opens    []*mOpen // waiting
	reads    []*mRead
	writes   []*mWrite
}

// cell is a byte, or where a writer was lost.
type cell struct {
	b    byte
	lost bool
}

type mQueue struct {
	cells   []cell
	losses  int // cells that are marks
	claimed bool
}

type mEnd struct {
	reads, writes bool // what it is; one of them
	open          bool
	patient       bool
	met           bool // a partner has been there
	queue         *mQueue
	fault         bool
	begun         bool
	audience      []*mEnd
}

type mOpen struct {
	read, write       bool
	nonblock, patient bool
	withdrawn         bool
	met               bool // a partner has opened since it came
	r, w              *mEnd
	done              bool
	err               error
}

type mRead struct {
	r                *mEnd
	min, max, pieces int
	nonblock, rest   bool
	hint             func() int // with pieces: how many bytes the engine took
	done             bool
	got              []byte
	err              error
}

type mWrite struct {
	w               *mEnd
	b               []byte
	whole, nonblock bool
	n               int
	done            bool
	err             error
}

func newModel(m Mode, capacity int) *model {
	return &model{mode: m, capacity: capacity, shared: &mQueue{}}
}

func (m *model) live(reads bool) (ends []*mEnd) {
	for _, e := range m.ends {
		if e.open && e.reads == reads {
			ends = append(ends, e)
		}
	}
	return ends
}

func (q *mQueue) bytes() int { return len(q.cells) - q.losses }

// ready counts the bytes before the first mark.
func (q *mQueue) ready() int {
	if q.losses == 0 {
		return len(q.cells)
	}
	return slices.IndexFunc(q.cells, func(c cell) bool { return c.lost })
}

// takeLoss removes a mark at the front.
func (q *mQueue) takeLoss() bool {
	if len(q.cells) == 0 || !q.cells[0].lost {
		return false
	}
	q.cells = q.cells[1:]
	q.losses--
	return true
}

func (m *model) arrive(o *mOpen) { m.arriving = append(m.arriving, o) }

// depart ends an arriving, also that of an open that fails.
func (m *model) depart(o *mOpen) {
	m.land(o)
	m.vacate()
}

func (m *model) land(o *mOpen) {
	m.arriving = pending(m.arriving, func(x *mOpen) bool { return x != o })
}

// vacate forgets the contents when nobody is left, nor to come, for them.
func (m *model) vacate() {
	if len(m.live(true))+len(m.live(false))+len(m.arriving) == 0 {
		m.shared.cells, m.shared.losses, m.paired = nil, 0, false
	}
}

func (m *model) open(o *mOpen) error {
	if m.spent {
		m.depart(o)
		return ErrSpent
	}
	m.land(o)
	readers, writers := m.live(true), m.live(false)
	alone := o.read && len(writers) == 0 || o.write && len(readers) == 0
	waits := alone && !o.met && !o.nonblock && !o.patient && !(o.read && o.write)
	switch {
	case m.shut:
		o.err = ErrClosed
	case m.mode == Exclusive && (o.read && len(readers) > 0 || o.write && len(writers) > 0):
		o.err = ErrBusy
	case o.write && !o.read && o.nonblock && !o.patient && len(readers) == 0:
		o.err = ErrNoReader
	case o.withdrawn && waits:
		o.err = context.Canceled
	}
	o.done = true
	if o.err != nil {
		m.vacate()
		return nil
	}
	m.spent = m.mode == Exclusive && o.met && alone && o.read != o.write
	if o.read {
		q := m.shared
		if m.mode == Fanout {
			q = &mQueue{}
		}
		o.r = m.add(&mEnd{reads: true, patient: o.patient, queue: q})
	}
	if o.write {
		o.w = m.add(&mEnd{writes: true, patient: o.patient})
	}
	for _, e := range []*mEnd{o.r, o.w} {
		if e != nil {
			e.met = e.met || o.met
		}
	}
	if waits {
		o.done = false
		m.opens = append(m.opens, o)
	}
	lets := func(x *mOpen) bool { return x != o && (x.read && o.write || x.write && o.read) }
	for _, x := range m.opens {
		x.done = x.done || lets(x)
	}
	for _, x := range m.arriving {
		x.met = x.met || lets(x)
	}
	m.settle()
	return nil
}

func (m *model) add(e *mEnd) *mEnd {
	e.open = true
	for _, x := range m.ends {
		if x.open && x.reads != e.reads {
			x.met, e.met, m.paired = true, true, true
		}
	}
	m.ends = append(m.ends, e)
	return e
}

func (m *model) close(r, w *mEnd, lost bool) {
	if w != nil && w.open {
		w.open = false
		for _, x := range m.writes {
			if x.w == w && !x.done {
				x.done, x.err = true, ErrClosed
			}
		}
		if lost {
			m.mark(w)
		}
		m.spent = m.spent || m.mode == Exclusive && m.paired
	}
	if r != nil && r.open {
		r.open = false
		for _, x := range m.reads {
			if x.r == r && !x.done {
				x.done, x.err = true, ErrClosed
			}
		}
		for _, e := range m.ends {
			e.audience = without(e.audience, r)
		}
		for m.mode != Fanout && len(m.live(true)) == 0 && m.shared.takeLoss() {
		}
		m.spent = m.spent || m.mode == Exclusive && m.paired
	}
	m.vacate()
	m.settle()
}

func without(ends []*mEnd, gone *mEnd) (rest []*mEnd) {
	for _, e := range ends {
		if e != gone {
			rest = append(rest, e)
		}
	}
	return rest
}

func (m *model) mark(w *mEnd) {
	qs := m.queues(w)
	if m.mode != Fanout && (len(qs) > 0 || len(m.shared.cells) > 0) {
		qs = []*mQueue{m.shared}
	}
	for _, q := range qs {
		if n := len(q.cells); n == 0 || !q.cells[n-1].lost {
			q.cells = append(q.cells, cell{lost: true})
			q.losses++
		}
	}
}

// queues are those that w's next byte goes into.
func (m *model) queues(w *mEnd) (qs []*mQueue) {
	switch {
	case w.begun:
		for _, r := range w.audience {
			qs = append(qs, r.queue)
		}
		return qs
	case m.mode == Fanout:
		for _, r := range m.live(true) {
			qs = append(qs, r.queue)
		}
	case len(m.live(true)) > 0:
		qs = []*mQueue{m.shared}
	}
	return qs
}

// hungriest is the most that a waiting read wants of q, if q has less.
func (m *model) hungriest(q *mQueue) (n int) {
	for _, x := range m.reads {
		if !x.done && x.r.queue == q {
			n = max(n, x.min, 1)
		}
	}
	return n
}

func (m *model) room(q *mQueue) int { return max(m.capacity, m.hungriest(q)) - q.bytes() }

func (m *model) fits(q *mQueue, n int) bool {
	lacks := false
	for _, x := range m.reads {
		lacks = lacks || !x.done && x.r.queue == q && max(x.min, 1) > q.bytes()
	}
	return lacks || n <= m.room(q) || q.bytes() == 0 && n > m.capacity
}

// writable: what is in the pipe takes up room with and without a reader.
func (m *model) writable(w *mEnd) bool {
	qs := m.queues(w)
	if m.mode != Fanout {
		qs = []*mQueue{m.shared}
	}
	for _, q := range qs {
		if q.claimed || !m.fits(q, Buf) {
			return false
		}
	}
	return true
}

func (m *model) settle() {
	for moved := true; moved; {
		moved = m.settleWrites()
		moved = m.settleReads() || moved
	}
}

func (m *model) settleWrites() (moved bool) {
	m.shared.claimed = false
	for _, e := range m.ends {
		if e.reads {
			e.queue.claimed = false
		}
	}
	for _, x := range m.writes {
		if x.done {
			continue
		}
		w, qs := x.w, m.queues(x.w)
		if x.err = m.broken(w); x.err != nil {
			x.done = true
			continue
		}
		if len(qs) == 0 {
			continue
		}
		n := m.takes(x, qs)
		if n > 0 && m.mode == Fanout && !w.begun {
			w.begun, w.audience = true, m.live(true)
		}
		for _, b := range x.b[x.n : x.n+n] {
			for _, q := range qs {
				q.cells = append(q.cells, cell{b: b})
			}
		}
		x.n += n
		moved = moved || n > 0
		x.done = x.n == len(x.b)
		need := 1
		if x.whole {
			need = len(x.b)
		}
		for _, q := range qs {
			if !x.done && !x.nonblock && !m.fits(q, need) {
				q.claimed = true
			}
		}
		if !x.done && m.mode != Fanout {
			break // those behind it wait their turn
		}
	}
	return moved
}

func (m *model) broken(w *mEnd) error {
	switch {
	case !w.open:
		return ErrClosed
	case m.shut, w.begun && len(w.audience) == 0, len(m.live(true)) == 0 && (!w.patient || w.met):
		return ErrBroken
	}
	return nil
}

// takes is how many of x's bytes may go in now.
func (m *model) takes(x *mWrite, qs []*mQueue) int {
	n := len(x.b) - x.n
	for _, q := range qs {
		switch {
		case q.claimed, x.whole && !m.fits(q, n):
			return 0
		case !x.whole:
			n = min(n, max(m.room(q), 0))
		}
	}
	return n
}

func (m *model) settleReads() (moved bool) {
	for _, x := range m.reads {
		if !x.done {
			m.tryRead(x)
			moved = moved || len(x.got) > 0
		}
	}
	m.reads = pending(m.reads, func(x *mRead) bool { return !x.done })
	return moved
}

func pending[T any](all []T, waits func(T) bool) (rest []T) {
	for _, x := range all {
		if waits(x) {
			rest = append(rest, x)
		}
	}
	return rest
}

func (m *model) tryRead(x *mRead) {
	r, q := x.r, x.r.queue
	if q.takeLoss() {
		for _, e := range m.live(true) {
			e.fault = e.fault || e == r || m.mode != Fanout
		}
	}
	end := m.shut || len(m.live(false)) == 0 && (!r.patient || r.met)
	n := q.ready()
	switch {
	case r.fault && !x.rest:
		r.fault, x.done, x.err = false, true, ErrPeerLost
	case !r.open:
		x.done, x.err = true, ErrClosed
	case r.fault && end:
		x.done, x.err = true, io.EOF
	case r.fault:
	case n >= max(x.min, 1), n > 0 && (end || q.losses > 0):
		n = min(n, x.max)
		if x.pieces > 0 {
			n = min(n, x.hint())
		}
		for _, c := range q.cells[:n] {
			x.got = append(x.got, c.b)
		}
		q.cells, x.done = q.cells[n:], true
	case end:
		x.done, x.err = true, io.EOF
	}
}

func (m *model) read(x *mRead) {
	m.tryRead(x)
	if !x.done && (x.nonblock || x.rest) {
		x.done, x.err = true, ErrAgain
	}
	if !x.done {
		m.reads = append(m.reads, x)
	}
	m.settle()
}

func (m *model) write(x *mWrite) {
	x.whole = x.whole || len(x.b) <= Buf
	if x.err = m.broken(x.w); x.err != nil {
		x.done = true
		return
	}
	m.writes = append(m.writes, x)
	m.settle()
	if !x.done && x.nonblock {
		x.done = true
		if x.n == 0 {
			x.err = ErrAgain
		}
	}
	m.writes = pending(m.writes, func(x *mWrite) bool { return !x.done })
}

func (m *model) shutdown() {
	m.shut = true
	for _, o := range m.opens {
		if !o.done {
			o.done, o.err = true, ErrClosed
			m.close(o.r, o.w, false)
		}
	}
	m.settle()
}
