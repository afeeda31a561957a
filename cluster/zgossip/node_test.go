// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"context"
	"fmt"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// patience bounds every wait.
const patience = 30 * time.Second

func start(t *testing.T, cfg Config) *Node {
	t.Helper()
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil && err != ErrClosed {
			t.Error(err)
		}
	})
	return n
}

// sharedContext is a context that ends after the test's nodes.
func sharedContext(t *testing.T) *zmq.Context {
	t.Helper()
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ctx.Term(); err != nil {
			t.Error(err)
		}
	})
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bind(t *testing.T, n *Node, endpoint string) string {
	t.Helper()
	bound, err := n.Bind(endpoint)
	must(t, err)
	return bound
}

// settle waits until a node's servers have all it has.
func settle(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, n.Settle(ctx))
}

// next returns a node's next event as "KIND key value".
func next(t *testing.T, n *Node) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := n.Next(ctx)
	must(t, err)
	return fmt.Sprintf("%s %s %s", e.Kind, e.Key, e.Value)
}

func expectNext(t *testing.T, n *Node, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(t, n); got != w {
			t.Fatalf("got event %q, want %q", got, w)
		}
	}
}

func expectStatus(t *testing.T, n *Node, want int) {
	t.Helper()
	if got, err := n.Status(); err != nil || got != want {
		t.Fatalf("status %d, %v, want %d", got, err, want)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

func valueOf(t *testing.T, n *Node, key string) string {
	t.Helper()
	value, ok, err := n.Get(key)
	must(t, err)
	if !ok {
		return "(none)"
	}
	return value
}

func eventuallyValue(t *testing.T, n *Node, key, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s = %s", key, want), func() bool { return valueOf(t, n, key) == want })
}

// TestSeedExample is the one of zgossip(3), on inproc as there, and on what else
// there is.
func TestSeedExample(t *testing.T) {
	for _, endpoint := range []string{"inproc://base", "ipc://" + t.TempDir() + "/base", "tcp://127.0.0.1:*", "ipc://@/zgossip/" + t.Name()} {
		t.Run(endpoint[:6], func(t *testing.T) {
			ctx := sharedContext(t)
			base := start(t, Config{Context: ctx})
			must(t, base.Set("server/timeout", "100"))
			at := bind(t, base, endpoint)
			alpha := start(t, Config{Context: ctx})
			must(t, alpha.Set("server/timeout", "100"))
			must(t, alpha.Connect(at, ""))
			must(t, alpha.Publish("inproc://alpha-1", "service1", 0))
			must(t, alpha.Publish("inproc://alpha-2", "service2", 0))
			beta := start(t, Config{Context: ctx})
			must(t, beta.Set("server/timeout", "100"))
			must(t, beta.Connect(at, ""))
			must(t, beta.Publish("inproc://beta-1", "service1", 0))
			must(t, beta.Publish("inproc://beta-2", "service2", 0))
			expectNext(t, alpha,
				"DELIVER inproc://alpha-1 service1", "DELIVER inproc://alpha-2 service2",
				"DELIVER inproc://beta-1 service1", "DELIVER inproc://beta-2 service2")
			expectStatus(t, alpha, 4)
			eventually(t, "beta has 4", func() bool { n, err := beta.Status(); return err == nil && n == 4 })
			expectStatus(t, base, 4)
		})
	}
}

func localPort(port int) string { return fmt.Sprintf("tcp://127.0.0.1:%d", port) }
