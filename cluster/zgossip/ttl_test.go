// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// cycle starts nodes that are connected in a circle.
func cycle(t *testing.T, size int) (nodes []*Node, at []string) {
	t.Helper()
	for range size {
		n := start(t, Config{})
		must(t, n.Set("server/timeout", "600000"))
		nodes, at = append(nodes, n), append(at, bind(t, n, "tcp://127.0.0.1:*"))
	}
	for i, n := range nodes {
		must(t, n.Connect(at[(i+1)%size], ""))
	}
	return nodes, at
}

// TestExpiry: a tuple with a ttl is held everywhere, also in a circle, as long as
// its publisher lives, and nowhere after it. Others stay.
func TestExpiry(t *testing.T) {
	nodes, at := cycle(t, 3)
	publisher := start(t, Config{})
	must(t, publisher.Connect(at[0], ""))
	must(t, publisher.Publish("lease", "v", MinTTL))
	must(t, publisher.Publish("stays", "v", 0))
	for _, n := range nodes {
		expectNext(t, n, "DELIVER lease v", "DELIVER stays v")
	}
	// Refreshes of a tuple that all know are the only thing that is told now.
	before := received(t, nodes[1:])
	eventually(t, "three times its ttl is over", func() bool { return received(t, nodes[1:]) >= before+18 })
	for i, n := range nodes {
		if got := valueOf(t, n, "lease"); got != "v" {
			t.Errorf("node %d has %q of a publisher that lives", i, got)
		}
	}
	must(t, publisher.Close())
	for _, n := range nodes {
		expectNext(t, n, "EXPIRE lease v")
		expectStatus(t, n, 1)
	}
}

// received counts tuples that were known.
func received(t *testing.T, nodes []*Node) (sum uint64) {
	t.Helper()
	for _, n := range nodes {
		s, err := n.Stats()
		must(t, err)
		sum += s.Duplicates
	}
	return sum
}

// TestRestartWithTTL: the old address of a publisher that comes back is replaced
// before it expires, and what others say of its key does not last.
func TestRestartWithTTL(t *testing.T) {
	nodes, at := cycle(t, 3)
	first := start(t, Config{})
	must(t, first.Connect(at[0], ""))
	must(t, first.Publish("serf/a", "old", time.Hour))
	for _, n := range nodes {
		expectNext(t, n, "DELIVER serf/a old")
	}
	must(t, first.Close())
	again := start(t, Config{})
	must(t, again.Publish("serf/a", "new", time.Hour))
	must(t, again.Connect(at[1], ""))
	for _, n := range nodes {
		expectNext(t, n, "DELIVER serf/a new")
	}
	expectNext(t, again, "DELIVER serf/a new")
	liar := rawSocket(t, zmq.DEALER)
	must(t, liar.Connect(at[2]))
	sendFrame(t, liar, encode(t, wire.Message{ID: wire.Hello}))
	sendFrame(t, liar, encode(t, wire.Message{ID: wire.Publish, Key: "serf/a", Value: "lie"}))
	expectNext(t, nodes[2], "DELIVER serf/a lie", "DELIVER serf/a new")
	for _, n := range nodes {
		eventuallyValue(t, n, "serf/a", "new")
	}
	expectStatus(t, again, 1)
}

func TestUnpublish(t *testing.T) {
	server, client := start(t, Config{}), start(t, Config{})
	must(t, client.Connect(bind(t, server, "tcp://127.0.0.1:*"), ""))
	must(t, client.Publish("k", "v", MinTTL))
	must(t, client.Publish("end", "v", 0))
	expectNext(t, server, "DELIVER k v", "DELIVER end v")
	must(t, client.Unpublish("k"))
	must(t, client.Unpublish("unknown"))
	expectStatus(t, client, 1)
	expectStatus(t, server, 2)                // others are not told
	expectNext(t, server, "EXPIRE k v")       // but nobody refreshes it
	must(t, client.Publish("k", "v", MinTTL)) // new again
	expectNext(t, server, "DELIVER k v")
}

func TestBounds(t *testing.T) {
	n := start(t, Config{MaxValue: 100, MaxBytes: 10 * (tupleCost + 10)})
	for _, c := range []struct {
		key, value string
		ttl        time.Duration
		want       error
	}{
		{strings.Repeat("k", 256), "v", 0, ErrTuple},
		{"k", strings.Repeat("v", 101), 0, ErrTuple},
		{"k\x00", "v", 0, ErrTuple},
		{"k", "v", time.Millisecond, ErrTTL},
		{"k", "v", -time.Second, ErrTTL},
		{"k", "v", MaxTTL + 1, ErrTTL},
	} {
		if err := n.Publish(c.key, c.value, c.ttl); !errors.Is(err, c.want) {
			t.Errorf("%.10q = %.10q for %v: %v, want %v", c.key, c.value, c.ttl, err, c.want)
		}
	}
	for i := range 10 {
		must(t, n.Publish(fmt.Sprint("key-", i), "value", 0))
	}
	if err := n.Publish("key-10", "value", 0); !errors.Is(err, ErrFull) {
		t.Errorf("an eleventh: %v", err)
	}
	must(t, n.Publish("key-0", "other", 0)) // no larger
	// What others tell is bounded likewise.
	rich := start(t, Config{})
	for i := range 10 {
		must(t, rich.Publish(fmt.Sprint("rich-", i), "value", 0))
	}
	must(t, rich.Connect(bind(t, n, "tcp://127.0.0.1:*"), ""))
	settle(t, rich)
	expectStatus(t, n, 10)
	if s, err := n.Stats(); err != nil || s.Refused != 10 {
		t.Errorf("%d refused, %v, want 10", s.Refused, err)
	}
}

// TestEventsAreBounded: who takes no events misses values, but not the last ones.
func TestEventsAreBounded(t *testing.T) {
	s := newStream()
	for i := range 10 * freeEvents {
		s.put(Event{Deliver, fmt.Sprint("k", i%10), fmt.Sprint(i)})
		if len(s.queue) > freeEvents {
			t.Fatalf("%d events are kept of 10 keys", len(s.queue))
		}
	}
	last := make(map[string]string)
	for e, ok := s.take(); ok; e, ok = s.take() {
		last[e.Key] = e.Value
	}
	for i := 10*freeEvents - 10; i < 10*freeEvents; i++ {
		if key := fmt.Sprint("k", i%10); last[key] != fmt.Sprint(i) {
			t.Errorf("the last of %s is %s, want %d", key, last[key], i)
		}
	}
}
