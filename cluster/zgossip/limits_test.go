// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// TestClientThatDoesNotRead: it costs no more memory the longer it lasts, holds up
// nobody, and is told the newest when it reads at last.
func TestClientThatDoesNotRead(t *testing.T) {
	server := start(t, Config{})
	must(t, server.Set("server/timeout", "0"))
	at := bind(t, server, "tcp://127.0.0.1:*")
	s := rawSocket(t, zmq.DEALER)
	must(t, s.SetRcvhwm(1))
	must(t, s.SetRcvbuf(4096))
	must(t, s.Connect(at))
	sendMessage(t, s, wire.Message{ID: wire.Hello})
	eventually(t, "the client is there", func() bool {
		stats, err := server.Stats()
		must(t, err)
		return stats.Clients == 1
	})
	reader := start(t, Config{})
	must(t, reader.Connect(at, ""))

	const keys, size = 10, 16 << 10
	var last string
	publish := func(rounds int) {
		t.Helper()
		for i := range rounds {
			last = fmt.Sprint(i, strings.Repeat("x", size))
			for k := range keys {
				must(t, server.Publish(fmt.Sprint("k", k), last, 0))
			}
		}
		eventuallyValue(t, reader, fmt.Sprint("k", keys-1), last)
	}
	publish(100) // 16 MB: libzmq and the kernel have what they take
	before := resident(t)
	publish(1000) // 160 MB
	if more := resident(t) - before; more > 32<<20 {
		t.Errorf("%d MB more for a client that does not read", more>>20)
	}
	stuck := 0
	must(t, server.do(func(l *loop) error { stuck = len(l.stuck); return nil }))
	if stuck != 1 {
		t.Errorf("%d clients are stuck, want one", stuck)
	}

	got := map[string]string{}
	for pongs := 0; pongs == 0; {
		if len(got) == keys && got[fmt.Sprint("k", keys-1)] == last {
			sendMessage(t, s, wire.Message{ID: wire.Ping})
		}
		switch m := recvMessage(t, s); m.ID {
		case wire.Publish:
			got[m.Key] = m.Value
		case wire.Pong:
			pongs++
		}
	}
	for k := range keys {
		if key := fmt.Sprint("k", k); got[key] != last {
			t.Errorf("%s is not the newest", key)
		}
	}
}

// TestServerThatDoesNotRead: neither does a server that was there, and stops reading.
// It is given up when it says nothing, and told the newest when it is back.
func TestServerThatDoesNotRead(t *testing.T) {
	s := rawSocket(t, zmq.ROUTER)
	must(t, s.SetRcvhwm(1))
	must(t, s.SetRcvbuf(4096))
	must(t, s.SetRouterMandatory(1))
	must(t, s.Bind("tcp://127.0.0.1:*"))
	at, err := s.GetLastEndpoint()
	must(t, err)
	n := start(t, Config{})
	must(t, n.Set("server/timeout", "0"))
	must(t, n.Connect(at, ""))
	greet := func() { // take HELLO, and answer the PING
		t.Helper()
		for {
			parts, err := s.RecvMessageBytes(0)
			must(t, err)
			if m, err := (wire.Limits{}).Decode(parts[1]); err == nil && m.ID == wire.Ping {
				// One who has gone meanwhile does not mind.
				if _, err := s.SendMessage(parts[0], encode(t, wire.Message{ID: wire.Pong})); err == nil {
					return
				}
			}
		}
	}
	greet()
	reader := start(t, Config{})
	must(t, reader.Connect(bind(t, n, "tcp://127.0.0.1:*"), ""))
	settle(t, reader)

	const size = 16 << 10
	var last string
	publish := func(rounds int) {
		t.Helper()
		for i := range rounds {
			last = fmt.Sprint(i, strings.Repeat("x", size))
			must(t, n.Publish("k", last, 0))
		}
		eventuallyValue(t, reader, "k", last)
	}
	publish(1000) // 16 MB: libzmq and the kernel have what they take
	before := resident(t)
	publish(5000) // 80 MB, or what of it is told
	if more := resident(t) - before; more > 32<<20 {
		t.Errorf("%d MB more for a server that does not read", more>>20)
	}
	eventually(t, "it is given up", func() bool {
		stats, err := n.Stats()
		must(t, err)
		return stats.Reopened > 0
	})
	greet()
	for {
		parts, err := s.RecvMessageBytes(0)
		must(t, err)
		if m, err := (wire.Limits{}).Decode(parts[1]); err == nil && m.ID == wire.Publish && m.Value == last {
			return
		}
	}
}

// resident is the memory of the process, libzmq included, without garbage.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	return residentPages(t) * os.Getpagesize()
}

