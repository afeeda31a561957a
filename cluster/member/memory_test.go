// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"fmt"
	"testing"
	"time"
)

// startMany starts n memberships of one network that all join at the first.
func startMany(t *testing.T, network *Network, n int) []*node {
	t.Helper()
	first := start(t, "n00", func(c *Config) { c.Transport = network.Transport() })
	nodes := []*node{first}
	for i := 1; i < n; i++ {
		nodes = append(nodes, start(t, fmt.Sprintf("n%02d", i), func(c *Config) {
			c.Transport, c.Join = network.Transport(), []string{first.addr()}
		}))
	}
	return nodes
}

// TestThirty has 30 brokers find each other, two of which go.
func TestThirty(t *testing.T) {
	network := NewNetwork()
	begun := time.Now()
	nodes := startMany(t, network, 30)
	awaitCluster(t, nodes...)
	t.Logf("30 found each other in %v", time.Since(begun))
	if packets, bytes := network.Sent(nodes[3].addr()); packets == 0 || bytes < packets {
		t.Errorf("sent %d packets, %d bytes", packets, bytes)
	}

	leaver, victim := nodes[28], nodes[29]
	if err := leaver.Leave(); err != nil {
		t.Fatal(err)
	}
	leaver.Close()
	victim.Close()
	awaitCluster(t, nodes[:28]...)
	// serf tells who leaves by a message of its own. Memberlist's, that it is gone, may
	// overtake it on its way to a few, for whom it has failed.
	overtaken := 0
	for _, n := range nodes[:28] {
		switch r, ok := n.went(leaver.id()); {
		case !ok:
			t.Errorf("%v: who left is there", n.id())
		case r != Left:
			overtaken++
		}
		if r, ok := n.went(victim.id()); !ok || r != Failed {
			t.Errorf("%v: who was killed went %v, %v", n.id(), r, ok)
		}
	}
	if overtaken > 3 {
		t.Errorf("for %d of 28 who left has failed", overtaken)
	}
}

// TestPartition cuts a network in two and joins it again.
func TestPartition(t *testing.T) {
	network := NewNetwork()
	nodes := startMany(t, network, 5)
	awaitCluster(t, nodes...)
	left := map[string]bool{nodes[1].addr(): true, nodes[2].addr(): true}
	network.Reach(func(from, to string) bool { return left[from] == left[to] })
	awaitCluster(t, nodes[1], nodes[2])
	awaitCluster(t, nodes[0], nodes[3], nodes[4])
	network.Reach(nil)
	awaitCluster(t, nodes...)
}

// TestReturnAtAddress has a broker of a network come back where it was.
func TestReturnAtAddress(t *testing.T) {
	network := NewNetwork()
	nodes := startMany(t, network, 2)
	awaitCluster(t, nodes...)
	addr := nodes[1].addr()
	if _, err := network.TransportAt(addr); err == nil {
		t.Error("two transports at one address")
	}
	nodes[1].Close()
	transport, err := network.TransportAt(addr)
	if err != nil {
		t.Fatal(err)
	}
	again := start(t, "n01", func(c *Config) { c.Transport = transport })
	awaitCluster(t, nodes[0], again)
}
