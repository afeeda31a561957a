// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// socket makes a raw socket, which only its test uses.
func socket(t *testing.T, kind zmq.Type) *zmq.Socket {
	t.Helper()
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ctx.NewSocket(kind)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SetLinger(0), s.SetRcvtimeo(patience), s.SetSndtimeo(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), ctx.Term()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func send(t *testing.T, s *zmq.Socket, frames ...string) {
	t.Helper()
	for _, f := range frames {
		octets, err := hex.DecodeString(strings.ReplaceAll(f, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SendBytes(octets, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func expectFrames(t *testing.T, s *zmq.Socket, want ...string) {
	t.Helper()
	for _, w := range want {
		got, err := s.RecvBytes(0)
		if err != nil {
			t.Fatalf("waiting for %s: %v", w, err)
		}
		if g := hex.EncodeToString(got); g != strings.ReplaceAll(w, " ", "") {
			t.Fatalf("got %s, want %s", g, w)
		}
	}
}

// The frames that CZMQ 4.2.1 sends, of which wire/zgossip has the same.
const (
	hello   = "aaa0 01 01"
	ping    = "aaa0 03 01"
	pong    = "aaa0 04 01"
	invalid = "aaa0 05 01"
	aTuple  = "aaa0 02 01 03 6b6579 00000005 76616c7565 00000000" // key = value
)

// TestServerFrames talks to a server as a client that is nothing but a socket.
func TestServerFrames(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			server := kind.start(t)
			server.set("server/timeout", patientTimeout)
			s := socket(t, zmq.DEALER)
			if err := s.Connect(server.bind(anyPort)); err != nil {
				t.Fatal(err)
			}
			send(t, s, ping)
			expectFrames(t, s, pong)
			send(t, s, aTuple) // without a HELLO
			expectFrames(t, s, invalid)
			send(t, s, hello, ping)
			expectFrames(t, s, pong) // no tuple: nothing came before
			server.publish("key", "value")
			expectFrames(t, s, aTuple)
			send(t, s, hello) // again
			expectFrames(t, s, invalid)
			send(t, s, hello)
			expectFrames(t, s, aTuple)
			send(t, s, pong) // not a client's
			expectFrames(t, s, invalid)
			send(t, s, hello)
			expectFrames(t, s, aTuple)
			send(t, s, strings.Replace(aTuple, "76616c7565", "6f74686572", 1))
			eventually(t, func() string { return "the server learns another value" },
				func() bool { return server.tuples()["key"] == "other" })
			if n := server.status(); n != 1 {
				t.Errorf("STATUS %d, want 1", n)
			}
		})
	}
}

// TestClientFrames is a server that is nothing but a socket.
func TestClientFrames(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := socket(t, zmq.ROUTER)
			if err := s.Bind("tcp://127.0.0.1:*"); err != nil {
				t.Fatal(err)
			}
			at, err := s.GetLastEndpoint()
			if err != nil {
				t.Fatal(err)
			}
			client := kind.start(t)
			client.publish("key", "value")
			client.connect(at)
			expectFromClient(t, s, kind.name == "ours", hello)
			expectFromClient(t, s, kind.name == "ours", aTuple)
		})
	}
}

// expectFromClient answers PINGs until something else comes. CZMQ says none.
func expectFromClient(t *testing.T, s *zmq.Socket, pings bool, want string) {
	t.Helper()
	for {
		parts, err := s.RecvMessageBytes(0)
		if err != nil || len(parts) != 2 {
			t.Fatalf("%d frames, %v", len(parts), err)
		}
		got := hex.EncodeToString(parts[1])
		if got == strings.ReplaceAll(want, " ", "") {
			return
		}
		if !pings || got != strings.ReplaceAll(ping, " ", "") {
			t.Fatalf("got %s, want %s", got, want)
		}
		if _, err := s.SendBytes(parts[0], zmq.SNDMORE); err != nil {
			t.Fatal(err)
		}
		send(t, s, pong)
	}
}

// TestPort: PORT is that of the last TCP endpoint.
func TestPort(t *testing.T) {
	o := startOurNode(t, zeroConfig)
	c := startCZMQ(t).(*czmq)
	portOf := func() int {
		port, err := o.node.Port()
		o.check(err)
		return port
	}
	if port := portOf(); port != 0 {
		t.Errorf("PORT %d before anything is bound", port)
	}
	first := o.bind(anyPort)
	if want := fmt.Sprintf("tcp://127.0.0.1:%d", portOf()); first != want {
		t.Errorf("bound %s, want %s", first, want)
	}
	second := o.bind(anyPort)
	if want := fmt.Sprintf("tcp://127.0.0.1:%d", portOf()); second != want || second == first {
		t.Errorf("bound %s and %s, PORT says %s", first, second, want)
	}
	o.bind("ipc://" + t.TempDir() + "/socket")
	if want := fmt.Sprintf("tcp://127.0.0.1:%d", portOf()); second != want {
		t.Errorf("PORT says %s after an ipc endpoint was bound", want)
	}
	// Both endpoints serve.
	c.connect(first)
	c.publish("from", "czmq")
	expectTuples(t, "ours", o, map[string]string{"from": "czmq"})
	z := startCZMQ(t)
	z.connect(second)
	expectTuples(t, "CZMQ at the second", z, map[string]string{"from": "czmq"})
}

