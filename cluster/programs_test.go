// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// program opens a pipe somewhere, uses it for a while and closes it.
func (x *torture) program(rng *rand.Rand) {
	p, h := x.pipes[rng.IntN(len(x.pipes))], x.someHost(rng)
	kind := rng.IntN(5)
	o := h.start(p.name, func(op *pipe.OpenOp) {
		op.Read, op.Write = kind < 2, kind >= 2
		if p.mode == pipe.Fifo && rng.IntN(8) == 0 {
			op.Read, op.Write = true, true
		}
		op.NonBlock = rng.IntN(3) == 0
		op.Patient = rng.IntN(3) == 0
	})
	if !x.opened(o, rng) {
		return
	}
	if o.Reader != nil {
		r := &student{x: x, p: p, o: o, next: make(map[*author]int)}
		for range 1 + rng.IntN(40) {
			if r.read(rng) || x.stop.Err() != nil {
				break
			}
			if o.Writer != nil && rng.IntN(2) == 0 {
				break
			}
		}
	}
	if o.Writer != nil {
		w := &author{host: h, read: make(map[int]int)}
		p.mu.Lock()
		id := len(p.writers)
		p.writers = append(p.writers, w)
		p.mu.Unlock()
		for range 1 + rng.IntN(60) {
			if x.write(p, id, o, rng) || x.stop.Err() != nil {
				break
			}
		}
	}
	o.close()
}

// opened waits for an open; some are withdrawn.
func (x *torture) opened(o *opening, rng *rand.Rand) bool {
	give := time.Duration(rng.IntN(80)) * time.Millisecond
	if rng.IntN(2) == 0 {
		give = 300 * time.Millisecond
	}
	select {
	case <-o.over:
	case <-time.After(give):
		if o.Cancel() {
			return false
		}
		select {
		case <-o.over:
		case <-time.After(patience):
			x.t.Errorf("%v: an open is neither over nor to be withdrawn", o.h.id)
			return false
		}
	}
	switch {
	case o.Err == nil:
		return true
	case errors.Is(o.Err, context.Canceled): // withdrawn
	case errors.Is(o.Err, pipe.ErrBusy), errors.Is(o.Err, pipe.ErrNoReader), errors.Is(o.Err, pipe.ErrClosed) && !x.isAlive(o.h):
	default:
		x.t.Errorf("%v: open: %v", o.h.id, o.Err)
	}
	return false
}

// waiter opens a pipe again and again, and never gives up. The last time, when all is
// well again, it must find the partner that comes then.
func (x *torture) waiter(p *subject, rng *rand.Rand, healed <-chan struct{}) {
	for !x.t.Failed() {
		h := x.someHost(rng)
		kind, other := reading, writing
		if rng.IntN(2) == 0 {
			kind, other = other, kind
		}
		o := h.start(p.name, kind)
		select {
		case <-o.over:
		case <-x.stop.Done():
			<-healed
			x.meet(p, o, other, rng)
		}
		switch {
		case !x.ends(o):
			return
		case o.Err == nil:
			o.close()
		case !errors.Is(o.Err, pipe.ErrBusy) && !errors.Is(o.Err, pipe.ErrClosed):
			x.t.Errorf("%s: %v: open: %v", p.name, h.id, o.Err)
		}
		x.pause(time.Duration(rng.IntN(10)) * time.Millisecond)
		if x.stop.Err() != nil {
			return
		}
	}
}

