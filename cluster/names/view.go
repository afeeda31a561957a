// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"strings"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// wanted returns how n is to show, or nil.
//
// A living name shows unless something above it is a living pipe. It keeps the
// directories above it, also those that were removed or that nobody has made.
func (m *mapping) wanted(n *node) *Entry {
	switch {
	case n == m.root || n.parent.blocks:
		return nil
	case n.alive():
		return n.entry
	case n.below > 0:
		return m.implied(n)
	}
	return nil
}

// implied is a directory that is there because of what it holds. As no broker has
// stamped it, whatever one has wins. It is transient as it goes with what it holds.
func (m *mapping) implied(n *node) *Entry {
	e := &Entry{Path: n.path, Dir: true, Transient: true, Perm: m.owner.Perm, UID: m.owner.UID, GID: m.owner.GID}
	if n.entry != nil && n.entry.Dir {
		e.Perm, e.UID, e.GID = n.entry.Perm, n.entry.UID, n.entry.GID
	}
	return e
}

// settle makes the tree show n, what is above it and what is below it as the
// entries have it.
func (m *mapping) settle(n *node) {
	for _, c := range n.chain() {
		m.show(c)
	}
	n.prune()
}

// chain returns the nodes from below the root to n.
func (n *node) chain() []*node {
	var all []*node
	for ; n.parent != nil; n = n.parent {
		all = append(all, n)
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// show settles n; what it holds only as far as n changes it. Directories appear
// before what they hold and go after it.
func (m *mapping) show(n *node) {
	want := m.wanted(n)
	blocks := n.parent.blocks || n.alive() && !n.entry.Dir
	turned := blocks != n.blocks
	n.blocks = blocks
	if n.alive() && n.parent.blocks {
		m.hidden[n] = struct{}{}
	} else {
		delete(m.hidden, n)
	}
	if want == nil || blocks {
		for _, c := range n.children {
			if c.shown != nil || turned {
				m.show(c)
			}
		}
	}
	switch {
	case want == nil && n.shown != nil:
		dir := n.shown.Dir
		n.shown = nil
		m.tree.erase(n.path, dir)
	case want != nil && (n.shown == nil || looksOther(want, n.shown)):
		if n.shown != nil && n.shown.Dir != want.Dir {
			m.tree.erase(n.path, n.shown.Dir)
		}
		n.shown = want
		m.tree.apply(want)
	case want != nil:
		n.shown = want
	}
	if turned && !blocks {
		for _, c := range n.children {
			m.show(c)
		}
	}
}

// looksOther reports that the tree has to be told of e where it has o.
func looksOther(e, o *Entry) bool {
	a, b := *e, *o
	a.Stamp, b.Stamp, a.Token, b.Token = peer.Stamp{}, peer.Stamp{}, 0, 0
	return a != b
}

// shows returns how a path shows, or nil.
func (m *mapping) shows(path string) *Entry {
	if n := m.at(path); n != nil {
		return n.shown
	}
	return nil
}

// reshow tells the tree of a name again, which may have dropped it by itself.
func (m *mapping) reshow(path string) {
	above(path, func(p string) {
		if e := m.shows(p); e != nil {
			m.tree.apply(e)
		}
	})
	if e := m.shows(path); e != nil {
		m.tree.apply(e)
	}
}

// empty reports that nothing shows in a directory.
func (n *node) empty() bool {
	for _, c := range n.children {
		if c.shown != nil {
			return false
		}
	}
	return true
}

// move moves what shows at from, and below it, in the tree; entries that say the
// same are to follow. What shows at to goes.
func (m *mapping) move(from, to string) {
	src := m.at(from)
	if src == nil || src.shown == nil || from == to || strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/") {
		return
	}
	dst := m.ensure(to)
	if dst.parent.blocks {
		dst.prune()
		return
	}
	var gone []string
	moved := make(map[string]*Entry)
	leave := func(n *node) bool {
		if n.shown != nil && !n.shown.Dir {
			gone = append(gone, n.path)
		}
		n.shown = nil
		return true
	}
	dst.walk(leave)
	src.walk(func(n *node) bool {
		if n.shown != nil {
			e := *n.shown
			e.Path = to + strings.TrimPrefix(n.path, from)
			moved[e.Path] = &e
		}
		return leave(n)
	})
	m.tree.move(from, to, gone)
	for path, e := range moved {
		m.ensure(path).shown = e
	}
}

// moveDone settles what a move has touched, after its entries were put.
func (m *mapping) moveDone(paths ...string) {
	for _, path := range paths {
		n := m.at(path)
		if n == nil {
			continue
		}
		for _, c := range n.chain() {
			m.show(c)
		}
		m.showAll(n)
		n.sweep()
	}
}

func (m *mapping) showAll(n *node) {
	m.show(n)
	for _, c := range n.children {
		m.showAll(c)
	}
}

// sweep prunes everything below n, and n.
func (n *node) sweep() {
	for _, c := range n.children {
		c.sweep()
	}
	n.prune()
}

// blocked reports that something above a path is a pipe.
func (m *mapping) blocked(path string) (yes bool) {
	above(path, func(p string) {
		if n := m.at(p); n != nil && n.blocks {
			yes = true
		}
	})
	return yes
}
