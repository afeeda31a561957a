// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// What Config leaves zero.
const (
	DefaultFailureTimeout = 5 * time.Second
	DefaultMaxQueue       = 64 << 20
	DefaultMaxMessage     = 16 << 20
	DefaultWindow         = 8 << 20
)

const (
	minHeartbeat = 50 * time.Millisecond
	// ackDelay is how long what came may stay unacknowledged while little comes.
	ackDelay = 20 * time.Millisecond
	// helloEvery is how often a session that does not stand yet is offered.
	helloEvery = 250 * time.Millisecond
	// frameSize is how many octets of messages a frame gathers. Beyond it a copy
	// less per message gains nothing, and what is urgent waits for longer.
	frameSize = 256 << 10
	// frameMessages is how many messages a frame may have.
	frameMessages = 1 << 12
	// maxNode is how long a node's name may be, since ZeroMQ's routing ids have at
	// most 255 octets.
	maxNode = 240
)

// Config shapes the links of a broker.
type Config struct {
	// ID is this life of this broker. Node has 1 to 240 octets.
	ID peer.ID

	// Handler is told what comes. Required.
	Handler Handler

	// Bind is where peers come in, "tcp://address:port"; port 0 or * is any free
	// one. Unused by Network.
	Bind string

	// Advertise is the host name or address by which peers reach Bind, without a
	// port. It is needed if Bind's address is a wildcard: peers cannot connect to
	// that. Empty: the address that was bound.
	Advertise string

	// Curve encrypts and lets in nobody but the peers that are up. All brokers of a
	// cluster agree on it: one with and one without cannot talk.
	Curve bool

	// FailureTimeout is how long a peer may be silent, or its link be cut, before
	// the session is lost, although membership says that it is alive. Shorter: a
	// stutter of the network becomes an error that programs see. Longer: programs
	// wait longer for the end of a broken link. Brokers should agree on it: the
	// shortest decides. At least 200 ms. 0: DefaultFailureTimeout.
	FailureTimeout time.Duration

	// Heartbeat is how often something is sent to an idle peer. More than a
	// third of FailureTimeout, and one lost packet may lose a session; very short,
	// and many idle peers are a load. 0: an eighth of FailureTimeout, at least 50 ms.
	Heartbeat time.Duration

	// MaxQueue bounds the bytes that wait for one peer because its link is slow
	// or cut; Sources do not count, they keep what they have. Beyond it the session
	// is lost. 0: DefaultMaxQueue.
	MaxQueue int

	// MaxMessage bounds a message in bytes. One that is longer loses the session,
	// at the sender and at the receiver, so all brokers must agree on it. It is also the
	// memory that a hostile peer can have taken. 0: DefaultMaxMessage.
	MaxMessage int

	// Window bounds the bytes from Sources that are sent to a peer and not yet
	// acknowledged. Less than bandwidth times round-trip time costs throughput; more
	// costs memory while the link is cut. 0: DefaultWindow.
	Window int

	// Pool is where bodies that come get memory from, to be shared with the broker's
	// pipes. Nil: one of its own.
	Pool *pipe.Pool

	// Log gets what an operator must know. Nil: none.
	Log *slog.Logger
}

// fill sets what is left zero and reports what cannot be.
func (c *Config) fill() error {
	if c.FailureTimeout == 0 {
		c.FailureTimeout = DefaultFailureTimeout
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = max(c.FailureTimeout/8, minHeartbeat)
	}
	if c.MaxQueue == 0 {
		c.MaxQueue = DefaultMaxQueue
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.Pool == nil {
		c.Pool = new(pipe.Pool)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Handler == nil:
		return fmt.Errorf("%w: no handler", ErrConfig)
	case c.ID.Node == "" || len(c.ID.Node) > maxNode:
		return fmt.Errorf("%w: node name has %d octets; it must have 1 to %d", ErrConfig, len(c.ID.Node), maxNode)
	case c.FailureTimeout < 200*time.Millisecond:
		return fmt.Errorf("%w: failure timeout is %v; it must be at least 200 ms", ErrConfig, c.FailureTimeout)
	case c.Heartbeat < 0 || c.Heartbeat > c.FailureTimeout/2:
		return fmt.Errorf("%w: heartbeat is %v; it must be at most half of the failure timeout, %v", ErrConfig, c.Heartbeat, c.FailureTimeout)
	case c.MaxQueue < 0 || c.MaxMessage < frameSize || c.Window < 0:
		return fmt.Errorf("%w: limits of %d, %d and %d bytes; none may be negative, and a message's must be at least %d",
			ErrConfig, c.MaxQueue, c.MaxMessage, c.Window, frameSize)
	}
	return nil
}
