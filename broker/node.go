// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// MaxPath is a name's greatest length in octets, from the root, as ZPIPES has it.
const MaxPath = 255

// Kind tells pipes from directories.
type Kind uint8

const (
	Dir Kind = iota
	Pipe
)

const permBits = 0o7777

// Owner is who may do what with a name: chmod(2)'s bits and chown(2)'s ids.
type Owner struct {
	Perm     uint32 // permBits
	UID, GID uint32
}

// Node is a name in the tree: a directory or a pipe. It stays valid when its
// name is removed; open ends keep working (unlink(2)).
type Node struct {
	// ID is unique in the broker's life and never changes (st_ino). Each host
	// counts its own: the same name has another one elsewhere.
	ID   uint64
	kind Kind

	// The rest is guarded by Broker.mu.
	parent   *Node // nil: the root, or removed
	name     string
	children map[string]*Node
	dirs     int // of the children
	owner    Owner
	mode     pipe.Mode
	next     *pipe.Mode // comes into force when the pipe is idle; nil: none
	atime    time.Time
	mtime    time.Time
	ctime    time.Time

	transient bool       // made by a client's open; goes when nothing holds it
	pins      int        // opens under way
	pipe      *pipe.Pipe // nil until the first open
	bytes     uint64     // written to pipes that the name stood for before
	own       uint64     // of bytes: by this host's writers
}

// Kind returns what n is.
func (n *Node) Kind() Kind { return n.kind }

// busy reports that an end is open or about to be.
func (n *Node) busy() bool {
	if n.pins > 0 {
		return true
	}
	if n.pipe == nil {
		return false
	}
	open, _ := n.pipe.Busy()
	return open
}

// doubtful reports that n may have gone elsewhere: clients' opens made it, and
// what holds it is not here.
func (n *Node) doubtful() bool { return n.transient && len(n.children) == 0 && !n.busy() }

