// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package zgossip is a node of a gossip network: it publishes key-value tuples,
// learns those of all other nodes, and forwards them. Nodes of CZMQ's zgossip are
// in the same network. See DESIGN.md.
package zgossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	zmq "github.com/pebbe/zmq4"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// Errors of a node. Most come wrapped with what was tried.
var (
	ErrClosed    = errors.New("gossip node is closed")
	ErrInUse     = errors.New("somebody serves this endpoint")
	ErrEndpoint  = errors.New("not an endpoint: want tcp://ADDRESS:PORT, ipc://PATH or inproc://NAME")
	ErrKey       = errors.New("not a CURVE key: want 40 characters of Z85, and a public key that belongs to the secret one")
	ErrShared    = errors.New("a node that shares its context cannot serve with CURVE")
	ErrConnected = errors.New("connected already, with another key or none")
	ErrTuple     = errors.New("not a tuple")
	ErrTTL       = errors.New("a ttl is 0, or one second to 49 days")
	ErrFull      = errors.New("no room for more tuples")
	ErrConfig    = errors.New("wrong configuration")
	ErrUnsynced  = errors.New("not every server has answered")
)

// What Config leaves zero, and the bounds of a ttl.
const (
	DefaultTimeout   = time.Second // server/timeout
	DefaultZAPDomain = "global"
	DefaultMaxBytes  = 64 << 20

	MinTTL = time.Second
	MaxTTL = math.MaxUint32 * time.Millisecond
)

// maxSockets is for a context of the node's own; a remote takes three.
const maxSockets = 16384

// Config shapes a Node. The zero value will do.
type Config struct {
	// Context is that of the sockets. Nodes that are to reach each other by inproc
	// share one, which is to be ended by its owner after they were closed; it must
	// not have a ZAP handler that refuses them. Nil: one of the node's own.
	Context *zmq.Context

	MaxValue int // longest value, in bytes; 0: wire.DefaultMaxValue
	MaxBytes int // of all tuples, each counted with 256 bytes besides its texts; 0: DefaultMaxBytes

	// Allow says which clients may connect to an endpoint with CURVE, by their
	// public key (Z85). Nil: whoever knows the node's public key. It runs in the
	// node's goroutine and must not wait.
	Allow func(domain, publicKey string) bool

	Log *slog.Logger // nil: none
}

