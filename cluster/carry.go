// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"cmp"
	"slices"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Passenger is a part of the cluster that has messages of its own, which the core
// carries: the map of names. Its methods are called on the core's goroutine and
// must not block.
type Passenger interface {
	// Receive takes a message of another broker's passenger; payload is its to keep.
	Receive(from peer.ID, payload []byte)
	// Lost tells that the session with a peer has ended: what was sent may not have
	// arrived.
	Lost(id peer.ID)
	// ViewChanged tells that Live has changed.
	ViewChanged()
}

// Carry sets the passenger, before Start.
func (c *Cluster) Carry(p Passenger) { c.passenger = p }

// Self returns this life of this broker.
func (c *Cluster) Self() peer.ID { return c.cfg.Self }

// Live returns all live brokers, this one included, by node. Not to be changed.
func (c *Cluster) Live() []peer.ID { return *c.lives.Load() }

// Send sends a message to another broker's passenger, from any goroutine. It does
// not wait; what goes to a broker that is not alive is dropped.
func (c *Cluster) Send(to peer.ID, payload []byte) {
	m := peer.Message{Kind: peer.Names, Text: payload}
	c.sendFrom(to, m.Kind, m.Append(nil))
}

// Open reports whether a pipe that has its home here is open anywhere, as far as
// its home knows. Any goroutine may ask.
func (c *Cluster) Open(path string) bool { return c.registry.open(path) }

// Retire tells that a name has gone, or stands for something else: ends that are
// open go on, and whoever opens it from now on meets none of them.
func (c *Cluster) Retire(path string) {
	c.events.post(func() {
		c.registry.retire(path)
		for _, t := range c.ties {
			if t.path == path {
				t.adrift = true
				t.settle() // the home may be about to note it
			}
		}
	})
}

func (c *Cluster) publishView() {
	lives := make([]peer.ID, 0, len(c.live))
	for _, id := range c.live {
		lives = append(lives, id)
	}
	slices.SortFunc(lives, func(a, b peer.ID) int { return cmp.Compare(a.Node, b.Node) })
	c.lives.Store(&lives)
}
