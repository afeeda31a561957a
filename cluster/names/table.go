// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"cmp"
	"slices"
	"strings"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// table is the map of names: of each the entry that was decided last, also that it
// was removed. Which entries it has does not depend on the order in which they
// came. Service.mu guards it.
type table struct {
	entries map[string]*row
	below   map[string]int // living entries below a path
	log     []change       // in the order of seq; a path is also where it was before
	seq     uint64
}

type row struct {
	peer.Entry
	seq uint64 // when it came here
}

type change struct {
	seq  uint64
	path string
}

func newTable() *table { return &table{entries: make(map[string]*row), below: make(map[string]int)} }

// get returns the living entry of a path, or nil.
func (t *table) get(path string) *peer.Entry {
	if r := t.entries[path]; r != nil && !r.Dead {
		return &r.Entry
	}
	return nil
}

// put keeps e if it is later than what is there; it returns what was there.
func (t *table) put(e peer.Entry) (old *peer.Entry, news bool) {
	r := t.entries[e.Path]
	if r != nil {
		was := r.Entry
		old = &was
		if !e.Later(old) {
			return old, false
		}
	}
	t.seq++
	t.entries[e.Path] = &row{e, t.seq}
	t.log = append(t.log, change{t.seq, e.Path})
	if len(t.log) > 64+2*len(t.entries) {
		t.log = slices.DeleteFunc(t.log, func(c change) bool { return !t.current(c) })
	}
	lived := old != nil && !old.Dead
	if n := btoi(!e.Dead) - btoi(lived); n != 0 && e.Path != "" {
		for dir := range above(e.Path) {
			if t.below[dir] += n; t.below[dir] == 0 {
				delete(t.below, dir)
			}
		}
	}
	return old, true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// current reports that nothing has happened to a path since c.
func (t *table) current(c change) bool {
	r := t.entries[c.path]
	return r != nil && r.seq == c.seq
}

// since returns up to n entries that have come after the cursor, and where that
// leads.
func (t *table) since(cursor uint64, n int) (list []peer.Entry, next uint64, more bool) {
	i, _ := slices.BinarySearchFunc(t.log, cursor+1, func(c change, seq uint64) int { return cmp.Compare(c.seq, seq) })
	next = cursor
	for _, c := range t.log[i:] {
		if len(list) == n {
			return list, next, true
		}
		if next = c.seq; t.current(c) {
			list = append(list, t.entries[c.path].Entry)
		}
	}
	return list, max(next, t.seq), false
}

// hidden reports that a path leads through a pipe: its name cannot be there.
func (t *table) hidden(path string) bool {
	for dir := range above(path) {
		if e := t.get(dir); e != nil && e.Pipe {
			return true
		}
	}
	return false
}

// visible returns the entry of a path if the tree shall have it: it lives, and what
// is above it are directories.
func (t *table) visible(path string) *peer.Entry {
	if e := t.get(path); e != nil && !t.hidden(path) {
		return e
	}
	return nil
}

// under returns the living entries below a directory, by path.
func (t *table) under(dir string) (list []peer.Entry) {
	if dir != "" && t.below[dir] == 0 {
		return nil
	}
	for path, r := range t.entries {
		if !r.Dead && path != "" && (dir == "" || strings.HasPrefix(path, dir+"/")) {
			list = append(list, r.Entry)
		}
	}
	slices.SortFunc(list, func(a, b peer.Entry) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// forget drops the tombstones that are older than a stamp.
func (t *table) forget(before int64) (paths []string) {
	for path, r := range t.entries {
		if r.Dead && r.Time < before {
			delete(t.entries, path)
			paths = append(paths, path)
		}
	}
	return paths
}

// above yields the directories that a path lies in, the nearest first, but the root.
func above(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
			if !yield(path[:i]) {
				return
			}
		}
	}
}
