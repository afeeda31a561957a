// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

func TestNetworkDelivers(t *testing.T) {
	n := NewNetwork(1)
	a, b := join(t, n, "a"), join(t, n, "b")
	a.Send(b.id, note("nobody is up")) // dropped
	acquaint(a, b)
	var want []string
	for i := range 1000 {
		head := fmt.Sprint("m", i)
		want = append(want, head)
		a.Send(b.id, note(head, "body"))
	}
	b.until(t, "all messages", func() bool { return len(b.got(a.id)) == len(want) })
	if got := b.got(a.id); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	a.until(t, "all is acknowledged", func() bool { return a.stat(b.id).Unacked == 0 })
	if tr := n.Traffic()[a.id]; tr.Messages != 1000 || tr.Bytes < 1000*4 || tr.Frames < 1 {
		t.Errorf("traffic of a: %+v", tr)
	}
	a.Down(b.id, errors.New("gone"))
	a.until(t, "a knows", func() bool { return len(a.lost(b.id)) == 1 })
	b.until(t, "b knows", func() bool { return len(b.lost(a.id)) == 1 })
}

// Frames that are lost, and late, cost no message.
func TestNetworkLosesFrames(t *testing.T) {
	n := NewNetwork(2)
	n.SetAll(Conditions{Delay: 2 * time.Millisecond, Drop: 0.2})
	a, b := join(t, n, "a"), join(t, n, "b")
	acquaint(a, b)
	for round := range 50 {
		for i := range 20 {
			a.Send(b.id, note(fmt.Sprint(20*round+i)))
			b.Send(a.id, note(fmt.Sprint(20*round+i)))
		}
		b.until(t, "a part", func() bool { return len(b.got(a.id)) >= 20*round })
	}
	for _, way := range [][2]*party{{a, b}, {b, a}} {
		to, from := way[1], way[0]
		to.until(t, "all", func() bool { return len(to.got(from.id)) == 1000 })
		for i, head := range to.got(from.id) {
			if head != fmt.Sprint(i) {
				t.Fatalf("%v got %q as number %d", to.id, head, i)
			}
		}
	}
	if a.stat(b.id).Resent == 0 {
		t.Error("nothing was sent again: nothing was lost")
	}
}

func TestNetworkPartition(t *testing.T) {
	n := NewNetwork(3)
	shape := within(time.Second)
	a, b, c := join(t, n, "a", shape), join(t, n, "b", shape), join(t, n, "c", shape)
	acquaint(a, b, c)
	a.stands(t, b, c)
	b.stands(t, c)
	n.Partition(true, []string{"a", "b"}, []string{"c"})
	for _, p := range []*party{a, b} {
		p.until(t, "c is lost", func() bool { return len(p.lost(c.id)) > 0 })
		c.until(t, "c knows", func() bool { return len(c.lost(p.id)) > 0 })
	}
	if len(a.lost(b.id)) > 0 {
		t.Error("a lost b")
	}
	n.Partition(false, []string{"a", "b"}, []string{"c"})
	c.stands(t, a, b)
	a.stands(t, c)
	c.Send(a.id, note("healed"))
	a.until(t, "a message", func() bool { return slices.Contains(a.got(c.id), "healed") })
}

// A link that takes nothing holds up its sources, not the others'.
func TestNetworkHoldsUpSenders(t *testing.T) {
	n := NewNetwork(4)
	a, b, c := join(t, n, "a"), join(t, n, "b"), join(t, n, "c")
	acquaint(a, b, c)
	a.stands(t, b, c)
	n.SetLink("a", "b", Conditions{Limit: 1, Delay: 300 * time.Millisecond})
	src := newTorrent(4 << 20)
	kb, kc := b.sinks(), c.sinks()
	a.Wake(b.id, src)
	other := newTorrent(4 << 20)
	a.Wake(c.id, other)
	c.until(t, "all for c", func() bool { return kc.got() == 4<<20 })
	if got := kb.got(); got > 2*frameSize {
		t.Errorf("b has %d octets already", got)
	}
	n.SetLink("a", "b", Conditions{})
	b.until(t, "all for b", func() bool { return kb.got() == 4<<20 })
}

