// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// plain is a tree for a mapping alone.
type plain struct{ *model }

func (p plain) apply(e *Entry) { shown{&Service{tree: p.model, arb: p.model}}.apply(e) }
func (p plain) erase(path string, dir bool) {
	shown{&Service{tree: p.model, arb: p.model}}.erase(path, dir)
}
func (p plain) move(from, to string, gone []string) {
	shown{&Service{tree: p.model, arb: p.model}}.move(from, to, gone)
}

func newPlain(t testing.TB) (*mapping, *model) {
	m := newModel(t, "map")
	return newMapping(1, broker.Owner{Perm: 0o711}, plain{m}), m
}

// expected is the rule for what shows, written down without regard to cost: of each
// name the greatest entry; a living one shows unless a living pipe is above it; what
// is above one that shows, shows as a directory.
func expected(entries []Entry) string {
	state := map[string]Entry{}
	for _, e := range entries {
		if old, ok := state[e.Path]; !ok || e.Compare(&old) > 0 {
			state[e.Path] = e
		}
	}
	m := &model{names: map[string]broker.Entry{}}
	add := func(e Entry) { plain{m}.apply(&e) }
	for _, path := range slices.Sorted(maps.Keys(state)) {
		e := state[path]
		visible := !e.Dead
		above(path, func(p string) {
			if up, ok := state[p]; ok && !up.Dead && !up.Dir {
				visible = false
			}
		})
		if !visible {
			continue
		}
		above(path, func(p string) {
			up, ok := state[p]
			if ok && !up.Dead {
				return
			}
			implied := Entry{Path: p, Dir: true, Transient: true, Perm: 0o711}
			if ok && up.Dir {
				implied.Perm, implied.UID, implied.GID = up.Perm, up.UID, up.GID
			}
			add(implied)
		})
		add(e)
	}
	return m.String()
}

// arbitrary returns entries of few names, so that they meet.
func arbitrary(rng *rand.Rand, n int) (entries []Entry) {
	for range n {
		parts := make([]string, 1+rng.IntN(4))
		for i := range parts {
			parts[i] = string('a' + rune(rng.IntN(3)))
		}
		entries = append(entries, Entry{
			Path: strings.Join(parts, "/"), Dir: rng.IntN(3) > 0, Dead: rng.IntN(3) == 0, Transient: rng.IntN(5) == 0,
			Mode: uint8(rng.IntN(3)), Perm: uint32(rng.IntN(8)), UID: uint32(rng.IntN(2)),
			Stamp: peer.Stamp{Time: int64(rng.IntN(20)), Node: string('a' + rune(rng.IntN(2)))},
			Token: uint64(rng.IntN(3)),
		})
	}
	return entries
}

// FuzzMerge: entries in any order, cut into any batches, some of them twice, lead
// to the same tree, the one by the rule; so do their digests. On the way the tree is
// never told anything that it cannot do.
func FuzzMerge(f *testing.F) {
	for i := range uint64(200) {
		f.Add(i, uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		entries := arbitrary(rng, int(size))
		want := expected(entries)
		var first *mapping
		for range 3 {
			m, shown := newPlain(t)
			todo := append(slices.Clone(entries), entries[:rng.IntN(len(entries)+1)]...)
			rng.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
			for len(todo) > 0 {
				n := 1 + rng.IntN(len(todo))
				merge(m, todo[:n])
				todo = todo[n:]
			}
			if got := shown.String(); got != want {
				t.Fatalf("shows:\n%s\nwant:\n%s", got, want)
			}
			if first == nil {
				first = m
			} else if m.digests.sums != first.digests.sums {
				t.Fatal("digests differ")
			}
		}
		checkForgotten(t, first)
	})
}

func merge(m *mapping, entries []Entry) {
	var changed []*node
	for i := range entries {
		e := entries[i]
		if n, news := m.put(&e); news {
			m.record(n)
			changed = append(changed, n)
		}
	}
	for _, n := range changed {
		m.settle(n)
	}
}

// checkForgotten: of what is forgotten nothing is kept.
func checkForgotten(t *testing.T, m *mapping) {
	t.Helper()
	for _, e := range m.entries() {
		if n := m.at(e.Path); n != nil {
			m.forget(n)
		}
	}
	if len(m.root.children) > 0 || m.count != 0 || m.root.below != 0 || m.digests.sums != [parts]uint64{} || len(m.hidden)+len(m.transients) > 0 {
		t.Errorf("left over: %d children, %d entries, %d living, %d hidden, %d transient",
			len(m.root.children), m.count, m.root.below, len(m.hidden), len(m.transients))
	}
}

