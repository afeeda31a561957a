// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

const patience = 20 * time.Second

// recorder is a Handler that keeps what it is told.
type recorder struct {
	mu     sync.Mutex // guards below
	heads  map[peer.ID][]string
	bodies map[peer.ID]*bytes.Buffer
	losses map[peer.ID][]error
	on     func(from peer.ID, m Message) // instead of keeping
	news   chan struct{}
}

func newRecorder() *recorder {
	return &recorder{
		heads: make(map[peer.ID][]string), bodies: make(map[peer.ID]*bytes.Buffer),
		losses: make(map[peer.ID][]error), news: make(chan struct{}, 1),
	}
}

func (r *recorder) Receive(from peer.ID, m Message) {
	r.mu.Lock()
	if r.on != nil {
		on := r.on
		r.mu.Unlock()
		on(from, m)
		return
	}
	r.heads[from] = append(r.heads[from], string(m.Head))
	if r.bodies[from] == nil {
		r.bodies[from] = new(bytes.Buffer)
	}
	for _, c := range m.Body {
		r.bodies[from].Write(c.Bytes())
	}
	r.mu.Unlock()
	m.Release()
	r.tell()
}

func (r *recorder) Lost(id peer.ID, err error) {
	r.mu.Lock()
	r.losses[id] = append(r.losses[id], err)
	r.mu.Unlock()
	r.tell()
}

func (r *recorder) tell() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *recorder) got(from peer.ID) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.heads[from]...)
}

func (r *recorder) lost(id peer.ID) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]error(nil), r.losses[id]...)
}

// until waits for a condition on what was told, or that holds soon.
func (r *recorder) until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-r.news:
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func note(head string, body ...string) Message {
	m := Message{Head: []byte(head)}
	for _, b := range body {
		m.Body = append(m.Body, pipe.ChunkOf([]byte(b)))
	}
	return m
}

// party is one broker of a test.
type party struct {
	Links
	*recorder
	id peer.ID
}

func (p *party) peer() Peer { return Peer{ID: p.id, Endpoint: p.Endpoint(), Key: p.PublicKey()} }

// join adds a broker to a network.
func join(t testing.TB, n *Network, node string, shape ...func(*Config)) *party {
	t.Helper()
	p := &party{recorder: newRecorder(), id: peer.ID{Node: node, Boot: 1}}
	cfg := Config{ID: p.id, Handler: p.recorder}
	for _, s := range shape {
		s(&cfg)
	}
	p.id = cfg.ID
	links, err := n.Join(cfg)
	must(t, err)
	t.Cleanup(func() { links.Close() })
	p.Links = links
	return p
}

// acquaint has all brokers see each other alive.
func acquaint(parties ...*party) {
	for _, p := range parties {
		for _, q := range parties {
			if p != q {
				p.Up(q.peer())
			}
		}
	}
}

func (p *party) stat(id peer.ID) PeerStat {
	for _, s := range p.Stats() {
		if s.ID == id {
			return s
		}
	}
	return PeerStat{}
}

func (p *party) stands(t testing.TB, others ...*party) {
	t.Helper()
	for _, o := range others {
		p.until(t, fmt.Sprintf("session of %v with %v", p.id, o.id), func() bool { return p.stat(o.id).Standing })
	}
}

// logger writes to the test's log, also of goroutines that outlive what they log.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
