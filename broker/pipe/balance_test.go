// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

// check holds the pipe to the ledger.
func (l *ledger) check() {
	open := l.r.openEnds() > 0
	for _, h := range l.near {
		l.collect(h)
		for _, x := range h.reads {
			l.spare = max(l.spare, x.Min)
		}
	}
	for _, b := range l.far {
		l.spare = max(l.spare, b.r.window)
		if b.armed && b.told == 0 && (b.r.lender().bytes > 0 || b.r.exhausted()) {
			l.t.Error("a remote reader was not told")
		}
		if b.told > 1 {
			l.t.Errorf("a remote reader was told %d times", b.told)
		}
		n := 0
		for _, c := range b.lent {
			n += c.Len()
		}
		if b.r.lent != n {
			l.t.Errorf("%d bytes are lent, and the pipe says %d", n, b.r.lent)
		}
	}
	in := l.balance()
	if !open {
		l.gone = in
		l.far, l.near = nil, nil
	}
	// A whole write may go beyond the limit once; and if a reader here waits, what was
	// lent does not keep bytes from it.
	switch held := l.r.shared.bytes + l.r.shared.lent; {
	case held > max(l.limit, l.spare)+70*unit+len(l.far)*max(l.limit, SegmentSize):
		l.t.Errorf("%d bytes in a pipe of %d, or %d", held, l.limit, l.spare)
	case held == 0:
		l.spare = 0
	}
	if l.mode != Fanout && open {
		if n := in - l.gone; n != l.inside() {
			l.t.Errorf("%d bytes are in the pipe by the ledger, %d by the pipe", n, l.inside())
		}
		l.weigh()
	}
}

// balance is what ever went in less what came out.
func (l *ledger) balance() (n int) {
	for _, w := range l.pages {
		w.open = pending(w.open, func(x *ledgerWrite) bool {
			if x.x.dones > 0 {
				w.took += x.x.N
			} else {
				n += x.x.N
			}
			return x.x.dones == 0
		})
		n += w.took
		for _, times := range w.at {
			n -= times * unit
		}
	}
	return n
}

// weigh compares what the pipe says of itself with what it has.
func (l *ledger) weigh() {
	lent := 0
	for _, b := range l.far {
		lent += b.r.lent
	}
	if lent != l.r.shared.lent {
		l.t.Errorf("readers hold %d bytes, the queue says %d", lent, l.r.shared.lent)
	}
	for _, q := range l.r.basin.queues {
		n := 0
		for _, it := range q.items[q.head:] {
			n += it.chunk.Len()
		}
		if n != q.bytes {
			l.t.Errorf("a queue has %d bytes and says %d", n, q.bytes)
		}
	}
	waits, writers := false, len(l.r.writers)
	for _, h := range l.near {
		waits = waits || len(h.reads) > 0
		s := h.o.Reader.Ready(nil)
		if s&Readable == 0 && l.r.basin.takable() > 0 || s&Hangup != 0 && (writers > 0 || lent > 0) {
			l.t.Errorf("ready is %v with %d bytes, %d writers, %d lent", s, l.r.basin.bytes(), writers, lent)
		}
		for _, x := range h.reads {
			if writers == 0 && lent == 0 && h.o.Reader.sawWriter() || x.Min <= l.r.basin.ready() {
				l.t.Errorf("a read of %d waits with %d bytes, %d writers, %d lent", x.Min, l.r.basin.ready(), writers, lent)
			}
		}
	}
	for _, w := range l.pages {
		if w.closed && len(w.open) > 0 {
			l.t.Error("a write outlives its writer")
		}
	}
}

// others reports that nothing can come for b any more but what lies there.
func (l *ledger) others(b *borrower) bool {
	if l.mode == Fanout {
		return b.of.closed
	}
	for _, w := range l.pages {
		if w.near != nil && !w.closed {
			return false
		}
	}
	for _, other := range l.far {
		if other != b && len(other.lent) > 0 {
			return false
		}
	}
	return true
}