// TestSilentCZMQClient: CZMQ's nodes never say PING, so a server drops them. One
// of ours has them come back when there is news, and loses nothing they tell.
func TestSilentCZMQClient(t *testing.T) {
	s := startOurNode(t, zeroConfig)
	s.set("server/timeout", "50")
	at := s.bind(anyPort)
	c := startCZMQ(t)
	c.connect(at)
	want := map[string]string{}
	silent := func(times uint64) {
		t.Helper()
		eventually(t, func() string { return "the client is dropped" }, func() bool {
			stats, err := s.node.Stats()
			s.check(err)
			return stats.Silent >= times && stats.Clients == 0
		})
	}
	silent(1)
	s.publish("news", "1")
	want["news"] = "1"
	expectTuples(t, "CZMQ", c, want)
	silent(2)
	for i := range 100 {
		key := fmt.Sprintf("k%d", i)
		c.publish(key, "told in silence")
		want[key] = "told in silence"
	}
	expectTuples(t, "ours", s, want)
	silent(3)
	s.publish("more", "2")
	want["more"] = "2"
	expectTuples(t, "CZMQ", c, want)
	if n := len(c.deliveries()); n != len(want) {
		t.Errorf("CZMQ delivered %d tuples, want %d", n, len(want))
	}
}

// TestOldTupleReplaced: a publisher of ours that comes back with another value has
// the last word, where CZMQ's own exchange the two for ever.
func TestOldTupleReplaced(t *testing.T) {
	for _, hub := range kinds {
		t.Run("hub "+hub.name, func(t *testing.T) {
			h := hub.start(t)
			h.set("server/timeout", patientTimeout)
			at := h.bind(anyPort)
			other := hub.start(t)
			other.set("server/timeout", patientTimeout)
			other.connect(at)
			first := startOurNode(t, zeroConfig)
			first.connect(at)
			first.publish("serf/a", "old")
			expectTuples(t, "other", other, map[string]string{"serf/a": "old"})
			first.kill()

			again := startOurNode(t, zeroConfig)
			again.publish("serf/a", "new")
			again.connect(at)
			for name, n := range map[string]node{"hub": h, "other": other, "publisher": again} {
				expectTuples(t, name, n, map[string]string{"serf/a": "new"})
			}
			before := len(h.deliveries()) + len(other.deliveries()) + len(again.deliveries())
			if before != 5 { // old and new at the hub and the other, new at the publisher
				t.Errorf("%d deliveries, want 5", before)
			}
			// And it stays so: what is told next comes behind whatever is under way.
			again.publish("end", "1")
			for _, n := range []node{h, other} {
				expectTuples(t, "a node", n, map[string]string{"serf/a": "new", "end": "1"})
			}
		})
	}
}

// TestRapidChanges: values of a key that follow each other fast, in rings in which
// CZMQ alone would have them go round for ever.
func TestRapidChanges(t *testing.T) {
	nodes := make([]*ours, 6)
	at := make([]string, len(nodes))
	for i := range nodes {
		nodes[i] = startOurNode(t, zeroConfig)
		nodes[i].set("server/timeout", patientTimeout)
		at[i] = nodes[i].bind(anyPort)
	}
	for i := range nodes { // a ring of five, with the publisher outside
		if i > 0 {
			nodes[i].connect(at[(i+1)%len(nodes)])
		}
	}
	nodes[len(nodes)-1].connect(at[1])
	for i := range 50 {
		nodes[0].publish("k", fmt.Sprint(i%5))
	}
	nodes[0].publish("k", "end")
	for i, n := range nodes {
		expectTuples(t, fmt.Sprintf("node %d", i), n, map[string]string{"k": "end"})
	}
	quiet(t, nodes)
}

// quiet waits until no node is told anything any more.
func quiet(t *testing.T, nodes []*ours) {
	t.Helper()
	sum := func() (n uint64) {
		for _, o := range nodes {
			stats, err := o.node.Stats()
			o.check(err)
			n += stats.Sent
		}
		return n
	}
	last, since := sum(), time.Now()
	eventually(t, func() string { return fmt.Sprintf("%d messages and more", last) }, func() bool {
		if now := sum(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 3*time.Second // more than any damping
	})
}