// What the core does: a lock of its own is taken by Next, and held while it calls
// Send and Wake; here until there is too much.
func TestSendersMayHoldTheirLocks(t *testing.T) {
	n := NewNetwork(5)
	a := join(t, n, "a", func(c *Config) { c.MaxQueue = 100_000 })
	b := join(t, n, "b")
	acquaint(a, b)
	src := &lockedSource{}
	for range 200 {
		a.stands(t, b)
		before := a.stat(b.id).Lost
		for a.stat(b.id).Lost == before {
			src.mu.Lock()
			src.left = 10
			a.Wake(b.id, src)
			for range 20 {
				a.Send(b.id, note("head", string(make([]byte, 10_000))))
			}
			src.mu.Unlock()
		}
	}
	a.until(t, "all losses are told", func() bool { return len(a.lost(b.id)) >= 200 })
}

type lockedSource struct {
	mu   sync.Mutex // guards left
	left int
}

func (s *lockedSource) Next(int) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left--
	return note("bulk"), s.left >= 0
}

func TestSendOfALongMessageIsALoss(t *testing.T) {
	n := NewNetwork(6)
	a, b := join(t, n, "a", func(c *Config) { c.MaxMessage = frameSize }), join(t, n, "b")
	acquaint(a, b)
	a.stands(t, b)
	a.Send(b.id, note("x", string(make([]byte, frameSize))))
	a.until(t, "a knows", func() bool { return len(a.lost(b.id)) == 1 })
	if lost := a.lost(b.id); !errors.Is(lost[0], ErrTooLong) {
		t.Errorf("a lost %v", lost)
	}
}

// Down, and Up at once: the losses and the sessions come in order.
func TestDownAndUp(t *testing.T) {
	n := NewNetwork(7)
	a, b := join(t, n, "a"), join(t, n, "b")
	acquaint(a, b)
	for i := range 50 {
		a.stands(t, b)
		a.Down(b.id, fmt.Errorf("down %d", i))
		a.Up(b.peer())
		a.until(t, "a knows", func() bool { return len(a.lost(b.id)) == i+1 })
		a.Send(b.id, note(fmt.Sprint(i)))
		b.until(t, "a message", func() bool { return len(b.got(a.id)) == i+1 })
	}
	for i, err := range a.lost(b.id) {
		if err.Error() != fmt.Sprintf("down %d", i) {
			t.Errorf("loss %d is %v", i, err)
		}
	}
	if got := len(b.lost(a.id)); got != 50 {
		t.Errorf("b lost %d sessions", got)
	}
}

// Simulations have hundreds of brokers in one process.
func TestNetworkOfMany(t *testing.T) {
	brokers := 200
	if testing.Short() {
		brokers = 40
	}
	n := NewNetwork(8)
	parties := make([]*party, brokers)
	for i := range parties {
		parties[i] = join(t, n, fmt.Sprint("host-", i), func(c *Config) { c.FailureTimeout = time.Minute })
	}
	acquaint(parties...)
	for i, p := range parties {
		for _, q := range parties {
			if p != q {
				p.Send(q.id, note(fmt.Sprint("from ", i)))
			}
		}
	}
	for _, p := range parties {
		p.until(t, "a message of each", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.heads) == brokers-1
		})
	}
	frames := func() (sum uint64) {
		for _, tr := range n.Traffic() {
			sum += tr.Frames
		}
		return sum
	}
	if perPair := float64(frames()) / float64(brokers*(brokers-1)); perPair > 8 {
		t.Errorf("%.1f frames for each pair", perPair)
	}
	gone := parties[0]
	must(t, gone.Close())
	for _, p := range parties[1:] {
		p.Down(gone.id, errors.New("gone"))
	}
	for _, p := range parties[1:] {
		p.until(t, "the loss", func() bool { return len(p.lost(gone.id)) == 1 })
	}
}

func TestNetworkRefuses(t *testing.T) {
	n := NewNetwork(9)
	a := join(t, n, "a")
	for _, cfg := range []Config{{}, {ID: a.id, Handler: newRecorder()}, {ID: peer.ID{Node: "x"}}} {
		if _, err := n.Join(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("got %v", err)
		}
	}
	must(t, a.Close())
	if err := a.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	join(t, n, "a") // its place is free
}
