// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// network is nodes that are connected somehow, each with endpoints of its own.
type network struct {
	t     *testing.T
	nodes []*Node
	at    []string
	edges int
}

func newNetwork(t *testing.T, size int, timeout string) *network {
	w := &network{t: t, nodes: make([]*Node, size), at: make([]string, size)}
	ctx := sharedContext(t)
	dir := t.TempDir()
	for i := range w.nodes {
		w.nodes[i] = start(t, Config{Context: ctx})
		must(t, w.nodes[i].Set("server/timeout", timeout))
		endpoint := "tcp://127.0.0.1:*"
		switch i % 3 {
		case 1:
			endpoint = "ipc://" + filepath.Join(dir, fmt.Sprint(i))
		case 2:
			endpoint = fmt.Sprintf("inproc://node-%d", i)
		}
		w.at[i] = bind(t, w.nodes[i], endpoint)
	}
	return w
}

func (w *network) connect(from, to int) {
	w.t.Helper()
	must(w.t, w.nodes[from].Connect(w.at[to], ""))
	w.edges++
}

func (w *network) settle() {
	w.t.Helper()
	for _, n := range w.nodes {
		settle(w.t, n)
	}
}

// state is a node's tuples, sorted.
func state(t *testing.T, n *Node) []string {
	t.Helper()
	var all []string
	must(t, n.do(func(l *loop) error {
		for _, x := range l.table.tuples {
			all = append(all, x.key+"="+x.value)
		}
		return nil
	}))
	slices.Sort(all)
	return all
}

func (w *network) converged(want int) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("all have %d tuples", want), func() bool {
		return !slices.ContainsFunc(w.nodes, func(n *Node) bool {
			have, err := n.Status()
			return err != nil || have != want
		})
	})
	first := state(w.t, w.nodes[0])
	for i, n := range w.nodes {
		if !slices.Equal(state(w.t, n), first) {
			w.t.Errorf("nodes 0 and %d hold different tuples", i)
		}
	}
}

func (w *network) sum() (total Stats) {
	w.t.Helper()
	for _, n := range w.nodes {
		s, err := n.Stats()
		must(w.t, err)
		total.Sent += s.Sent
		total.Duplicates += s.Duplicates
		total.Delivered += s.Delivered
		total.Received += s.Received
		total.Reopened += s.Reopened
	}
	return total
}

// TestTwoHundred has 200 nodes, in a random tree with 100 more connections that
// make circles, over tcp, ipc and inproc, reach one state, and counts.
func TestTwoHundred(t *testing.T) {
	const size, more, tuples = 200, 100, 400
	r := rand.New(rand.NewPCG(200, 1))
	w := newNetwork(t, size, "60000")
	taken := make(map[[2]int]bool)
	join := func(from, to int) {
		if from != to && !taken[[2]int{from, to}] && !taken[[2]int{to, from}] {
			taken[[2]int{from, to}] = true
			w.connect(from, to)
		}
	}
	for i := 1; i < size; i++ {
		join(i, r.IntN(i))
	}
	for range more {
		join(r.IntN(size), r.IntN(size))
	}
	w.settle()
	begun := time.Now()
	for i := range tuples {
		must(t, w.nodes[r.IntN(size)].Publish(fmt.Sprintf("key-%d", i), fmt.Sprintf("value-%d", i), 0))
	}
	w.converged(tuples)
	took := time.Since(begun)
	sum := w.sum()
	t.Logf("%d connections, %d tuples in %v: %.1f PUBLISH a tuple, %.1f of them duplicates",
		w.edges, tuples, took, float64(sum.Sent)/tuples, float64(sum.Duplicates)/tuples)
	if sum.Delivered != size*tuples {
		t.Errorf("%d deliveries, want %d: each tuple once at each node", sum.Delivered, size*tuples)
	}
	// No connection carries a tuple more than once in each direction, and none back
	// to where a node learned it.
	if most := uint64(tuples * (2*w.edges - (size - 1))); sum.Sent > most || sum.Sent < tuples*(size-1) {
		t.Errorf("%d PUBLISH, want %d to %d", sum.Sent, tuples*(size-1), most)
	}
}

