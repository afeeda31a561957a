// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"fmt"
	"testing"

	zmq "github.com/pebbe/zmq4"
)

// TestTwoHundred has 200 nodes in one network, a tree in which neighbours are also
// connected across, so that it has cycles. Each publishes a tuple; all end with the
// same tuples, and no tuple goes over a connection more than once each way.
func TestTwoHundred(t *testing.T) {
	const nodes = 200
	shared, err := zmq.NewContext()
	must(t, err)
	must(t, shared.SetMaxSockets(16*nodes))
	t.Cleanup(func() { must(t, shared.Term()) })
	var all []*Node
	links := 0
	for i := range nodes {
		n := start(t, Config{Context: shared})
		must(t, n.Set("server/timeout", "600000")) // a busy machine is no silent client
		bind(t, n, fmt.Sprint("inproc://node-", i))
		to := map[int]bool{}
		if i > 0 {
			to[(i-1)/3] = true
			to[i-1] = true
		}
		for j := range to {
			must(t, n.Connect(fmt.Sprint("inproc://node-", j), ""))
			links++
		}
		all = append(all, n)
	}
	for i, n := range all {
		must(t, n.Publish(fmt.Sprint("key-", i), fmt.Sprint("value-", i), 0))
	}
	eventually(t, "all nodes have all tuples", func() bool {
		for _, n := range all {
			if got, err := n.Status(); err != nil || got != nodes {
				return false
			}
		}
		return true
	})
	var sent uint64
	for i, n := range all {
		for _, j := range []int{0, i, nodes - 1} {
			if got := valueOf(t, n, fmt.Sprint("key-", j)); got != fmt.Sprint("value-", j) {
				t.Fatalf("node %d has %q of node %d", i, got, j)
			}
		}
		s, err := n.Stats()
		must(t, err)
		sent += s.Sent
	}
	per := float64(sent) / nodes
	t.Logf("%d nodes, %d connections: %.1f messages a tuple", nodes, links, per)
	if per > float64(2*links) || per < nodes-1 {
		t.Errorf("%.1f messages a tuple over %d connections", per, links)
	}
}