// TestFull: there is a bound on all tuples, for what is published and for what is
// told; and changing what is there within it is fine.
func TestFull(t *testing.T) {
	full := start(t, Config{MaxBytes: 10_000})
	at := bind(t, full, "tcp://127.0.0.1:*")
	other := start(t, Config{})
	must(t, other.Connect(at, ""))
	for i := range 100 {
		must(t, other.Publish(fmt.Sprintf("key-%02d", i), "0123456789", 0))
	}
	settle(t, other)
	have, err := full.Status()
	must(t, err)
	stats, err := full.Stats()
	must(t, err)
	if want := 10_000 / (tupleCost + 16); have != want || stats.Refused != uint64(100-want) {
		t.Errorf("%d tuples, %d refused, want %d and %d", have, stats.Refused, want, 100-want)
	}
	if err := full.Publish("one more", "0123456789", 0); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	must(t, full.Publish("key-00", "9876543210", 0))
	if err := full.Publish("key-00", strings.Repeat("x", 10_000), 0); !errors.Is(err, ErrFull) {
		t.Errorf("a value that is too much: %v", err)
	}
	must(t, full.Unpublish("key-01"))
	must(t, full.Publish("one more", "012345", 0))
}

// TestTooLong: a value beyond what a node takes is refused, and costs the others
// nothing, whichever end of a connection the node is.
func TestTooLong(t *testing.T) {
	big := start(t, Config{MaxValue: 1 << 20})
	must(t, big.Publish("big", strings.Repeat("x", 10_000), 0))
	must(t, big.Publish("small", "1", 0))
	small := start(t, Config{MaxValue: 1000})
	must(t, small.Connect(bind(t, big, "tcp://127.0.0.1:*"), ""))
	settle(t, small)
	expectStatus(t, small, 1)
	if stats, err := small.Stats(); err != nil || stats.Malformed != 1 || stats.Reopened != 0 {
		t.Errorf("%+v, %v", stats, err)
	}

	s := rawSocket(t, zmq.DEALER)
	must(t, s.Connect(bind(t, small, "tcp://127.0.0.1:*")))
	sendMessage(t, s, wire.Message{ID: wire.Hello})
	sendMessage(t, s, wire.Message{ID: wire.Publish, Key: "k", Value: strings.Repeat("x", 1001)})
	if m := recvMessage(t, s); m.ID != wire.Invalid {
		t.Errorf("a value that is too long is answered %v", m.ID)
	}
}

func TestTuplesAreChecked(t *testing.T) {
	n := start(t, Config{MaxValue: 1000})
	for _, c := range [][2]string{
		{strings.Repeat("k", 256), "v"}, {"k", strings.Repeat("v", 1001)}, {"a\x00b", "v"}, {"k", "a\x00b"},
	} {
		if err := n.Publish(c[0], c[1], 0); !errors.Is(err, ErrTuple) {
			t.Errorf("key of %d, value of %d octets: %v", len(c[0]), len(c[1]), err)
		}
	}
	must(t, n.Publish(strings.Repeat("k", 255), strings.Repeat("v", 1000), 0))
	must(t, n.Publish("", "", 0))
	expectStatus(t, n, 2)
}

