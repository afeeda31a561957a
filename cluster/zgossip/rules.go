// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"hash/maphash"
	"slices"
	"time"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// How tuples with a ttl are kept alive. What remains of one is told by whoever
// holds it, and every hop takes time, which an expiry gains: so what goes round in a
// circle must not count, as long as that takes less than leastRenewal.
const (
	refreshes    = 3 // times in a ttl that its publisher says a tuple again
	renewal      = 4 // a repetition that adds less than this part of the ttl is none
	leastRenewal = MinTTL / renewal
	leastLeft    = leastRenewal   // with less a tuple is told to nobody: it would be new again wherever it was just forgotten
	leastShorter = MinTTL * 3 / 4 // with less, what was told is the rest of a ttl and not a shorter one
)

// How a publisher insists on a tuple without a ttl.
const (
	pastValues    = 8 // that it remembers
	claimPatience = 8 // times it insists against one of them
)

// claim is what a publisher knows of its tuple.
type claim struct {
	ttl      time.Duration
	past     []uint64 // hashes of values that the present one has replaced
	patience int
	disputed bool // that another insists, too, was logged
}

// told handles a tuple that a neighbour tells.
func (l *loop) told(from *link, m wire.Message) {
	ttl := time.Duration(m.TTL) * time.Millisecond
	if !from.ttls {
		ttl = 0
	}
	t := l.table.tuples[m.Key]
	switch {
	case t == nil:
		if !l.fits(tupleCost + len(m.Key) + len(m.Value)) {
			l.refuse(from, m.Key)
			return
		}
		t = l.add(m.Key, m.Value)
		l.lease(t, ttl)
		l.deliver(t)
		l.forward(t, from)
	case t.value == m.Value:
		l.stats.Duplicates++
		l.repeated(t, from, ttl)
	case t.claim != nil && l.insists(t, from, m.Value):
		l.insist(t)
		l.dispute(t, from, m.Value)
	case !l.fits(len(m.Value) - len(t.value)):
		l.refuse(from, m.Key)
	default:
		l.adopt(t, from, m.Value, ttl)
	}
}

// repeated handles a tuple that is known. It may be news all the same: its
// publisher lives.
func (l *loop) repeated(t *tuple, from *link, ttl time.Duration) {
	t.flap.agrees(from)
	switch {
	case ttl == 0 || t.claim != nil && t.claim.ttl > 0:
		return
	case t.claim != nil: // others know it with a ttl
		l.lease(t, ttl)
		l.claimAgain(t, 0)
		return
	}
	renewed := l.renewed(t, ttl)
	if renewed == 0 {
		return
	}
	t.ttl, t.expires = renewed, l.now.Add(ttl)
	l.schedule(t)
	l.forward(t, from)
}

// renewed returns the ttl that a tuple has after a repetition with the given one, or
// 0 if that does not count.
func (l *loop) renewed(t *tuple, ttl time.Duration) time.Duration {
	longer, more := max(t.ttl, ttl), l.now.Add(ttl).Sub(t.expires)
	switch {
	case t.ttl == 0:
		return ttl
	case more >= max(longer/renewal, leastRenewal):
		return longer
	case ttl >= leastShorter && more >= ttl/2:
		return ttl // the one with the longer ttl has gone; this publisher lives
	}
	return 0
}

// adopt takes another value for a tuple. If this node publishes it, it does so
// no longer: as in CZMQ, the last word counts.
func (l *loop) adopt(t *tuple, from *link, value string, ttl time.Duration) {
	// A client may have been told the old value after it sent this one; then it
	// holds the old one now, and it is the server who sets that right.
	crossed := from.server && t.seq <= from.sent && t.from != from
	old := t.value
	l.table.set(t, value)
	t.claim = nil
	l.lease(t, ttl)
	l.deliver(t)
	if crossed {
		from = nil
	}
	if !l.damp(t, from, old) {
		l.forward(t, from)
	}
}

// insists tells whether this node's own value stands against another.
func (l *loop) insists(t *tuple, from *link, value string) bool {
	c := t.claim
	hash := maphash.String(l.seed, value)
	switch {
	case c.ttl > 0: // refreshed, so it holds as long as its publisher lives
		return true
	case from.fresh: // it tells what was before it heard of this node
		c.replaced(hash)
		return true
	case c.patience > 0 && slices.Contains(c.past, hash):
		c.patience--
		return true
	}
	return false
}

