// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"net"
	"testing"
	"time"
)

// silent returns addresses that take connections and say nothing.
func silent(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// Seeds that do not answer do not hold up a join through others, and are not all
// tried at once.
func TestDeadSeeds(t *testing.T) {
	dead := silent(t, 24)
	live := start(t, "live", nil)
	begun := time.Now()
	n := start(t, "n", joining(append(dead, live.addr())...))
	awaitCluster(t, live, n)
	const told = "cannot join through this address, trying on"
	await(t, "each dead seed is told", func() bool { return len(n.log.lines(told)) == len(dead) })
	took, one := time.Since(begun), timings[Local].stream
	if took < 2*one || took > time.Duration(len(dead))*one/2 {
		t.Errorf("all %d were tried in %v, one takes %v", len(dead), took, one)
	}
	for _, addr := range dead {
		if lines := n.log.lines(told, "addr="+addr); len(lines) != 1 {
			t.Errorf("lines of %s: %q", addr, lines)
		}
	}
}

// That several seeds are brokers of one cluster leaves no trace in their logs.
func TestManySeedsOfOneCluster(t *testing.T) {
	nodes := []*node{start(t, "n0", nil)}
	var addrs []string
	for _, name := range []string{"n1", "n2", "n3"} {
		nodes = append(nodes, start(t, name, joining(nodes[0].addr())))
	}
	for _, n := range nodes {
		addrs = append(addrs, n.addr())
	}
	awaitCluster(t, nodes...)
	late := start(t, "late", joining(append(addrs, "localhost:1")...))
	nodes = append(nodes, late)
	awaitCluster(t, nodes...)
	for _, n := range nodes {
		for _, line := range n.log.lines("level=WARN") {
			if n != late {
				t.Errorf("%v: %s", n.id(), line)
			}
		}
	}
	if lines := late.log.lines("level=WARN"); len(lines) != 1 {
		t.Errorf("late, with one dead seed: %q", lines)
	}
}