// FuzzMove: a rename on one host, told to others that know more or less, leaves all
// with the tree by the rule.
func FuzzMove(f *testing.F) {
	for i := range uint64(200) {
		f.Add(i, uint8(i%40))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		entries := arbitrary(rng, int(size))
		m, shown := newPlain(t)
		m.tree.(plain).lax = true
		s := bare(m, shown)
		merge(m, entries[:len(entries)/2])
		for _, move := range [][2]string{{"a", "b"}, {"b/a", "c/b"}, {"c", "a/a"}, {"a/a", "b"}} {
			all := slices.Clone(entries)
			moved := movedEntries(all, move[0], move[1])
			s.learnMove(move[0], move[1], moved, false)
			all = append(all[:len(entries)/2:len(entries)/2], moved...)
			if got, want := shown.String(), expected(all); got != want {
				t.Fatalf("after %q shows:\n%s\nwant:\n%s", move, got, want)
			}
			entries = append(all, entries[len(entries)/2:]...)
			merge(m, entries)
			if got, want := shown.String(), expected(entries); got != want {
				t.Fatalf("after all is known shows:\n%s\nwant:\n%s", got, want)
			}
			entries = append(entries, entries...) // half of it is all
		}
	})
}

// movedEntries is what a home tells of a rename, of what it knows.
func movedEntries(known []Entry, from, to string) (told []Entry) {
	now := int64(0)
	for _, e := range known {
		now = max(now, e.Stamp.Time)
	}
	for _, e := range known {
		if e.Dead || e.Path != from && !strings.HasPrefix(e.Path, from+"/") {
			continue
		}
		now++
		gone := e
		gone.Dead, gone.Stamp = true, peer.Stamp{Time: now, Node: "z"}
		e.Path, e.Transient, e.Stamp = to+strings.TrimPrefix(e.Path, from), false, gone.Stamp
		told = append(told, e, gone)
	}
	return told
}

// bare is a service that has but a mapping.
func bare(m *mapping, tree *model) *Service {
	s := newService(Config{Net: solo{"self", 1}, Arbiter: tree})
	s.names, s.tree = m, tree
	s.cfg.TombstoneAge = 1 << 62
	return s
}

// TestSince: a cursor brings what was recorded after it, each name once; one of
// another life, or from the future, brings all.
func TestSince(t *testing.T) {
	m, _ := newPlain(t)
	rng := rand.New(rand.NewPCG(5, 5))
	cursor := m.log.cursor()
	seen := map[string]Entry{}
	for i := range 300 {
		var entries []Entry
		for j := range 1 + rng.IntN(5) {
			entries = append(entries, Entry{Path: fmt.Sprint("n", rng.IntN(20)), Dir: true, Stamp: peer.Stamp{Time: int64(i*10 + j)}})
		}
		merge(m, entries)
		if rng.IntN(3) > 0 {
			continue
		}
		changed, next := m.since(cursor)
		once := map[string]bool{}
		for _, e := range changed {
			if once[e.Path] {
				t.Fatalf("%q twice", e.Path)
			}
			once[e.Path] = true
			seen[e.Path] = e
		}
		cursor = next
		for _, e := range m.entries() {
			if seen[e.Path] != e {
				t.Fatalf("%q was not told", e.Path)
			}
		}
		if again, _ := m.since(cursor); len(again) > 0 {
			t.Fatalf("told twice: %v", again)
		}
	}
	for _, c := range []peer.Cursor{{}, {Boot: 2, Seq: 1}, {Boot: 1, Seq: 1 << 40}} {
		if all, _ := m.since(c); len(all) != m.count {
			t.Errorf("%v brings %d of %d", c, len(all), m.count)
		}
	}
	if len(m.log.records) > 200 {
		t.Errorf("%d records of %d names", len(m.log.records), m.count)
	}
}

// TestDiffer: going down from the whole finds what differs, and little else.
func TestDiffer(t *testing.T) {
	a, _ := newPlain(t)
	b, _ := newPlain(t)
	var common, extra []Entry
	for i := range 5000 {
		common = append(common, Entry{Path: fmt.Sprint("n", i), Stamp: peer.Stamp{Time: 1}})
	}
	for i := range 7 {
		extra = append(extra, Entry{Path: fmt.Sprint("n", i*700), Perm: 1, Stamp: peer.Stamp{Time: 2}})
	}
	merge(a, common)
	merge(b, append(common, extra...))
	brought := 0
	ask := []peer.Digest{a.digest(wholePart)}
	for round := 0; len(ask) > 0; round++ {
		if round > levels {
			t.Fatal("no end")
		}
		digests, entries := b.differ(ask)
		brought += len(entries)
		merge(a, entries)
		ask = a.unlike(digests)
	}
	if a.digests.sums != b.digests.sums {
		t.Error("still different")
	}
	if brought > 100 {
		t.Errorf("%d entries were sent for 7", brought)
	}
}
