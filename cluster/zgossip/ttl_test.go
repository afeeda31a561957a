// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// TestExpiry: a tuple with a ttl outlives it while its publisher lives, and no
// longer, wherever it got to; in circles, too.
func TestExpiry(t *testing.T) {
	w := newNetwork(t, 4, "60000")
	for i := range w.nodes {
		w.connect(i, (i+1)%4)
	}
	publisher := start(t, Config{})
	must(t, publisher.Publish("lease", "held", MinTTL))
	must(t, publisher.Publish("rock", "solid", 0))
	must(t, publisher.Connect(w.at[0], ""))
	for _, n := range w.nodes {
		eventuallyValue(t, n, "lease", "held")
	}
	// Longer than the ttl: it was refreshed everywhere.
	held := time.Now()
	late := start(t, Config{})
	must(t, late.Connect(w.at[3], ""))
	eventually(t, "three ttls have passed", func() bool {
		for i, n := range w.nodes {
			if got := valueOf(t, n, "lease"); got != "held" {
				t.Fatalf("node %d has %q after %v", i, got, time.Since(held))
			}
		}
		return time.Since(held) > 3*MinTTL
	})
	eventuallyValue(t, late, "lease", "held")
	ended := time.Now()
	must(t, publisher.Close())
	for _, n := range append(w.nodes, late) {
		eventuallyValue(t, n, "lease", "(none)")
		if got := valueOf(t, n, "rock"); got != "solid" {
			t.Errorf("the tuple without a ttl is %q", got)
		}
	}
	if took := time.Since(ended); took > 3*MinTTL {
		t.Errorf("forgotten after %v, the ttl was %v", took, MinTTL)
	}
	kinds := map[string]int{}
	for range 3 {
		kinds[next(t, w.nodes[1])]++
	}
	if kinds["DELIVER lease held"] != 1 || kinds["EXPIRE lease held"] != 1 || kinds["DELIVER rock solid"] != 1 {
		t.Errorf("events: %v", kinds)
	}
}

func TestUnpublish(t *testing.T) {
	a, b := start(t, Config{}), start(t, Config{})
	must(t, b.Connect(bind(t, a, "tcp://127.0.0.1:*"), ""))
	must(t, b.Publish("k", "v", MinTTL))
	must(t, b.Publish("forever", "v", 0))
	settle(t, b)
	must(t, b.Unpublish("k"))
	must(t, b.Unpublish("forever"))
	must(t, b.Unpublish("no such key"))
	expectStatus(t, b, 0)
	eventuallyValue(t, a, "k", "(none)")
	if got := valueOf(t, a, "forever"); got != "v" {
		t.Errorf("a neighbour has %q", got)
	}
}

// TestLeaseIsHeld: who publishes with a ttl has the last word as long as it lives.
func TestLeaseIsHeld(t *testing.T) {
	w := newNetwork(t, 3, "60000")
	w.connect(0, 1)
	w.connect(1, 2)
	must(t, w.nodes[0].Publish("k", "held", time.Hour))
	w.settle()
	for _, n := range w.nodes {
		eventuallyValue(t, n, "k", "held")
	}
	for i := range 10 {
		must(t, w.nodes[2].Publish("k", fmt.Sprint("usurper ", i), 0))
	}
	w.agree("k")
	for i, n := range w.nodes {
		if got := valueOf(t, n, "k"); got != "held" {
			t.Errorf("node %d has %q", i, got)
		}
	}
}

// TestTTLOfServers: CZMQ's servers send the ttl of one tuple with another. So it
// counts only from one that says HELLO, as ours do before the first.
func TestTTLOfServers(t *testing.T) {
	s := rawSocket(t, zmq.ROUTER)
	must(t, s.Bind("tcp://127.0.0.1:*"))
	at, err := s.GetLastEndpoint()
	must(t, err)
	n := start(t, Config{})
	must(t, n.Set("server/timeout", "600000"))
	must(t, n.Connect(at, ""))
	parts, err := s.RecvMessageBytes(0)
	must(t, err)
	say := func(m wire.Message) {
		t.Helper()
		if _, err := s.SendMessage(parts[0], encode(t, m)); err != nil {
			t.Fatal(err)
		}
	}
	say(wire.Message{ID: wire.Publish, Key: "leaked", Value: "v", TTL: 1000})
	say(wire.Message{ID: wire.Hello})
	say(wire.Message{ID: wire.Publish, Key: "meant", Value: "v", TTL: 1000})
	expectNext(t, n, "DELIVER leaked v", "DELIVER meant v", "EXPIRE meant v")
	expectStatus(t, n, 1)

	server := start(t, Config{})
	c := rawSocket(t, zmq.DEALER)
	must(t, c.Connect(bind(t, server, "tcp://127.0.0.1:*")))
	sendMessage(t, c, wire.Message{ID: wire.Hello})
	sendMessage(t, c, wire.Message{ID: wire.Ping})
	if m := recvMessage(t, c); m.ID != wire.Pong {
		t.Fatalf("got %v, want PONG", m.ID)
	}
	must(t, server.Publish("plain", "v", 0))
	must(t, server.Publish("lease", "v", time.Minute))
	for i, want := range []wire.ID{wire.Publish, wire.Hello, wire.Publish} {
		m := recvMessage(t, c)
		if m.ID != want {
			t.Fatalf("message %d is %v, want %v", i, m.ID, want)
		}
		if i == 0 && m.TTL != 0 || i == 2 && (m.TTL == 0 || m.TTL > 60_000) {
			t.Errorf("ttl of %s is %d", m.Key, m.TTL)
		}
	}
}

func TestTTLBounds(t *testing.T) {
	n := start(t, Config{})
	for _, ttl := range []time.Duration{-1, 1, MinTTL - 1, MaxTTL + 1} {
		if err := n.Publish("k", "v", ttl); !errors.Is(err, ErrTTL) {
			t.Errorf("ttl %v: %v", ttl, err)
		}
	}
	must(t, n.Publish("k", "v", MaxTTL))
}
