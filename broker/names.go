// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"context"
	"errors"
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

// Here returns the node of a name that this host can vouch for, or nil.
func (b *Broker) Here(dir *Node, name string) *Node {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.here(dir, name)
}

func (b *Broker) here(dir *Node, name string) *Node {
	n := dir.children[name]
	if n != nil && b.cfg.Names != nil && n.doubtful() {
		return nil
	}
	return n
}

// Lookup finds a name in a directory, on other hosts if Here does not.
//
// Errors: fs.ErrNotExist, and those of Names.
func (b *Broker) Lookup(ctx context.Context, dir *Node, name string) (*Node, error) {
	if n := b.Here(dir, name); n != nil {
		return n, nil
	}
	if b.cfg.Names == nil {
		return nil, fs.ErrNotExist
	}
	b.mu.RLock()
	path, err := b.place(dir, name)
	b.mu.RUnlock()
	if err != nil {
		return nil, fs.ErrNotExist // what cannot be made is not there
	}
	err = b.cfg.Names.Find(ctx, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return b.found(dir, name, err)
}

// found returns the node of a name after other hosts were asked; missing is what
// they said if they do not have it.
func (b *Broker) found(dir *Node, name string, missing error) (*Node, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := dir.children[name]
	switch {
	case n == nil:
		return nil, fs.ErrNotExist
	case missing != nil && n.doubtful():
		b.unlink(n)
		b.tidy(dir)
		return nil, missing
	}
	return n, nil
}

// Mkdir makes a directory. Errors: fs.ErrExist, fs.ErrNotExist if dir has been
// removed, ErrNotDir, ErrName, ErrTooLong, and those of Names.
func (b *Broker) Mkdir(ctx context.Context, dir *Node, name string, o Owner) (*Node, error) {
	return b.make(ctx, dir, name, Entry{Kind: Dir, Owner: o})
}

// Mkpipe makes a pipe. Errors as for Mkdir.
func (b *Broker) Mkpipe(ctx context.Context, dir *Node, name string, o Owner, m pipe.Mode) (*Node, error) {
	return b.make(ctx, dir, name, Entry{Kind: Pipe, Mode: m, Owner: o})
}

// make makes e in dir; e.Path is not set.
func (b *Broker) make(ctx context.Context, dir *Node, name string, e Entry) (*Node, error) {
	n, path, err := b.tryMake(dir, name, e)
	if n != nil || err != nil {
		return n, err
	}
	e.Path = path
	if err := b.cfg.Names.Make(ctx, e); err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if n = dir.children[name]; n == nil || n.kind != e.Kind {
		return nil, fs.ErrNotExist // removed again, elsewhere
	}
	return n, nil
}

// tryMake makes the name, or returns the path to ask Names about.
func (b *Broker) tryMake(dir *Node, name string, e Entry) (n *Node, ask string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	path, err := b.place(dir, name)
	switch {
	case err != nil:
		return nil, "", err
	case b.here(dir, name) != nil:
		return nil, "", fs.ErrExist
	case b.cfg.Names != nil:
		return nil, path, nil
	}
	n = b.newNode(dir, name, e.Kind, e.Owner)
	n.mode = e.Mode
	b.keep(dir)
	return n, "", nil
}

// place returns the path of a name in dir, or why there cannot be one.
func (b *Broker) place(dir *Node, name string) (string, error) {
	switch {
	case dir.kind != Dir:
		return "", ErrNotDir
	case dir.parent == nil && dir != b.root:
		return "", fs.ErrNotExist
	case !component(name):
		return "", ErrName
	}
	p := path.Join(dir.path(), name)
	if len(p) > MaxPath {
		return "", ErrTooLong
	}
	return p, nil
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
// Errors: fs.ErrNotExist, ErrIsDir, and those of Names.
func (b *Broker) Remove(ctx context.Context, dir *Node, name string) error {
	return b.remove(ctx, dir, name, Pipe)
}

// RemoveDir removes an empty directory. Errors: fs.ErrNotExist, ErrNotDir,
// ErrNotEmpty, and those of Names.
func (b *Broker) RemoveDir(ctx context.Context, dir *Node, name string) error {
	return b.remove(ctx, dir, name, Dir)
}

func (b *Broker) remove(ctx context.Context, dir *Node, name string, k Kind) error {
	if b.cfg.Names != nil {
		if _, err := b.Lookup(ctx, dir, name); err != nil {
			return err
		}
	}
	path, err := b.tryRemove(dir, name, k)
	if path == "" || err != nil {
		return err
	}
	return b.cfg.Names.Remove(ctx, path, k)
}

// tryRemove removes the name, or returns the path to ask Names about.
func (b *Broker) tryRemove(dir *Node, name string, k Kind) (ask string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := dir.children[name]
	switch {
	case n == nil:
		return "", fs.ErrNotExist
	case k == Pipe && n.kind == Dir:
		return "", ErrIsDir
	case k == Dir && n.kind != Dir:
		return "", ErrNotDir
	case !n.empty():
		return "", ErrNotEmpty
	case b.cfg.Names != nil:
		return n.path(), nil
	}
	b.unlink(n)
	b.tidy(dir)
	return "", nil
}

// empty reports that n holds nothing that this host can vouch for.
func (n *Node) empty() bool {
	for _, c := range n.children {
		if !c.doubtful() {
			return false
		}
	}
	return true
}

// Rename moves a name, replacing a closed pipe or an empty directory that has
// the new one unless keep is set (rename(2), RENAME_NOREPLACE). A pipe that is
// open, or a directory that holds one, stays: its name is how hosts meet.
//
// Errors: fs.ErrNotExist, fs.ErrExist, ErrOpen, ErrNotDir, ErrIsDir,
// ErrNotEmpty, ErrLoop, ErrName, ErrTooLong, and those of Names.
func (b *Broker) Rename(ctx context.Context, dir *Node, name string, toDir *Node, toName string, keep bool) error {
	if b.cfg.Names != nil {
		if _, err := b.Lookup(ctx, dir, name); err != nil {
			return err
		}
	}
	from, to, err := b.tryRename(dir, name, toDir, toName, keep)
	if from == "" || err != nil {
		return err
	}
	return b.cfg.Names.Rename(ctx, from, to, keep)
}

// tryRename moves the name, or returns the paths to ask Names about.
func (b *Broker) tryRename(dir *Node, name string, toDir *Node, toName string, keep bool) (from, to string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, old := dir.children[name], b.here(toDir, toName)
	if err := b.mayRename(n, old, toDir, toName, keep); err != nil || n == toDir.children[toName] {
		return "", "", err
	}
	if b.cfg.Names != nil {
		return n.path(), path.Join(toDir.path(), toName), nil
	}
	if old != nil {
		b.unlink(old)
	}
	b.move(n, toDir, toName)
	b.keep(n)
	return "", "", nil
}

// mayRename returns nil if n may have a name that old, or nil, has.
func (b *Broker) mayRename(n, old, toDir *Node, toName string, keep bool) error {
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
	case old == nil:
		return nil
	case old.kind == Dir && n.kind != Dir:
		return ErrIsDir
	case old.kind != Dir && n.kind == Dir:
		return ErrNotDir
	case !old.empty():
		return ErrNotEmpty
	}
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