// retire makes n ready for a new pipe, keeping the old one's count and times.
func (n *Node) retire() {
	s := n.pipe.Stat()
	n.pipe = nil
	n.bytes += s.Written
	n.own += s.OwnWritten
	n.mtime = later(n.mtime, s.WroteAt)
	n.atime = later(n.atime, s.ReadAt)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// path is n's name from the root, without a leading slash.
func (n *Node) path() string {
	if n.parent == nil {
		return n.name
	}
	parts := []string{}
	for ; n.parent != nil; n = n.parent {
		parts = append(parts, n.name)
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/")
}

// depth is the length of the longest path below n, itself included, counted
// from n's own name.
func (n *Node) depth() int {
	deepest := 0
	for _, c := range n.children {
		deepest = max(deepest, 1+c.depth())
	}
	return len(n.name) + deepest
}

// Attr is what stat(2) tells of a name, and what the pipe's ends make of it.
type Attr struct {
	Owner
	ID                  uint64
	Kind                Kind
	Links               uint32 // of a directory: 2 and its subdirectories; of a removed name: 0
	Atime, Mtime, Ctime time.Time
	Mode                pipe.Mode // pipes only, and below
	Stat                pipe.Stat
	Bytes               uint64 // written ever under this name, and come from other hosts
	Own                 uint64 // of Bytes: written by this host's writers
}

// Attr returns n's attributes.
func (b *Broker) Attr(n *Node) Attr {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.attr(n)
}

func (b *Broker) attr(n *Node) Attr {
	a := Attr{Owner: n.owner, ID: n.ID, Kind: n.kind, Links: 1, Atime: n.atime, Mtime: n.mtime, Ctime: n.ctime, Mode: n.mode, Bytes: n.bytes, Own: n.own}
	switch {
	case n.parent == nil && n != b.root:
		a.Links = 0
	case n.kind == Dir:
		a.Links += 1 + uint32(n.dirs)
	}
	if n.pipe != nil {
		a.Stat = n.pipe.Stat()
		a.Bytes += a.Stat.Written
		a.Own += a.Stat.OwnWritten
		a.Mtime, a.Atime = later(a.Mtime, a.Stat.WroteAt), later(a.Atime, a.Stat.ReadAt)
	}
	return a
}

// Change is what chmod(2), chown(2) and utimensat(2) set; nil leaves a value be.
type Change struct {
	Perm, UID, GID *uint32
	Atime, Mtime   *time.Time
}

// SetAttr applies a change and returns what came of it. Owner and permissions of
// a name are every host's; times, and all of the root directory, are this one's.
//
// Errors: those of Names.
func (b *Broker) SetAttr(ctx context.Context, n *Node, c Change) (Attr, error) {
	if b.cfg.Names != nil && (c.Perm != nil || c.UID != nil || c.GID != nil) {
		if path, ok := b.Path(n); ok && n != b.root {
			shared := Change{Perm: c.Perm, UID: c.UID, GID: c.GID}
			if err := b.cfg.Names.Set(ctx, path, shared); err != nil {
				return Attr{}, err
			}
			c.Perm, c.UID, c.GID = nil, nil, nil
		}
	}
	return b.change(n, c), nil
}

func (b *Broker) change(n *Node, c Change) Attr {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.ctime = time.Now()
	n.owner = c.of(n.owner)
	if c.Atime != nil {
		n.atime = *c.Atime
	}
	if c.Mtime != nil {
		n.mtime = *c.Mtime
	}
	return b.attr(n)
}

// of returns what the change makes of an owner.
func (c Change) of(o Owner) Owner {
	if c.Perm != nil {
		o.Perm = *c.Perm & permBits
	}
	if c.UID != nil {
		o.UID = *c.UID
	}
	if c.GID != nil {
		o.GID = *c.GID
	}
	return o
}

// SetMode sets how a pipe's ends share its bytes.
//
// Errors: ErrIsDir, ErrOpen while it has ends, and those of Names.
func (b *Broker) SetMode(ctx context.Context, n *Node, m pipe.Mode) error {
	path, err := b.trySetMode(n, m)
	if path == "" || err != nil {
		return err
	}
	return b.cfg.Names.SetMode(ctx, path, m)
}

// trySetMode sets the mode, or returns the path to ask Names about.
func (b *Broker) trySetMode(n *Node, m pipe.Mode) (ask string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case n.kind != Pipe:
		return "", ErrIsDir
	case n.mode == m:
		return "", nil
	case n.busy():
		return "", ErrOpen
	case b.cfg.Names != nil && n.parent != nil:
		return n.path(), nil
	}
	b.setMode(n, m)
	return "", nil
}

// Path returns n's name from the root, and whether it still has one.
func (b *Broker) Path(n *Node) (string, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return n.path(), n.parent != nil || n == b.root
}

// Child is a name in a directory.
type Child struct {
	Name string
	Node *Node
}

// List returns a directory's names, in no order.
//
// Errors: those of Names.
func (b *Broker) List(ctx context.Context, dir *Node) ([]Child, error) {
	if b.cfg.Names != nil {
		if path, ok := b.Path(dir); ok {
			if err := b.cfg.Names.List(ctx, path); err != nil {
				return nil, err
			}
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]Child, 0, len(dir.children))
	for name, n := range dir.children {
		list = append(list, Child{name, n})
	}
	return list, nil
}

// Each calls f for every pipe that has a name, with its path, in the order of paths
// and from the first one behind a path on; it stops when f returns an error and
// returns that. What it tells of a pipe was so when f was called.
func (b *Broker) Each(behind string, f func(path string, a Attr) error) error {
	all := b.named(behind)
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.path, b.path) })
	for _, x := range all {
		if err := f(x.path, b.Attr(x.node)); err != nil {
			return err
		}
	}
	return nil
}

type named struct {
	path string
	node *Node
}

func (b *Broker) named(behind string) (all []named) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var walk func(n *Node)
	walk = func(n *Node) {
		for _, c := range n.children {
			if c.kind == Pipe {
				if path := c.path(); path > behind {
					all = append(all, named{path, c})
				}
			}
			walk(c)
		}
	}
	walk(b.root)
	return all
}

// Walk finds the node at a path from the root; the empty path is the root.
//
// Errors: fs.ErrNotExist, ErrNotDir, and those of Names.
func (b *Broker) Walk(ctx context.Context, path string) (*Node, error) {
	n := b.root
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		if n.kind != Dir {
			return nil, ErrNotDir
		}
		var err error
		if n, err = b.Lookup(ctx, n, part); err != nil {
			return nil, err
		}
	}
	return n, nil
}
