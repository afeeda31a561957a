// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker"
)

// node is what the kernel calls an inode: a number it got from us. A directory
// keeps one. A pipe gets a fresh one with every lookup, as the kernel holds an
// inode's lock while a write waits: with one inode a pipe, chmod, rm and other
// opens would hang behind it (fs/fuse/file.c, fuse_dio_lock).
type node struct {
	id    uint64
	of    *broker.Node
	fifo  bool         // the answer to mkfifo(2), which must see a FIFO; nothing else uses it
	taken atomic.Int64 // bytes read through it

	lookups uint64 // guarded by nodeTable.mu: how often the kernel was told of it
}

type nodeTable struct {
	mu   sync.RWMutex // guards below
	last uint64
	byID map[uint64]*node
	dirs map[*broker.Node]*node
}

func (t *nodeTable) init(root *broker.Node) {
	t.byID, t.dirs = make(map[uint64]*node), make(map[*broker.Node]*node)
	n := &node{id: fuse.FUSE_ROOT_ID, of: root, lookups: 1}
	t.last = n.id
	t.byID[n.id], t.dirs[root] = n, n
}

// get returns nil for a number that the kernel has forgotten.
func (t *nodeTable) get(id uint64) *node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// lookup returns the node to tell the kernel of, counting that it was told.
func (t *nodeTable) lookup(of *broker.Node, fifo bool) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.dirs[of]; n != nil {
		n.lookups++
		return n
	}
	t.last++
	n := &node{id: t.last, of: of, fifo: fifo, lookups: 1}
	t.byID[n.id] = n
	if of.Kind() == broker.Dir {
		t.dirs[of] = n
	}
	return n
}

func (t *nodeTable) forget(id, times uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || id == fuse.FUSE_ROOT_ID {
		return
	}
	n.lookups -= min(times, n.lookups)
	if n.lookups > 0 {
		return
	}
	delete(t.byID, id)
	if t.dirs[n.of] == n {
		delete(t.dirs, n.of)
	}
}
