// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"sort"

	"github.com/cespare/xxhash/v2"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// log is the order in which this broker has recorded changes. Each name has one
// place in it, that of its last record.
type log struct {
	boot    uint64 // this broker's life
	seq     uint64
	records []record // by seq, outdated ones among them
	stale   int      // of the records, at least
}

type record struct {
	seq uint64
	n   *node
}

func (r record) valid() bool { return r.n.seq == r.seq && r.n.entry != nil }

func (l *log) add(n *node) {
	if n.seq != 0 {
		l.stale++
	}
	l.seq++
	n.seq = l.seq
	l.records = append(l.records, record{l.seq, n})
	if len(l.records) > 64 && l.stale > len(l.records)/2 {
		l.compact()
	}
}

func (l *log) compact() {
	kept := make([]record, 0, len(l.records)-l.stale+1)
	for _, r := range l.records {
		if r.valid() {
			kept = append(kept, r)
		}
	}
	l.records, l.stale = kept, 0
}

func (l *log) cursor() peer.Cursor { return peer.Cursor{Boot: l.boot, Seq: l.seq} }

// since returns what was recorded after c, the oldest first, and the cursor to ask
// with next. Of a cursor that is not this log's it returns all entries, directories
// first.
func (m *mapping) since(c peer.Cursor) ([]Entry, peer.Cursor) {
	l := &m.log
	if c.Boot != l.boot || c.Seq > l.seq {
		return m.entries(), l.cursor()
	}
	i := sort.Search(len(l.records), func(i int) bool { return l.records[i].seq > c.Seq })
	var changed []Entry
	for _, r := range l.records[i:] {
		if r.valid() {
			changed = append(changed, *r.n.entry)
		}
	}
	return changed, l.cursor()
}

// The map in parts, for two brokers to find where theirs differ: the whole, groups,
// and the leaves of groups, which a name belongs to by its hash. The numbers are
// part of the protocol.
const (
	fan       = 32
	wholePart = 0
	firstLeaf = 1 + fan
	parts     = firstLeaf + fan*fan
)

// partOf returns the leaf of a path.
func partOf(path string) int { return firstLeaf + int(xxhash.Sum64String(path)%(fan*fan)) }

// groupOf returns the group that a leaf is in.
func groupOf(leaf int) int { return 1 + (leaf-firstLeaf)/fan }

// partsOf returns what a part consists of; of a leaf, none.
func partsOf(part int) (from, to int) {
	switch {
	case part == wholePart:
		return 1, firstLeaf
	case part < firstLeaf:
		from = firstLeaf + (part-1)*fan
		return from, from + fan
	}
	return part, part
}

// digests sums up entries, but for transient ones, which only some brokers know.
// The sum does not depend on order: it is the exclusive or of the entries' own.
type digests struct {
	sums   [parts]uint64
	leaves [fan * fan]map[*node]struct{}
}

func digest(e *Entry) uint64 {
	if e == nil || e.Transient {
		return 0
	}
	return e.Digest()
}

// change notes that n's entry becomes e.
func (d *digests) change(n *node, e *Entry) {
	x := digest(n.entry) ^ digest(e)
	d.sums[n.part] ^= x
	d.sums[groupOf(n.part)] ^= x
	d.sums[wholePart] ^= x
	leaf := &d.leaves[n.part-firstLeaf]
	if e == nil || e.Transient {
		delete(*leaf, n)
		return
	}
	if *leaf == nil {
		*leaf = make(map[*node]struct{})
	}
	(*leaf)[n] = struct{}{}
}

func (m *mapping) digest(part int) peer.Digest {
	return peer.Digest{Part: uint16(part), Sum: m.digests.sums[part]}
}

// differ compares digests of another broker with this one's. Of parts that differ it
// returns the digests of their parts, or the entries of leaves.
func (m *mapping) differ(theirs []peer.Digest) (ours []peer.Digest, entries []Entry) {
	for _, t := range theirs {
		part := int(t.Part)
		if part >= parts || m.digests.sums[part] == t.Sum {
			continue
		}
		from, to := partsOf(part)
		for p := from; p < to; p++ {
			ours = append(ours, m.digest(p))
		}
		if from == to {
			for n := range m.digests.leaves[part-firstLeaf] {
				entries = append(entries, *n.entry)
			}
		}
	}
	return ours, entries
}

// unlike returns our digests of those parts where others differ.
func (m *mapping) unlike(theirs []peer.Digest) (ours []peer.Digest) {
	for _, t := range theirs {
		if int(t.Part) < parts && m.digests.sums[t.Part] != t.Sum {
			ours = append(ours, m.digest(int(t.Part)))
		}
	}
	return ours
}
