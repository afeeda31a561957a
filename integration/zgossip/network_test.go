// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

const anyPort = "tcp://127.0.0.1:*"

// patientTimeout is a server/timeout that no test outlasts. CZMQ's nodes drop each
// other in silence after it, as they never say PING; what is told meanwhile is
// lost between them.
const patientTimeout = "600000"

func expectDeliveries(t *testing.T, who string, n node, want []string) {
	t.Helper()
	eventually(t, func() string { return fmt.Sprintf("%s delivered %q, want %q", who, n.deliveries(), want) },
		func() bool { return len(n.deliveries()) >= len(want) })
	if got := n.deliveries(); !slices.Equal(got, want) {
		t.Errorf("%s delivered %q, want %q", who, got, want)
	}
}

func expectTuples(t *testing.T, who string, n node, want map[string]string) {
	t.Helper()
	eventually(t, func() string {
		return fmt.Sprintf("%s has %d tuples, want %d, or others", who, len(n.tuples()), len(want))
	}, func() bool { return maps.Equal(n.tuples(), want) })
}

// TestSeedExample is that of zgossip(3), with each of its three nodes CZMQ's or
// ours, in every way.
func TestSeedExample(t *testing.T) {
	for i := range 8 {
		base, alpha, beta := kinds[i&1], kinds[i>>1&1], kinds[i>>2&1]
		t.Run(fmt.Sprintf("base %s, alpha %s, beta %s", base.name, alpha.name, beta.name), func(t *testing.T) {
			b := base.start(t)
			b.set("server/timeout", "1000") // 100 in the example, which a busy machine cannot keep
			at := b.bind(anyPort)
			a := alpha.start(t)
			a.connect(at)
			a.publish("inproc://alpha-1", "service1")
			a.publish("inproc://alpha-2", "service2")
			// The example sleeps for 200 ms at its end and leaves the order of alpha and
			// beta at base to chance. Here alpha is first.
			first := []string{"inproc://alpha-1=service1", "inproc://alpha-2=service2"}
			expectTuples(t, "base", b, map[string]string{"inproc://alpha-1": "service1", "inproc://alpha-2": "service2"})
			z := beta.start(t)
			z.connect(at)
			z.publish("inproc://beta-1", "service1")
			z.publish("inproc://beta-2", "service2")
			all := append(first, "inproc://beta-1=service1", "inproc://beta-2=service2")
			expectDeliveries(t, "alpha", a, all)
			expectDeliveries(t, "base", b, all)
			for name, n := range map[string]node{"base": b, "alpha": a, "beta": z} {
				expectTuples(t, name, n, map[string]string{
					"inproc://alpha-1": "service1", "inproc://alpha-2": "service2",
					"inproc://beta-1": "service1", "inproc://beta-2": "service2",
				})
				if got := len(n.deliveries()); got != 4 {
					t.Errorf("%s delivered %d tuples, want each once: %q", name, got, n.deliveries())
				}
				if got := n.status(); got != 4 {
					t.Errorf("%s: STATUS %d, want 4", name, got)
				}
			}
		})
	}
}

// ring is a network in which each node connects to the one before, and the first
// to the last.
type ring struct {
	t     *testing.T
	nodes []node
	at    []string
	want  map[string]string
}

func newRing(t *testing.T, size int) *ring {
	r := &ring{t: t, nodes: make([]node, size), at: make([]string, size), want: make(map[string]string)}
	for i := range r.nodes {
		r.start(i, anyPort)
	}
	for i := range r.nodes {
		r.join(i)
	}
	return r
}

// start makes node i, CZMQ's if i is odd.
func (r *ring) start(i int, endpoint string) {
	r.nodes[i] = kinds[i%2].start(r.t)
	r.nodes[i].set("server/timeout", patientTimeout)
	r.at[i] = r.nodes[i].bind(endpoint)
}

func (r *ring) join(i int) {
	r.nodes[i].connect(r.at[(i+len(r.at)-1)%len(r.at)])
}

func (r *ring) publish(i int, key, value string) {
	r.nodes[i].publish(key, value)
	r.want[key] = value
}

// converged waits until all nodes hold what was published.
func (r *ring) converged() {
	r.t.Helper()
	for i, n := range r.nodes {
		expectTuples(r.t, fmt.Sprintf("node %d (%s)", i, kinds[i%2].name), n, r.want)
		if got := n.status(); got != len(r.want) {
			r.t.Errorf("node %d: STATUS %d, want %d", i, got, len(r.want))
		}
	}
}

// TestRing publishes 1,000 tuples from all sides of a ring of five CZMQ nodes and
// five of ours, kills two, and starts them again.
func TestRing(t *testing.T) {
	r := newRing(t, 10)
	for i := range 1000 {
		r.publish(i%10, fmt.Sprintf("key-%d", i), fmt.Sprintf("value-%d", i))
	}
	r.converged()

	for _, i := range []int{4, 7} { // one of each kind
		r.nodes[i].kill()
	}
	// While they are away others publish.
	for i := range 20 {
		r.publish(i%2, fmt.Sprintf("later-%d", i), "while two are away")
	}
	for _, i := range []int{4, 7} {
		r.start(i, r.at[i])
		r.join(i)
		r.publish(i, fmt.Sprintf("again-%d", i), "back")
	}
	r.converged()
}

// TestLateJoiner has nodes join a network that is at rest.
func TestLateJoiner(t *testing.T) {
	for _, server := range kinds {
		for _, late := range kinds {
			t.Run(late.name+" joins "+server.name, func(t *testing.T) {
				s := server.start(t)
				s.set("server/timeout", patientTimeout)
				at := s.bind(anyPort)
				want := make(map[string]string)
				for i := range 300 {
					key := fmt.Sprintf("k%d", i)
					s.publish(key, "v")
					want[key] = "v"
				}
				n := late.start(t)
				n.connect(at)
				expectTuples(t, "the late one", n, want)
				n.publish("mine", "too")
				want["mine"] = "too"
				expectTuples(t, "the server", s, want)
			})
		}
	}
}
