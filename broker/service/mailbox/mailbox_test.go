// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package mailbox

import (
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// patience is how long a poll may last: one that does means a lost wake-up.
const patience = 20 * time.Second

func open(t *testing.T) *Box[int] {
	t.Helper()
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New[int](ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := ctx.Term(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestNoWakeUpIsLost has the owner sleep as often as it can.
func TestNoWakeUpIsLost(t *testing.T) {
	b := open(t)
	poller := zmq.NewPoller()
	poller.Add(b.Poll(), zmq.POLLIN)
	const senders, each = 4, 3000
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				b.Put(s*each + i)
			}
		})
	}
	next := make([]int, senders)
	var spare []int
	for got := 0; got < senders*each; {
		if b.Sleep() {
			if ready, err := poller.Poll(patience); err != nil || len(ready) == 0 {
				t.Fatalf("asleep for %v with %d of %d values: %v", patience, got, senders*each, err)
			}
		}
		b.Awake()
		b.Drain()
		spare = b.Take(spare)
		for _, v := range spare {
			if s := v / each; v%each != next[s] {
				t.Fatalf("sender %d: got value %d, want %d", s, v%each, next[s])
			}
			next[v/each]++
			got++
		}
	}
	sending.Wait()
}

func TestClosedBoxTakesNothing(t *testing.T) {
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New[int](ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	b.Put(1)
	if left := b.Close(); len(left) != 1 || left[0] != 1 {
		t.Errorf("left %v", left)
	}
	if b.Put(2) {
		t.Error("a value was taken after Close")
	}
	if err := ctx.Term(); err != nil {
		t.Error(err)
	}
}

// TestNameInUse: a second box of the name fails and leaves no socket, or Term
// would wait for it.
func TestNameInUse(t *testing.T) {
	b := open(t)
	ctx, err := b.Poll().Context()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New[int](ctx, "test"); err == nil {
		t.Error("two boxes have one name")
	}
}
