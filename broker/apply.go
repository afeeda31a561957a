// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"path"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// Apply makes or changes a name as other hosts have it. A name of another kind,
// also one above, is replaced as if erased. Directories that are missing above
// are made transient: they stay as long as they hold something, until an entry of
// their own says who owns them. A new mode of a pipe that is open here comes into
// force when its last end closes. What cannot be a name is left out.
func (b *Broker) Apply(e Entry) {
	if err := CheckName(e.Path); err != nil {
		b.log.Warn("another host's name is left out", "name", e.Path, "error", err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	dir, name := b.parents(e.Path)
	n := dir.children[name]
	if n != nil && n.kind != e.Kind {
		b.erase(n)
		n = nil
	}
	e.Owner.Perm &= permBits
	if n == nil {
		n = b.newNode(dir, name, e.Kind, e.Owner)
		n.mode = e.Mode
	} else {
		b.adopt(n, e)
	}
	n.transient = e.Transient
}

// adopt gives a node what another host says of it.
func (b *Broker) adopt(n *Node, e Entry) {
	if n.owner != e.Owner {
		n.owner, n.ctime = e.Owner, time.Now()
	}
	if n.kind == Pipe {
		n.next = &e.Mode
		b.settle(n)
	}
}

// settle gives an idle pipe the mode that was set while it was open.
func (b *Broker) settle(n *Node) {
	if n.next == nil || n.busy() {
		return
	}
	m := *n.next
	n.next = nil
	b.setMode(n, m)
}

// setMode is called with the lock held and the pipe idle.
func (b *Broker) setMode(n *Node, m pipe.Mode) {
	if n.mode == m {
		return
	}
	if n.pipe != nil {
		b.forget(n, n.pipe)
	}
	n.mode, n.ctime = m, time.Now()
}

// Erase removes a name, and all it holds, as other hosts have. Open ends go on
// (unlink(2)). A name that is not here is fine.
func (b *Broker) Erase(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.at(path)
	if n == nil || n == b.root {
		return
	}
	dir := n.parent
	b.erase(n)
	b.tidy(dir)
}

// erase takes n out of the tree, and each name below it, so that whoever still
// holds one finds it removed.
func (b *Broker) erase(n *Node) {
	for _, c := range n.children {
		b.erase(c)
	}
	b.unlink(n)
}

// Move gives a name, with all below it, another path, as other hosts have; nodes
// stay the same ones, so that a process whose directory it is keeps it. What had
// the new path goes as if erased. A name that is not here is fine.
func (b *Broker) Move(from, to string) {
	if err := CheckName(to); err != nil {
		b.log.Warn("another host's name is left out", "name", to, "error", err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.at(from)
	if n == nil || n == b.root || from == to {
		return
	}
	if strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/") {
		b.log.Warn("another host's move is left out", "from", from, "to", to, "error", ErrLoop)
		return
	}
	dir, name := b.parents(to)
	old := n.parent
	if target := dir.children[name]; target != nil {
		b.erase(target)
	}
	b.move(n, dir, name)
	b.tidy(old)
}

// move puts a node, with all below it, where no name is.
func (b *Broker) move(n, dir *Node, name string) {
	old := n.parent
	old.drop(n)
	old.mtime = time.Now()
	old.ctime = old.mtime
	b.link(n, dir, name)
	n.ctime = time.Now()
}

// parents returns the directory that a path's last component is in, and that
// component. It makes what is missing, and what is no directory one.
func (b *Broker) parents(p string) (*Node, string) {
	above, name := path.Split(p)
	dir := b.root
	for part := range strings.SplitSeq(strings.TrimSuffix(above, "/"), "/") {
		if part == "" {
			break // the root itself
		}
		next := dir.children[part]
		if next != nil && next.kind != Dir {
			b.erase(next)
			next = nil
		}
		if next == nil {
			next = b.newNode(dir, part, Dir, b.cfg.Owner)
			next.transient = true
		}
		dir = next
	}
	return dir, name
}

// at returns the node at a path, or nil.
func (b *Broker) at(p string) *Node {
	n := b.root
	for part := range strings.SplitSeq(p, "/") {
		if part == "" {
			continue
		}
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}
