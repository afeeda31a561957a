// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package broker holds the pipes of one host by name: a tree of directories and
// pipes with owners and permissions. It knows neither FUSE nor ZeroMQ; package
// pipe has the engine, package service the ZPIPES door, package fs the mount.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// Config shapes a Broker.
type Config struct {
	Capacity int          // bytes a pipe buffers; 0: pipe.DefaultCapacity; at least pipe.Buf
	Owner    Owner        // of the root directory and of names that clients make
	Log      *slog.Logger // nil: none
	Names    Names        // nil: one host alone
	Peers    Peers        // nil: one host alone
}

// Broker is all pipes of one process. Its methods may be called from anywhere.
type Broker struct {
	cfg  Config
	log  *slog.Logger
	pool pipe.Pool
	root *Node

	mu     sync.RWMutex // guards below, and the fields of every Node
	lastID uint64
	count  int                  // nodes in the tree, the root included
	pipes  map[*pipe.Pipe]*Node // every pipe that may have ends, also of names that are gone
	closed bool

	life   context.Context // ends with Close
	end    context.CancelFunc
	asking sync.WaitGroup // for the names of clients
}

// New returns a broker with an empty root directory.
func New(cfg Config) *Broker {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Capacity == 0 {
		cfg.Capacity = pipe.DefaultCapacity
	}
	cfg.Capacity = max(cfg.Capacity, pipe.Buf)
	if cfg.Owner.Perm == 0 {
		cfg.Owner.Perm = 0o755
	}
	b := &Broker{cfg: cfg, log: cfg.Log, pipes: make(map[*pipe.Pipe]*Node)}
	b.life, b.end = context.WithCancel(context.Background())
	b.root = b.newNode(nil, "", Dir, cfg.Owner)
	return b
}

// Root returns the root directory.
func (b *Broker) Root() *Node { return b.root }

// Pool returns the buffers that the broker's pipes share.
func (b *Broker) Pool() *pipe.Pool { return &b.pool }

// Alone reports that there are no other hosts: calls about names do not wait.
func (b *Broker) Alone() bool { return b.cfg.Names == nil }

// Capacity is how many bytes a pipe buffers.
func (b *Broker) Capacity() int { return b.cfg.Capacity }

// Close ends all pipes: waiting reads get io.EOF, writes pipe.ErrBroken, opens
// pipe.ErrClosed, now and ever after. Names stay readable.
func (b *Broker) Close() {
	b.mu.Lock()
	b.closed = true
	var all []*pipe.Pipe
	for p := range b.pipes {
		all = append(all, p)
	}
	b.mu.Unlock()
	b.end()
	for _, p := range all {
		p.Shutdown()
	}
	b.asking.Wait()
}

// Open opens an end, or both, of the pipe that n names; op.Done tells. An
// exclusive pipe whose pair has parted is replaced by a new one first.
//
// Errors in op.Err: those of pipe.Pipe.Open, and ErrIsDir.
func (b *Broker) Open(n *Node, op *pipe.OpenOp) {
	for {
		p, err := b.pin(n)
		if err != nil {
			op.Err = err
			op.Done(op)
			return
		}
		// A name that is gone may be another pipe's by now.
		if path, named := b.Path(n); named && b.cfg.Peers != nil {
			b.enter(n, p, path, op)
			return
		}
		err = p.Open(op)
		b.unpin(n)
		if err == nil {
			return
		}
	}
}

// enter opens ends that may have partners on other hosts: those are met first.
func (b *Broker) enter(n *Node, p *pipe.Pipe, path string, op *pipe.OpenOp) {
	e := &Entering{Read: op.Read, Write: op.Write}
	e.Done = func(err error) {
		defer b.unpin(n)
		op.Voice = e.Voice
		if err == nil {
			err = p.Open(op)
		} else {
			p.Depart(op)
		}
		switch {
		case errors.Is(err, pipe.ErrSpent):
			b.Open(n, op) // the name stands for a new pipe
		case err != nil:
			op.Fail(err)
		}
	}
	p.Arrive(op)
	op.Before(func() bool {
		if e.withdraw() {
			b.cfg.Peers.Leave(p, e)
		}
		return false
	})
	if op.Withdrawn() {
		e.withdraw()
	}
	b.cfg.Peers.Enter(p, path, e)
}

// pin returns the pipe that n stands for now and keeps the name from going away
// before an end is open.
func (b *Broker) pin(n *Node) (*pipe.Pipe, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n.kind != Pipe {
		return nil, ErrIsDir
	}
	if b.closed {
		return nil, pipe.ErrClosed
	}
	n.pins++
	if n.pipe != nil {
		if _, spent := n.pipe.Busy(); !spent {
			return n.pipe, nil
		}
		n.retire()
	}
	n.pipe = b.newPipe(n)
	return n.pipe, nil
}

func (b *Broker) unpin(n *Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.pins--
	b.tidy(n)
}

// newPipe is called with the lock held.
func (b *Broker) newPipe(n *Node) *pipe.Pipe {
	var p *pipe.Pipe
	p = pipe.New(pipe.Config{
		Mode:     n.mode,
		Capacity: b.cfg.Capacity,
		Pool:     &b.pool,
		Idle:     func() { b.idle(n, p) },
	})
	b.pipes[p] = n
	return p
}

// idle runs when the last end of p has closed, which may be long ago.
func (b *Broker) idle(n *Node, p *pipe.Pipe) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if open, spent := p.Busy(); !open && spent {
		b.forget(n, p)
	}
	b.tidy(n)
}

// forget drops a pipe that has no ends and that nobody can reach any more.
func (b *Broker) forget(n *Node, p *pipe.Pipe) {
	delete(b.pipes, p)
	if n.pipe == p {
		n.retire()
	}
}

// tidy removes a name that a client's open made, and the pipe of a name that is
// gone, and gives a pipe the mode that waits for it, once nothing holds it.
func (b *Broker) tidy(n *Node) {
	b.settle(n)
	if n.parent == nil && n.pipe != nil && !n.busy() {
		b.forget(n, n.pipe)
	}
	for n.transient && n.parent != nil && !n.busy() && len(n.children) == 0 {
		parent := n.parent
		if b.cfg.Names != nil && n.kind == Pipe {
			b.cfg.Names.Drop(n.path())
		}
		b.unlink(n)
		n = parent
	}
}

// Usage is what df shows.
type Usage struct {
	Names    int // pipes and directories, the root included
	Pipes    int // pipes that have had an end
	Buffered int // bytes in all pipes
}

// Usage returns the broker's totals.
func (b *Broker) Usage() Usage {
	b.mu.RLock()
	defer b.mu.RUnlock()
	u := Usage{Names: b.count, Pipes: len(b.pipes)}
	for p := range b.pipes {
		u.Buffered += p.Stat().Buffered
	}
	return u
}
