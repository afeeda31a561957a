// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import "time"

// How a value that changes again and again is damped.
const (
	freeChanges = 4                     // in a row, that are forwarded at once
	calm        = 10 * time.Second      // without a change, and they are forgotten
	leastDamp   = 20 * time.Millisecond // doubled with every further change
	mostDamp    = 2 * time.Second
	dampPart    = 16 // of a ttl, at most: whoever is told late must not forget the tuple before
)

// flap damps the changes of a tuple's value that others make. ZGOSSIP has no
// versions: two values of a key that travel round a circle would chase each other
// for ever, and CZMQ's nodes exchange them as fast as they can. Here the changes
// that come while a tuple is damped are forwarded as one, or not at all if its
// value is the old one in the end. A nil flap has seen no change.
type flap struct {
	changes int
	first   time.Time
	last    time.Time

	due  time.Time // the end of damping; zero: not damped
	was  string    // what was forwarded last
	must bool      // forward even what has not changed
	said map[*link]bool
}

func (f *flap) damped() bool { return f != nil && !f.due.IsZero() }

// agrees notes that a neighbour holds the present value.
func (f *flap) agrees(from *link) {
	if f.damped() {
		f.said[from] = true
	}
}

// damp counts a change of t's value, which was old, and tells whether it is to be
// forwarded later. From nil means that neighbours are to be told in any case.
func (l *loop) damp(t *tuple, from *link, old string) bool {
	if t.flap == nil {
		t.flap = &flap{}
	}
	f := t.flap
	if f.changes == 0 || !f.damped() && l.now.Sub(f.last) > calm {
		f.changes, f.first = 0, l.now
	}
	f.changes++
	f.last = l.now
	if !f.damped() {
		if f.changes <= freeChanges {
			return false
		}
		f.due = l.now.Add(min(mostDampOf(t), leastDamp<<min(f.changes-freeChanges-1, 10)))
		f.was, f.must, f.said = old, false, make(map[*link]bool)
		l.schedule(t)
	}
	if from == nil {
		f.must = true
		return true
	}
	for other := range f.said {
		f.said[other] = false
	}
	f.said[from] = true
	return true
}

// mostDampOf is how long a tuple is damped at most.
func mostDampOf(t *tuple) time.Duration {
	ttl := t.ttl
	if t.claim != nil {
		ttl = t.claim.ttl
	}
	if ttl == 0 {
		return mostDamp
	}
	return min(mostDamp, max(ttl/dampPart, leastDamp))
}

// undamp forwards what has come of the changes, unless everybody has it for ever.
func (l *loop) undamp(t *tuple) {
	f := t.flap
	known := !f.must && t.value == f.was && t.ttl == 0
	for _, agrees := range f.said {
		known = known && agrees
	}
	f.due, f.was, f.said = time.Time{}, "", nil
	if !known {
		l.forward(t, nil)
	}
}