// TestKilledAndBack has servers and clients go and come back, with others
// publishing meanwhile.
func TestKilledAndBack(t *testing.T) {
	for _, endpoint := range []string{"tcp://127.0.0.1:*", "ipc://" + filepath.Join(t.TempDir(), "s"), "inproc://server"} {
		t.Run(endpoint[:6], func(t *testing.T) {
			ctx := sharedContext(t)
			server := start(t, Config{Context: ctx})
			at := bind(t, server, endpoint)
			client := start(t, Config{Context: ctx})
			must(t, client.Connect(at, ""))
			must(t, client.Publish("before", "1", 0))
			settle(t, client)
			must(t, server.Close())
			must(t, client.Publish("meanwhile", "2", 0))
			must(t, client.Publish("before", "changed", 0))

			server = start(t, Config{Context: ctx})
			must(t, server.Publish("server", "again", 0))
			eventually(t, "the endpoint is free", func() bool {
				_, err := server.Bind(at)
				return err == nil
			})
			settle(t, client)
			want := []string{"before=changed", "meanwhile=2", "server=again"}
			for name, n := range map[string]*Node{"client": client, "server": server} {
				if got := state(t, n); !slices.Equal(got, want) {
					t.Errorf("the %s has %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestRestartedPublisher: of all that a publisher of ours has ever told, what it
// tells last remains, whichever end of a connection it is, and in circles.
func TestRestartedPublisher(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprint("ttl ", ttl), func(t *testing.T) {
			w := newNetwork(t, 5, "60000")
			for i := range w.nodes {
				w.connect(i, (i+1)%5)
			}
			var publisher *Node
			for life := range 5 {
				publisher = start(t, Config{})
				must(t, publisher.Publish("broker", fmt.Sprint("life ", life), ttl))
				if life%2 == 0 { // as a client of two
					must(t, publisher.Connect(w.at[0], ""))
					must(t, publisher.Connect(w.at[3], ""))
					settle(t, publisher)
				} else { // as a server
					at := bind(t, publisher, "tcp://127.0.0.1:*")
					must(t, w.nodes[4].Connect(at, ""))
					must(t, w.nodes[1].Connect(at, ""))
				}
				for _, n := range w.nodes {
					eventuallyValue(t, n, "broker", fmt.Sprint("life ", life))
				}
				must(t, publisher.Close())
			}
		})
	}
}

// TestLastWordCounts: without a ttl, who published a key before gives way.
func TestLastWordCounts(t *testing.T) {
	w := newNetwork(t, 3, "60000")
	w.connect(0, 1)
	w.connect(1, 2)
	w.settle()
	for i := range 9 {
		must(t, w.nodes[i%3].Publish("k", fmt.Sprint(i), 0))
		for _, n := range w.nodes {
			eventuallyValue(t, n, "k", fmt.Sprint(i))
		}
	}
	// Also a value that was there before.
	for i := range 4 {
		must(t, w.nodes[i%2].Publish("switch", []string{"on", "off"}[i%2], 0))
		for _, n := range w.nodes {
			eventuallyValue(t, n, "switch", []string{"on", "off"}[i%2])
		}
	}
}

// TestTwoPublishersAtOnce: whoever wins, all agree, and fall silent.
func TestTwoPublishersAtOnce(t *testing.T) {
	w := newNetwork(t, 4, "60000")
	for i := range w.nodes {
		w.connect(i, (i+1)%4)
	}
	w.settle()
	for round := range 20 {
		must(t, w.nodes[round%4].Publish("k", fmt.Sprint("a", round), 0))
		must(t, w.nodes[(round+2)%4].Publish("k", fmt.Sprint("b", round), 0))
	}
	w.agree("k")
}

// agree waits until all nodes have one value, for longer than changes are damped.
func (w *network) agree(key string) {
	w.t.Helper()
	since, last := time.Now(), w.sum().Sent
	eventually(w.t, "all agree on "+key, func() bool {
		same := true
		for _, n := range w.nodes[1:] {
			same = same && valueOf(w.t, n, key) == valueOf(w.t, w.nodes[0], key)
		}
		if now := w.sum().Sent; !same || now != last {
			since, last = time.Now(), now
		}
		return time.Since(since) > mostDamp+time.Second
	})
}
