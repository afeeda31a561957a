// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Entry is the state of a name, as brokers tell each other.
type Entry = peer.Entry

// tree is what a mapping is shown in: a broker's tree, but for the entries' form.
type tree interface {
	apply(e *Entry)
	erase(path string, dir bool)
	// move moves a name with all below it; gone are the paths that stand for a pipe
	// no more, or for another.
	move(from, to string, gone []string)
}

// mapping is the state of all names, merged by stamp, and what of it shows. It is a
// function of the set of entries that were merged, whatever their order, and so
// the same on all hosts once they know the same. Not for concurrent use.
type mapping struct {
	owner broker.Owner // of directories that no entry tells of
	tree  tree
	root  *node
	count int // entries, tombstones included

	log        log
	digests    digests
	transients map[*node]struct{} // living ones
	hidden     map[*node]struct{} // living names that do not show: below a pipe
}

// node is a place in the tree of paths.
type node struct {
	parent   *node
	name     string
	children map[string]*node
	path     string

	entry  *Entry    // nil: none, this is but on the way to one
	below  int       // living entries below
	seq    uint64    // of the log's record; 0: none
	part   int       // of the digests
	saved  bool      // the disk has it, or will
	mine   bool      // asked for by this broker, or decided by it
	idle   time.Time // since when the name may have to go
	noEnds bool      // a transient pipe that somebody has closed

	shown  *Entry // as the tree has it; nil: not there
	blocks bool   // nothing below shows: this, or something above, is a pipe
}

func newMapping(boot uint64, owner broker.Owner, t tree) *mapping {
	m := &mapping{owner: owner, tree: t, root: &node{}, transients: make(map[*node]struct{}), hidden: make(map[*node]struct{})}
	m.log.boot = boot
	return m
}

func (n *node) alive() bool { return n.entry != nil && !n.entry.Dead }

// at returns the node of a path, or nil.
func (m *mapping) at(path string) *node {
	n := m.root
	for part := range strings.SplitSeq(path, "/") {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// ensure returns the node of a path, made if need be.
func (m *mapping) ensure(path string) *node {
	n := m.root
	for part := range strings.SplitSeq(path, "/") {
		c := n.children[part]
		if c == nil {
			c = &node{parent: n, name: part, path: part, blocks: n.blocks}
			if n != m.root {
				c.path = n.path + "/" + part
			}
			c.part = partOf(c.path)
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			n.children[part] = c
		}
		n = c
	}
	return n
}

// prune lets go of n, and of what is above, if it serves nothing.
func (n *node) prune() {
	for n.parent != nil && n.entry == nil && n.shown == nil && len(n.children) == 0 {
		delete(n.parent.children, n.name)
		n = n.parent
	}
}

// get returns the entry of a path, or nil. It is not to be changed.
func (m *mapping) get(path string) *Entry {
	if n := m.at(path); n != nil {
		return n.entry
	}
	return nil
}

// put takes e as the state of its name if it is newer than what is known. The tree
// does not show it before settle. The entry is not to be changed any more.
func (m *mapping) put(e *Entry) (*node, bool) {
	n := m.at(e.Path)
	if n != nil && n.entry != nil && e.Compare(n.entry) <= 0 {
		return n, false
	}
	if n == nil {
		n = m.ensure(e.Path)
	}
	m.set(n, e)
	return n, true
}

// set makes e the entry of n; nil: none.
func (m *mapping) set(n *node, e *Entry) {
	was := n.alive()
	m.digests.change(n, e)
	switch {
	case n.entry == nil && e != nil:
		m.count++
	case n.entry != nil && e == nil:
		m.count--
	}
	n.entry = e
	if is := n.alive(); is != was {
		d := 1
		if was {
			d = -1
		}
		for p := n.parent; p != nil; p = p.parent {
			p.below += d
		}
	}
	n.idle, n.noEnds = time.Time{}, false
	delete(m.transients, n)
	delete(m.hidden, n)
	if n.alive() && e.Transient {
		m.transients[n] = struct{}{}
	}
}

// forget drops what is known of a name, as if nobody had told.
func (m *mapping) forget(n *node) {
	m.set(n, nil)
	n.seq, n.mine = 0, false
	m.settle(n)
}

// record makes peers hear of n's state when they ask what has changed.
func (m *mapping) record(n *node) { m.log.add(n) }

// walk calls f for n and all below it, those above first, until f returns false;
// f must not add or remove nodes.
func (n *node) walk(f func(*node) bool) bool {
	if !f(n) {
		return false
	}
	for _, c := range n.children {
		if !c.walk(f) {
			return false
		}
	}
	return true
}

// entries returns all entries, those of directories before what they hold.
func (m *mapping) entries() []Entry {
	all := make([]Entry, 0, m.count)
	m.root.walk(func(n *node) bool {
		if n.entry != nil {
			all = append(all, *n.entry)
		}
		return true
	})
	return all
}

// above calls f with each path that has path below it, the topmost first.
func above(path string, f func(string)) {
	for i := range len(path) {
		if path[i] == '/' {
			f(path[:i])
		}
	}
}
