// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// CheckName returns ErrName or ErrTooLong if s cannot name a pipe.
func CheckName(s string) error {
	if len(s) > MaxPath {
		return ErrTooLong
	}
	for part := range strings.SplitSeq(s, "/") {
		if !component(part) {
			return ErrName
		}
	}
	return nil
}

// component reports that s can be a name in a directory.
func component(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// Lookup finds a name in a directory. Error: fs.ErrNotExist.
func (b *Broker) Lookup(dir *Node, name string) (*Node, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if n := dir.children[name]; n != nil {
		return n, nil
	}
	return nil, fs.ErrNotExist
}

// Mkdir makes a directory. Errors: fs.ErrExist, fs.ErrNotExist if dir has been
// removed, ErrNotDir, ErrName, ErrTooLong.
func (b *Broker) Mkdir(dir *Node, name string, o Owner) (*Node, error) {
	return b.make(dir, name, Dir, o, pipe.Fifo)
}

// Mkpipe makes a pipe. Errors as for Mkdir.
func (b *Broker) Mkpipe(dir *Node, name string, o Owner, m pipe.Mode) (*Node, error) {
	return b.make(dir, name, Pipe, o, m)
}

func (b *Broker) make(dir *Node, name string, k Kind, o Owner, m pipe.Mode) (*Node, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.free(dir, name); err != nil {
		return nil, err
	}
	n := b.newNode(dir, name, k, o)
	n.mode = m
	b.keep(dir)
	b.changed(n)
	return n, nil
}

// free returns nil if a name may be made in dir.
func (b *Broker) free(dir *Node, name string) error {
	switch {
	case dir.kind != Dir:
		return ErrNotDir
	case dir.parent == nil && dir != b.root:
		return fs.ErrNotExist
	case dir.children[name] != nil:
		return fs.ErrExist
	case !component(name):
		return ErrName
	case len(path.Join(dir.path(), name)) > MaxPath:
		return ErrTooLong
	}
	return nil
}

// keep makes directories that a client's open had made permanent: somebody has
// put something of his own there.
func (b *Broker) keep(dir *Node) {
	for ; dir != nil; dir = dir.parent {
		dir.transient = false
	}
}

// newNode is called with the lock held, but for the root.
func (b *Broker) newNode(dir *Node, name string, k Kind, o Owner) *Node {
	b.lastID++
	now := time.Now()
	n := &Node{ID: b.lastID, kind: k, owner: o, atime: now, mtime: now, ctime: now}
	if k == Dir {
		n.children = make(map[string]*Node)
	}
	b.count++
	if dir != nil {
		b.link(n, dir, name)
	}
	return n
}

func (b *Broker) link(n, dir *Node, name string) {
	n.parent, n.name = dir, name
	dir.children[name] = n
	if n.kind == Dir {
		dir.dirs++
	}
	dir.mtime = time.Now()
	dir.ctime = dir.mtime
}

func (b *Broker) unlink(n *Node) {
	b.gone(n)
	dir := n.parent
	dir.drop(n)
	dir.mtime = time.Now()
	dir.ctime, n.ctime = dir.mtime, dir.mtime
	n.parent = nil
	b.count--
	if n.pipe != nil && !n.busy() {
		b.forget(n, n.pipe)
	}
}

// drop takes a child out of a directory.
func (dir *Node) drop(n *Node) {
	delete(dir.children, n.name)
	if n.kind == Dir {
		dir.dirs--
	}
}

// Remove removes a pipe's name; its open ends go on (unlink(2)).
//
// Errors: fs.ErrNotExist, ErrIsDir.
func (b *Broker) Remove(dir *Node, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := dir.children[name]
	switch {
	case n == nil:
		return fs.ErrNotExist
	case n.kind == Dir:
		return ErrIsDir
	}
	b.unlink(n)
	b.tidy(dir)
	return nil
}

// RemoveDir removes an empty directory. Errors: fs.ErrNotExist, ErrNotDir,
// ErrNotEmpty.
func (b *Broker) RemoveDir(dir *Node, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := dir.children[name]
	switch {
	case n == nil:
		return fs.ErrNotExist
	case n.kind != Dir:
		return ErrNotDir
	case len(n.children) > 0:
		return ErrNotEmpty
	}
	b.unlink(n)
	b.tidy(dir)
	return nil
}

// Rename moves a name, replacing a closed pipe or an empty directory that has
// the new one unless keep is set (rename(2), RENAME_NOREPLACE). A pipe that is
// open, or a directory that holds one, stays: its name is how hosts meet.
//
// Errors: fs.ErrNotExist, fs.ErrExist, ErrOpen, ErrNotDir, ErrIsDir,
// ErrNotEmpty, ErrLoop, ErrName, ErrTooLong.
func (b *Broker) Rename(dir *Node, name string, toDir *Node, toName string, keep bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, old := dir.children[name], toDir.children[toName]
	switch {
	case n == nil || toDir.parent == nil && toDir != b.root:
		return fs.ErrNotExist
	case toDir.kind != Dir:
		return ErrNotDir
	case old != nil && keep:
		return fs.ErrExist
	case old == n:
		return nil
	case n.holds(toDir):
		return ErrLoop
	case !component(toName):
		return ErrName
	case n.anyBusy() || old != nil && old.busy():
		return ErrOpen
	case len(path.Join(toDir.path(), toName))-len(n.name)+n.depth() > MaxPath:
		return ErrTooLong
	}
	if old != nil {
		switch {
		case old.kind == Dir && n.kind != Dir:
			return ErrIsDir
		case old.kind != Dir && n.kind == Dir:
			return ErrNotDir
		case len(old.children) > 0:
			return ErrNotEmpty
		}
		b.unlink(old)
	}
	b.allGone(n)
	dir.drop(n)
	dir.mtime = time.Now()
	dir.ctime = dir.mtime
	b.link(n, toDir, toName)
	n.ctime = time.Now()
	b.keep(n)
	b.allChanged(n)
	return nil
}

// holds reports whether dir is n or below it.
func (n *Node) holds(dir *Node) bool {
	for ; dir != nil; dir = dir.parent {
		if dir == n {
			return true
		}
	}
	return false
}

func (n *Node) anyBusy() bool {
	if n.busy() {
		return true
	}
	for _, c := range n.children {
		if c.anyBusy() {
			return true
		}
	}
	return false
}

// pinName finds or makes the pipe at a path and pins it.
func (b *Broker) pinName(name string) (*Node, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.root
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if n.kind != Dir {
			return nil, ErrNotDir
		}
		next := n.children[part]
		if next == nil {
			next = b.makeTransient(n, part, i == len(parts)-1)
		}
		n = next
	}
	if n.kind != Pipe {
		return nil, ErrIsDir
	}
	n.pins++
	return n, nil
}

func (b *Broker) makeTransient(dir *Node, name string, last bool) *Node {
	owner, kind := b.cfg.Owner, Dir
	if last {
		kind = Pipe
		owner.Perm &= 0o666
	}
	n := b.newNode(dir, name, kind, owner)
	n.mode, n.transient = pipe.Exclusive, true
	b.changed(n)
	return n
}