func TestEndpoints(t *testing.T) {
	n := start(t, Config{})
	for _, bad := range []string{"", "tcp", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:x", "udp://127.0.0.1:1", "ipc://", "inproc://", "tcp://no such host:1"} {
		if _, err := n.Bind(bad); err == nil {
			t.Errorf("bound %q", bad)
		}
	}
	for _, bad := range []string{"", "tcp", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "udp://a:1", "ipc://", "inproc://"} {
		if err := n.Connect(bad, ""); !errors.Is(err, ErrEndpoint) {
			t.Errorf("connect %q: %v", bad, err)
		}
	}
	other := start(t, Config{})
	for _, endpoint := range []string{"tcp://127.0.0.1:*", "ipc://" + filepath.Join(t.TempDir(), "s"), "ipc://@/zgossip/" + t.Name()} {
		at := bind(t, n, endpoint)
		if _, err := other.Bind(at); !errors.Is(err, ErrInUse) {
			t.Errorf("bound %s twice: %v", at, err)
		}
	}
	must(t, n.Connect("tcp://127.0.0.1:9", ""))
	must(t, n.Connect("tcp://127.0.0.1:9", "")) // no second one
	public, _ := keyPair(t)
	if err := n.Connect("tcp://127.0.0.1:9", public); !errors.Is(err, ErrConnected) {
		t.Errorf("connected with another key: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	if _, err := n.Bind("ipc://" + file); !errors.Is(err, ErrEndpoint) {
		t.Errorf("bound in the place of a file: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if stats, err := n.Stats(); err != nil || stats.Remotes != 1 {
		t.Errorf("%d remotes, %v", stats.Remotes, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.Settle(ctx); !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "127.0.0.1:9") {
		t.Errorf("settle with nobody there: %v", err)
	}
	must(t, n.do(func(l *loop) error {
		if len(l.waiters) > 0 {
			t.Error("somebody still waits")
		}
		return nil
	}))
}

func TestClosed(t *testing.T) {
	n := start(t, Config{})
	must(t, n.Publish("k", "v", 0))
	must(t, n.Connect("tcp://127.0.0.1:9", ""))
	waiting := make(chan error)
	go func() { waiting <- n.Settle(context.Background()) }()
	eventually(t, "somebody waits", func() bool {
		waits := 0
		must(t, n.do(func(l *loop) error { waits = len(l.waiters); return nil }))
		return waits == 1
	})
	must(t, n.Close())
	if err := <-waiting; err != ErrClosed {
		t.Errorf("settle: %v", err)
	}
	<-n.Done()
	expectNext(t, n, "DELIVER k v")
	if _, err := n.Next(context.Background()); err != ErrClosed {
		t.Errorf("next: %v", err)
	}
	if err := n.Publish("k", "v", 0); !errors.Is(err, ErrClosed) {
		t.Errorf("publish: %v", err)
	}
	if err := n.Close(); err != ErrClosed {
		t.Errorf("close again: %v", err)
	}
}

// TestSlowReaderOfEvents: events nobody takes are kept, but of each key the last.
func TestSlowReaderOfEvents(t *testing.T) {
	s := newStream()
	const keys, rounds = 100, 1000
	most := 0
	for i := range rounds {
		for k := range keys {
			s.put(Event{Deliver, fmt.Sprint("k", k), fmt.Sprint(i)})
			most = max(most, len(s.queue))
		}
	}
	if most > freeEvents/eventCost {
		t.Errorf("%d events were kept", most)
	}
	last := map[string]string{}
	for last[fmt.Sprint("k", keys-1)] != fmt.Sprint(rounds-1) {
		e, err := s.next(t.Context())
		must(t, err)
		last[e.Key] = e.Value
	}
	for k := range keys {
		if key := fmt.Sprint("k", k); last[key] != fmt.Sprint(rounds-1) {
			t.Errorf("%s: last event has %s", key, last[key])
		}
	}
	if len(s.queue) != 0 || s.bytes != 0 {
		t.Errorf("%d events of %d bytes are left", len(s.queue), s.bytes)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTest)
	if _, err := s.next(ctx); err != errTest {
		t.Errorf("next: %v", err)
	}
}

var errTest = errors.New("test")

// TestSilentClient is dropped after server/timeout, told so when there is news,
// and taken up where it was left if it says PING before.
func TestSilentClient(t *testing.T) {
	server := start(t, Config{})
	must(t, server.Set("server/timeout", "50"))
	at := bind(t, server, "tcp://127.0.0.1:*")
	must(t, server.Publish("k", "v", 0))
	s := rawSocket(t, zmq.DEALER)
	must(t, s.Connect(at))
	expect := func(want wire.ID, key string) {
		t.Helper()
		if m := recvMessage(t, s); m.ID != want || m.Key != key {
			t.Fatalf("got %v %s, want %v %s", m.ID, m.Key, want, key)
		}
	}
	dropped := func(times uint64) {
		t.Helper()
		eventually(t, "the client is dropped", func() bool {
			stats, err := server.Stats()
			must(t, err)
			return stats.Silent == times
		})
	}
	sendMessage(t, s, wire.Message{ID: wire.Hello})
	expect(wire.Publish, "k")
	dropped(1)
	sendMessage(t, s, wire.Message{ID: wire.Ping})
	expect(wire.Pong, "")
	must(t, server.Publish("news", "v", 0))
	expect(wire.Publish, "news")
	dropped(2)
	must(t, server.Publish("more", "v", 0))
	expect(wire.Invalid, "")
	sendMessage(t, s, wire.Message{ID: wire.Hello})
	for _, key := range []string{"k", "news", "more"} {
		expect(wire.Publish, key)
	}
	dropped(3)
	sendMessage(t, s, wire.Message{ID: wire.Publish, Key: "late", Value: "v"})
	expect(wire.Invalid, "")
	eventuallyValue(t, server, "late", "v")

	// A timeout that is made longer counts at once.
	must(t, server.Set("server/timeout", "0"))
	sendMessage(t, s, wire.Message{ID: wire.Hello})
	for range 4 {
		if m := recvMessage(t, s); m.ID != wire.Publish {
			t.Fatalf("got %v", m.ID)
		}
	}
	stats, err := server.Stats()
	must(t, err)
	if stats.Clients != 1 || stats.Silent != 3 {
		t.Errorf("%+v", stats)
	}
}

// TestStopped: a node that could not run for longer than server/timeout knows that
// its server may have dropped it.
func TestStopped(t *testing.T) {
	server, client := start(t, Config{}), start(t, Config{})
	must(t, server.Set("server/timeout", "200"))
	must(t, client.Set("server/timeout", "200"))
	must(t, client.Connect(bind(t, server, "tcp://127.0.0.1:*"), ""))
	settle(t, client)
	release := make(chan struct{})
	held := make(chan error)
	go func() { held <- client.do(func(*loop) error { <-release; return nil }) }()
	eventually(t, "the client is dropped", func() bool {
		stats, err := server.Stats()
		must(t, err)
		return stats.Silent > 0
	})
	must(t, server.Publish("k", "v", 0))
	close(release)
	must(t, <-held)
	eventuallyValue(t, client, "k", "v")
}