func (c *Config) fill() {
	if c.MaxValue <= 0 {
		c.MaxValue = wire.DefaultMaxValue
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Node is a running node. Its methods may be called from anywhere; each returns
// when it is done, and ErrClosed after Close.
type Node struct {
	loop    *loop
	context *zmq.Context // nil: not ours to end
	running sync.WaitGroup
	done    chan struct{} // closed when the loop has ended
	closing sync.Once
}

// Start starts a node, which has no endpoint and no neighbour yet.
func Start(cfg Config) (*Node, error) {
	cfg.fill()
	if err := seedRoutingIDs(); err != nil {
		return nil, fmt.Errorf("start gossip node: %w", err)
	}
	n := &Node{done: make(chan struct{})}
	ctx := cfg.Context
	if ctx == nil {
		var err error
		if ctx, err = zmq.NewContext(); err != nil {
			return nil, fmt.Errorf("start gossip node: make ZeroMQ context: %w", err)
		}
		n.context = ctx
		if err := ctx.SetMaxSockets(maxSockets); err != nil {
			return nil, errors.Join(fmt.Errorf("start gossip node: set up ZeroMQ context: %w", err), n.term())
		}
	}
	n.loop = newLoop(cfg, ctx)
	ready := make(chan error)
	n.running.Go(func() {
		defer close(n.done)
		defer close(n.loop.events.ended)
		n.loop.run(ready)
	})
	if err := <-ready; err != nil {
		n.running.Wait()
		return nil, errors.Join(fmt.Errorf("start gossip node: %w", err), n.term())
	}
	return n, nil
}

func (n *Node) term() error {
	if n.context == nil {
		return nil
	}
	if err := n.context.Term(); err != nil {
		return fmt.Errorf("end ZeroMQ context: %w", err)
	}
	return nil
}

// Close ends the node at once: what neighbours were not told yet they will not be
// (Settle waits for that). It returns when no goroutine or socket is left;
// ErrClosed if it was closed before.
func (n *Node) Close() error {
	err := ErrClosed
	n.closing.Do(func() {
		_ = n.do(func(l *loop) error { l.stopped = true; return nil })
		n.running.Wait()
		err = errors.Join(n.loop.err, n.term())
	})
	return err
}

// Done is closed when the node has ended: by Close, or by itself, and then Close
// returns why.
func (n *Node) Done() <-chan struct{} { return n.done }

// do runs a command in the loop.
func (n *Node) do(run func(*loop) error) error {
	done := make(chan error, 1)
	if !n.loop.box.Put(command{run, done}) {
		return ErrClosed
	}
	return <-done
}

// Bind serves clients at an endpoint and returns it, with the port that was chosen
// for "*". Keys and ZAP domain are those set before.
func (n *Node) Bind(endpoint string) (string, error) {
	var bound string
	err := n.do(func(l *loop) (err error) {
		bound, err = l.bind(endpoint)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("bind %s: %w", endpoint, err)
	}
	return bound, nil
}

// Port returns the port of the last TCP endpoint that was bound, or 0.
func (n *Node) Port() (port int, err error) {
	err = n.do(func(l *loop) error { port = l.port; return nil })
	return port, err
}

// Connect makes the server at an endpoint a neighbour, now or whenever it is
// there, and again when the connection was lost. With the server's public key
// (Z85) the connection uses CURVE, with this node's keys set before, or a pair made
// for it; with an empty one it is plain text.
func (n *Node) Connect(endpoint, serverKey string) error {
	err := n.do(func(l *loop) error {
		if serverKey != "" && !ValidKey(serverKey) {
			return ErrKey
		}
		return l.connect(endpoint, serverKey)
	})
	if err != nil {
		return fmt.Errorf("connect %s: %w", endpoint, err)
	}
	return nil
}

// Publish tells the network a tuple, in the place of whatever has its key. With a
// ttl the network forgets it that long after this node has ended or unpublished
// it, and until then this node insists on it, if others publish the key. Without,
// it is never forgotten, and the last value counts. Once a tuple has a ttl it keeps
// one until its value changes; a shorter one counts when the longer has run out.
//
// Errors: ErrTuple for a key or value that the wire cannot carry, ErrTTL, ErrFull.
func (n *Node) Publish(key, value string, ttl time.Duration) error {
	err := n.do(func(l *loop) error {
		if ttl != 0 && (ttl < MinTTL || ttl > MaxTTL) {
			return ErrTTL
		}
		if _, err := l.limits.Append(nil, wire.Message{ID: wire.Publish, Key: key, Value: value}); err != nil {
			return fmt.Errorf("%w: %w", ErrTuple, err)
		}
		return l.publish(key, value, ttl)
	})
	if err != nil {
		return fmt.Errorf("publish %.40q: %w", key, err)
	}
	return nil
}

// Unpublish forgets a tuple here, and refreshes it no longer. As in CZMQ, other
// nodes are not told, and may tell it again.
func (n *Node) Unpublish(key string) error {
	return n.do(func(l *loop) error {
		if t := l.table.tuples[key]; t != nil {
			l.forget(t)
		}
		return nil
	})
}

// Status returns the number of tuples held.
func (n *Node) Status() (tuples int, err error) {
	err = n.do(func(l *loop) error { tuples = len(l.table.tuples); return nil })
	return tuples, err
}

// Get returns a tuple's value, and whether there is one.
func (n *Node) Get(key string) (value string, ok bool, err error) {
	err = n.do(func(l *loop) error {
		if t := l.table.tuples[key]; t != nil {
			value, ok = t.value, true
		}
		return nil
	})
	return value, ok, err
}

// Next waits for the next event: DELIVER for each tuple that is new or has another
// value, in the order they were learned, and EXPIRE. If events are not taken for
// long, of those about a key only the last is kept. ErrClosed after the last one of
// a node that has ended, or the context's cause.
func (n *Node) Next(ctx context.Context) (Event, error) { return n.loop.events.next(ctx) }

// Settle waits until each server that the node connects to has told what it holds
// and has handled all that this node holds now. ErrUnsynced, with the endpoints
// that have not, when the context ends first.
func (n *Node) Settle(ctx context.Context) error {
	done := make(chan struct{})
	err := n.do(func(l *loop) error {
		l.waiters = append(l.waiters, waiter{l.table.last, done})
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-n.done:
		return ErrClosed
	case <-ctx.Done():
	}
	var missing []string
	err = n.do(func(l *loop) error {
		missing = l.giveUp(done)
		return nil
	})
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrUnsynced, strings.Join(missing, ", "), context.Cause(ctx))
}

// SetVerbose has the node log what it does at level Info, not Debug.
func (n *Node) SetVerbose() error {
	return n.do(func(l *loop) error { l.verbose = true; return nil })
}

// Stats counts what a node has done.
type Stats struct {
	Clients, Remotes int // now

	Received   uint64 // messages
	Malformed  uint64 // of those
	Duplicates uint64 // PUBLISH of a tuple that is known
	Sent       uint64 // PUBLISH to neighbours
	Delivered  uint64 // tuples learned or published
	Expired    uint64 // tuples
	Refused    uint64 // tuples that there was no room for
	Invalid    uint64 // clients answered INVALID
	Silent     uint64 // clients dropped since they were silent
	Reopened   uint64 // connections made anew
	Unwelcome  uint64 // clients refused for their key
}

// Stats returns the counts.
func (n *Node) Stats() (s Stats, err error) {
	err = n.do(func(l *loop) error { s = l.stats; return nil })
	return s, err
}