// insist tells the neighbours the tuple again.
func (l *loop) insist(t *tuple) {
	if !l.damp(t, nil, t.value) {
		l.forward(t, nil)
	}
}

// replaced notes a value that the present one has replaced.
func (c *claim) replaced(hash uint64) {
	if len(c.past) == pastValues {
		c.past = slices.Delete(c.past, 0, 1)
	}
	c.past = append(c.past, hash)
}

// publish is the application's word.
func (l *loop) publish(key, value string, ttl time.Duration) error {
	t := l.table.tuples[key]
	more := tupleCost + len(key) + len(value)
	if t != nil {
		more = len(value) - len(t.value)
	}
	if !l.fits(more) {
		return ErrFull
	}
	if t == nil {
		t = l.add(key, value)
		t.claim = &claim{}
	} else if t.value == value {
		l.claimAgain(t, ttl)
		return nil
	} else {
		if t.claim == nil {
			t.claim = &claim{}
		}
		hash := maphash.String(l.seed, value)
		t.claim.past = slices.DeleteFunc(t.claim.past, func(h uint64) bool { return h == hash })
		t.claim.replaced(maphash.String(l.seed, t.value))
		l.table.set(t, value)
		t.flap = nil
	}
	t.claim.ttl, t.claim.patience = ttl, claimPatience
	l.lease(t, ttl)
	l.deliver(t)
	l.forward(t, nil)
	return nil
}

// claimAgain has this node publish a tuple that is known. Nodes that know it with
// a ttl would forget it, so without a new one it keeps that, or what is left of it.
func (l *loop) claimAgain(t *tuple, ttl time.Duration) {
	if t.claim == nil {
		t.claim = &claim{}
	}
	if ttl == 0 && t.ttl > 0 {
		ttl = max(t.ttl, MinTTL)
	}
	t.claim.ttl, t.claim.patience = ttl, claimPatience
	if ttl > 0 {
		l.lease(t, ttl)
		l.forward(t, nil)
	}
}

// lease gives a tuple its ttl, from now.
func (l *loop) lease(t *tuple, ttl time.Duration) {
	t.ttl, t.expires = ttl, l.now.Add(ttl)
	l.schedule(t)
}

// schedule sets a tuple's timer to what is due next.
func (l *loop) schedule(t *tuple) {
	var at time.Time
	if t.flap.damped() {
		at = t.flap.due
	}
	if t.ttl > 0 {
		next := t.expires
		if t.claim != nil {
			next = t.expires.Add(-t.ttl + t.ttl/refreshes)
		}
		if at.IsZero() || next.Before(at) {
			at = next
		}
	}
	if at.IsZero() {
		l.timers.unset(&t.timer)
		return
	}
	l.timers.set(&t.timer, at)
}

// due does what a tuple's timer was set for.
func (l *loop) due(t *tuple) {
	if t.flap.damped() && !t.flap.due.After(l.now) {
		l.undamp(t)
	}
	switch {
	case t.ttl == 0:
	case t.claim != nil:
		if !t.expires.Add(-t.ttl + t.ttl/refreshes).After(l.now) {
			l.lease(t, t.claim.ttl)
			l.forward(t, nil)
		}
	case !t.expires.After(l.now):
		l.stats.Expired++
		l.events.put(Event{Expire, t.key, t.value})
		l.forget(t)
		return
	}
	l.schedule(t)
}

// add makes a tuple.
func (l *loop) add(key, value string) *tuple {
	t := &tuple{key: key, value: value}
	t.timer.fire = func() { l.due(t) }
	l.table.add(t)
	return t
}

// forget takes a tuple out of the table.
func (l *loop) forget(t *tuple) {
	l.timers.unset(&t.timer)
	l.table.remove(t)
}

func (l *loop) deliver(t *tuple) {
	l.stats.Delivered++
	l.events.put(Event{Deliver, t.key, t.value})
}

// forward has everybody told of a tuple except from.
func (l *loop) forward(t *tuple, from *link) {
	l.table.touch(t, from)
	l.news = true
}

// fits tells whether there is room for more bytes of tuples.
func (l *loop) fits(more int) bool {
	return more <= 0 || l.table.bytes+more <= l.cfg.MaxBytes
}

func (l *loop) refuse(from *link, key string) {
	l.stats.Refused++
	if !from.complained {
		from.complained = true
		l.log.Warn("gossip tuples refused: no room for more", "peer", from.name, "bytes", l.table.bytes, "key", key)
	}
}
