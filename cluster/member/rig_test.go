// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// patience is how long a test waits for what must happen: far more than it
// takes on an idle machine.
const patience = 30 * time.Second

// await waits until done says so.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !poll(patience, done) {
		t.Fatalf("not within %v: %s", patience, what)
	}
}

func poll(limit time.Duration, done func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return done()
		}
	}
	return true
}

// TestMain looks for goroutines that outlive their memberships. A probe that is
// under way ends by itself, so that it gets some time.
func TestMain(m *testing.M) {
	code := m.Run()
	var left string
	if code == 0 && !poll(10*time.Second, func() bool { left = ours(); return left == "" }) {
		fmt.Printf("goroutines are left:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// ours returns the stacks of goroutines of this package and its libraries.
func ours() string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if (strings.Contains(g, "hashicorp") || strings.Contains(g, "cluster/member.")) && !strings.Contains(g, "TestMain") {
			found = append(found, g)
		}
	}
	return strings.Join(found, "\n\n")
}

// logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// lines returns the lines that have all of the words.
func (l *logbook) lines(words ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.text.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, line)
		}
	}
	return found
}

// node is a membership under test and what it said.
type node struct {
	*Membership
	log logbook

	mu    sync.Mutex
	gone  map[peer.ID]Reason // guarded by mu: all that went, by how they went last
	views int                // guarded by mu
	last  []Member           // guarded by mu: of the last view
}

// start makes a membership of profile Local on loopback; change sets the rest.
func start(t *testing.T, name string, change func(*Config)) *node {
	t.Helper()
	n, err := tryStart(t, name, change)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func tryStart(t *testing.T, name string, change func(*Config)) (*node, error) {
	n := &node{gone: make(map[peer.ID]Reason)}
	cfg := Config{
		Node: name, Boot: rand.Uint64() | 1, Version: 1, Bind: "127.0.0.1:0", Profile: Local,
		Endpoint: "tcp://127.0.0.1:1", Log: n.log.logger(), Changed: n.saw,
	}
	if change != nil {
		change(&cfg)
	}
	m, err := Start(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	n.Membership = m
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, strings.Join(n.log.lines(), ""))
		}
	})
	return n, nil
}

func (n *node) saw(v View) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.views++
	n.last = v.Members
	for _, d := range v.Gone {
		n.gone[d.ID] = d.Reason
	}
}

// went returns how id went.
func (n *node) went(id peer.ID) (Reason, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.gone[id]
	return r, ok
}

func (n *node) id() peer.ID  { return n.Self().ID }
func (n *node) addr() string { return n.Self().Addr }

// sees reports whether n's members are exactly these, and n was told.
func (n *node) sees(others ...*node) bool {
	want := make([]Member, len(others))
	for i, o := range others {
		want[i] = o.Self()
	}
	slices.SortFunc(want, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Equal(n.Members(), want) && (n.views == 0 || slices.Equal(n.last, want))
}

// awaitCluster waits until all see all.
func awaitCluster(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		await(t, fmt.Sprintf("%v sees %d members", n.id(), len(nodes)), func() bool { return n.sees(nodes...) })
	}
}

func joining(addrs ...string) func(*Config) { return func(c *Config) { c.Join = addrs } }
