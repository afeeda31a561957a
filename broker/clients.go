// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// OpenName opens an end of the pipe at path for a client of the broker. A name
// that does not exist on any host is made, exclusive as zbroker's pipes are, with
// the directories it needs; what was made so goes when the last end closes.
//
// Errors in op.Err: those of Open and of Names, ErrName, ErrTooLong, ErrNotDir.
func (b *Broker) OpenName(path string, op *pipe.OpenOp) {
	if b.cfg.Names != nil && !b.known(path) {
		b.meetName(path, op)
		return
	}
	b.openName(path, op)
}

func (b *Broker) openName(path string, op *pipe.OpenOp) {
	n, err := b.pinName(path)
	if err != nil {
		op.Fail(fmt.Errorf("open %q: %w", path, err))
		return
	}
	defer b.unpin(n)
	b.Open(n, op)
}

// known reports that path need not be asked for: it is here, or cannot be.
func (b *Broker) known(path string) bool {
	if CheckName(path) != nil {
		return true
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	n := b.root
	for part := range strings.SplitSeq(path, "/") {
		if n.kind != Dir {
			return true
		}
		if n = n.children[part]; n == nil {
			return false
		}
	}
	return !n.doubtful()
}

// meetName opens path once the other hosts have said whether it is theirs, too.
func (b *Broker) meetName(path string, op *pipe.OpenOp) {
	owner := b.cfg.Owner
	owner.Perm &= 0o666
	ctx, cancel := context.WithCancel(b.life)
	var decided atomic.Bool
	op.Before(func() bool {
		if decided.Swap(true) {
			return false
		}
		cancel()
		return true
	})
	started := b.ask(func() {
		defer cancel()
		err := b.cfg.Names.Make(ctx, Entry{Path: path, Kind: Pipe, Mode: pipe.Exclusive, Owner: owner, Transient: true})
		if decided.Swap(true) {
			return
		}
		op.Before(nil)
		switch {
		case b.life.Err() != nil:
			op.Fail(pipe.ErrClosed)
			return
		case err != nil && !errors.Is(err, fs.ErrExist):
			op.Fail(fmt.Errorf("open %q: %w", path, err))
			return
		}
		b.openName(path, op)
	})
	if !started {
		cancel()
		op.Before(nil)
		op.Fail(pipe.ErrClosed)
	}
}

// ask runs f on a goroutine that Close waits for, unless the broker is closed.
func (b *Broker) ask(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.asking.Go(f)
	}
	return !b.closed
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
	return n
}