// meet opens what o waits for, unless o has ended.
func (x *torture) meet(p *subject, o *opening, set func(*pipe.OpenOp), rng *rand.Rand) {
	for end := time.Now().Add(patience); time.Now().Before(end) && !x.t.Failed(); {
		partner := x.someHost(rng).start(p.name, set)
		select {
		case <-partner.over:
		case <-o.over:
			if partner.Cancel() {
				return
			}
			<-partner.over
		case <-time.After(patience):
			x.t.Errorf("%s: an open on %v (reads: %v) has not met the one on %v", p.name, o.h.id, o.Read, partner.h.id)
			return
		}
		if partner.Err == nil {
			if p.mode != pipe.Fifo { // else it may have met an anchor
				x.ends(o)
			}
			partner.close()
		}
		select {
		case <-o.over:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ends waits for an open to end.
func (x *torture) ends(o *opening) bool {
	select {
	case <-o.over:
		return true
	case <-time.After(patience):
		x.t.Errorf("%v: an open has not ended", o.h.id)
		return false
	}
}

// write writes a record; it returns true if the writer has done.
func (x *torture) write(p *subject, id int, o *opening, rng *rand.Rand) bool {
	w := p.writers0(id)
	p.mu.Lock()
	n := w.wrote
	w.tried = n + 1
	p.mu.Unlock()
	b := record(p.size, id, n)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(60))*time.Millisecond)
	defer cancel()
	got, err := o.Writer.Write(ctx, b)
	switch {
	case err == nil:
		p.mu.Lock()
		w.wrote = n + 1
		p.mu.Unlock()
		return false
	case got != 0 && got < p.size && p.size <= pipe.Buf:
		x.t.Errorf("%s: a write of %d bytes was torn after %d: %v", p.name, p.size, got, err)
	case errors.Is(err, pipe.ErrBroken), errors.Is(err, context.DeadlineExceeded):
	default:
		x.t.Errorf("%s: write: %v", p.name, err)
	}
	p.mu.Lock()
	if got == 0 {
		w.tried = n
	}
	p.mu.Unlock()
	return true
}

func (p *subject) writers0(id int) *author {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id >= len(p.writers) {
		return nil
	}
	return p.writers[id]
}

// record makes the n-th record of a writer.
func record(size, id, n int) []byte {
	b := make([]byte, size)
	head := fmt.Sprintf("<%06d %06d>", id, n)
	for i := range b {
		b[i] = byte('a' + (id+n+i)%26)
	}
	copy(b, head)
	return b
}

// student is a reader and what it has read.
type student struct {
	x    *torture
	p    *subject
	o    *opening
	rest []byte
	next map[*author]int // the record that comes next
	lost bool            // it was told of a loss
}

// read reads; it returns true at the end.
func (r *student) read(rng *rand.Rand) bool {
	p := r.p
	most := p.size * (1 + rng.IntN(200000/p.size))
	least := 1
	if rng.IntN(4) == 0 {
		least = p.size * (1 + rng.IntN(most/p.size))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(60))*time.Millisecond)
	defer cancel()
	chunks, err := r.o.Reader.Read(ctx, least, most)
	for _, c := range chunks {
		r.rest = append(r.rest, c.Bytes()...)
		c.Release()
	}
	r.parse()
	switch {
	case err == nil, errors.Is(err, context.DeadlineExceeded):
	case errors.Is(err, io.EOF):
		r.ends()
		return p.mode != pipe.Fifo || rng.IntN(2) == 0
	case errors.Is(err, pipe.ErrPeerLost):
		p.mu.Lock()
		p.errors++
		p.mu.Unlock()
		r.lost = true
		if len(r.rest) > 0 && p.size <= pipe.Buf {
			r.x.t.Errorf("%s: a record was torn by a loss", p.name)
		}
		r.rest = nil
		if r.x.level == calm {
			r.x.t.Errorf("%s: a loss though all cuts were short", p.name)
		}
	default:
		r.x.t.Errorf("%s: read: %v", p.name, err)
	}
	return false
}

func (r *student) parse() {
	p := r.p
	for len(r.rest) >= p.size && !r.x.t.Failed() {
		var id, n int
		_, err := fmt.Sscanf(string(r.rest[:15]), "<%06d %06d>", &id, &n)
		w := p.writers0(id)
		if err != nil || w == nil || string(r.rest[:p.size]) != string(record(p.size, id, n)) {
			r.x.t.Errorf("%s: what was read is no record: %.40q ... %.40q", p.name, r.rest, r.rest[p.size-40:p.size])
			return
		}
		r.rest = r.rest[p.size:]
		r.note(w, id, n)
	}
	if len(r.rest) > 0 && p.size <= pipe.Buf && !r.x.t.Failed() {
		r.x.t.Errorf("%s: %d bytes of a record were read alone", p.name, len(r.rest))
	}
}

// note counts a record.
func (r *student) note(w *author, id, n int) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	w.read[n]++
	next, begun := r.next[w]
	if p.mode == pipe.Fifo {
		return
	}
	if n != next && !(r.lost && !begun) {
		r.x.t.Errorf("%s: record %d of writer %d after %d", p.name, n, id, next-1)
	}
	r.next[w] = n + 1
}

// ends checks an end of file: nothing of those whose bytes were read is missing.
func (r *student) ends() {
	p := r.p
	if p.mode == pipe.Fifo || r.lost || !r.x.isAlive(r.o.h) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for w, next := range r.next {
		if next < w.wrote && r.x.isAlive(r.o.h) {
			r.x.t.Errorf("%s: end of file at %v after %d of %d records of a writer at %v", p.name, r.o.h.id, next, w.wrote, w.host.id)
		}
	}
}
