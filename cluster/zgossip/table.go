// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"iter"
	"slices"
	"sort"
	"time"
)

// tuple is a key with its value, and what this node knows of them.
type tuple struct {
	key, value string
	seq        uint64 // its place in the log; 0: it is not in the table
	from       *link  // knows the value, so it is not told; nil: none

	ttl     time.Duration // how long it lasts without being refreshed; 0: for ever
	expires time.Time     // when it is forgotten; only with a ttl

	claim *claim // this node publishes it; nil: others do
	flap  *flap  // how often its value has changed lately; nil: never
	timer timer  // expiry, refresh, or the end of damping
}

// table holds the tuples and the log, which has each of them once, in the order
// in which its present state was learned. Whoever is to be told of tuples needs
// only the number up to which it was.
type table struct {
	tuples map[string]*tuple
	log    []entry // by seq; an entry whose tuple has another seq by now is void
	last   uint64  // the newest seq
	bytes  int     // of keys and values, and tupleCost for each
}

// tupleCost is about what a tuple takes besides its texts.
const tupleCost = 256

type entry struct {
	seq uint64
	t   *tuple
}

func newTable() table { return table{tuples: make(map[string]*tuple)} }

// add puts a tuple in, which is not in the log until it is touched.
func (tb *table) add(t *tuple) {
	tb.tuples[t.key] = t
	tb.bytes += tupleCost + len(t.key) + len(t.value)
}

// set changes a tuple's value.
func (tb *table) set(t *tuple, value string) {
	tb.bytes += len(value) - len(t.value)
	t.value = value
}

// remove takes a tuple out.
func (tb *table) remove(t *tuple) {
	delete(tb.tuples, t.key)
	tb.bytes -= tupleCost + len(t.key) + len(t.value)
	t.seq = 0
	tb.compact()
}

// touch makes a tuple the newest of the log: everybody is to be told of it,
// except from.
func (tb *table) touch(t *tuple, from *link) {
	tb.last++
	t.seq, t.from = tb.last, from
	tb.log = append(tb.log, entry{t.seq, t})
	tb.compact()
}

// compact takes void entries out of the log once they outnumber the others.
func (tb *table) compact() {
	if len(tb.log) > 2*len(tb.tuples)+64 {
		tb.log = slices.DeleteFunc(tb.log, func(e entry) bool { return e.seq != e.t.seq })
	}
}

// after returns the tuples behind seq in the log, oldest first. The table is not
// to be changed meanwhile.
func (tb *table) after(seq uint64) iter.Seq[*tuple] {
	return func(yield func(*tuple) bool) {
		i := sort.Search(len(tb.log), func(i int) bool { return tb.log[i].seq > seq })
		for _, e := range tb.log[i:] {
			if e.seq == e.t.seq && !yield(e.t) {
				return
			}
		}
	}
}
