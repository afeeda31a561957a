// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// virtual is a network of loops without sockets, whose time is the test's: hours
// of leases pass at once.
type virtual struct {
	t      *testing.T
	r      *rand.Rand
	now    time.Time
	delay  time.Duration // of a message, half of it by chance
	nodes  []*virtualNode
	flying []flight
	sent   int
}

type virtualNode struct {
	*loop
	links map[*virtualNode]*link
	dead  bool
	log   bytes.Buffer
	seen  []string // events
}

// flight is a message on its way.
type flight struct {
	at       time.Time
	from, to *virtualNode
	frame    []byte
}

func newVirtual(t *testing.T, nodes int, delay time.Duration) *virtual {
	v := &virtual{t: t, r: rand.New(rand.NewPCG(1, 2)), now: time.Unix(1e9, 0), delay: delay}
	for range nodes {
		n := &virtualNode{links: make(map[*virtualNode]*link)}
		cfg := Config{Log: slog.New(slog.NewTextHandler(&n.log, nil))}
		cfg.fill()
		n.loop = newLoop(cfg, nil)
		n.now = v.now
		v.nodes = append(v.nodes, n)
	}
	return v
}

// connect makes a and b neighbours that have told each other what they hold.
func (v *virtual) connect(a, b int) {
	v.half(v.nodes[a], v.nodes[b], false)
	v.half(v.nodes[b], v.nodes[a], true)
	v.nodes[a].spread()
	v.nodes[b].spread()
}

func (v *virtual) half(from, to *virtualNode, server bool) {
	last := v.now // messages of a connection do not overtake each other
	c := &client{loop: from.loop, id: fmt.Sprint(len(from.links))}
	c.link = &link{name: c.id, owner: c, server: server, ttls: server, ready: true} // a server's ttls count from its HELLO on
	c.put = func(frame []byte) error {
		v.sent++
		at := v.now.Add(v.delay/2 + time.Duration(v.r.Int64N(int64(v.delay/2)+1)))
		if at.Before(last) {
			at = last
		}
		last = at
		v.flying = append(v.flying, flight{at, from, to, bytes.Clone(frame)})
		return nil
	}
	from.links[to] = c.link
	from.clients[c.id] = c
	from.news = true
}

// chain connects nodes in a row, ring the ends of it, too.
func (v *virtual) chain() {
	for i := range v.nodes[1:] {
		v.connect(i, i+1)
	}
}

func (v *virtual) ring() {
	v.chain()
	v.connect(len(v.nodes)-1, 0)
}

func (v *virtual) publish(node int, key, value string, ttl time.Duration) {
	v.t.Helper()
	must(v.t, v.nodes[node].publish(key, value, ttl))
	v.nodes[node].spread()
}

// kill has a node say nothing any more.
func (v *virtual) kill(node int) { v.nodes[node].dead = true }

// pass lets time go by.
func (v *virtual) pass(d time.Duration) {
	v.t.Helper()
	for end := v.now.Add(d); v.step(end); {
		if v.sent > 5_000_000 {
			v.t.Fatal("messages without end")
		}
	}
}

// step goes to when something is due next, and does it; false at the end.
func (v *virtual) step(end time.Time) bool {
	next := end
	for _, n := range v.nodes {
		if !n.dead && len(n.timers) > 0 && n.timers[0].at.Before(next) {
			next = n.timers[0].at
		}
	}
	first := -1
	for i, f := range v.flying {
		if f.at.Before(next) || f.at.Equal(next) && first < 0 {
			first, next = i, f.at
		}
	}
	if !next.After(v.now) {
		next = v.now
	}
	v.now = next
	for _, n := range v.nodes {
		n.loop.now = next
	}
	if first >= 0 {
		f := v.flying[first]
		v.flying = append(v.flying[:first], v.flying[first+1:]...)
		if !f.to.dead && !f.from.dead {
			f.to.take(v.t, f)
		}
	}
	for _, n := range v.nodes {
		if !n.dead {
			n.timers.run(next)
			n.spread()
			n.note()
		}
	}
	return next.Before(end) || first >= 0
}

func (n *virtualNode) take(t *testing.T, f flight) {
	m, err := n.limits.Decode(f.frame)
	must(t, err)
	from := n.links[f.from]
	if m.ID == wire.Hello {
		from.ttls = true
		return
	}
	n.told(from, m)
}

func (n *virtualNode) note() {
	for {
		e, ok := n.events.take()
		if !ok {
			return
		}
		n.seen = append(n.seen, fmt.Sprintf("%s %s %s", e.Kind, e.Key, e.Value))
	}
}

// alive fails the test if a node has ever forgotten a tuple.
func (v *virtual) alive(what string) {
	v.t.Helper()
	for i, n := range v.nodes {
		expired := 0
		for _, e := range n.seen {
			if strings.HasPrefix(e, "EXPIRE") {
				expired++
			}
		}
		if expired > 0 || len(n.table.tuples) != 1 && !n.dead {
			v.t.Errorf("%s: node %d of %d has %d tuples, and forgot one %d times", what, i, len(v.nodes), len(n.table.tuples), expired)
		}
	}
}

// forgotten lets time pass and fails the test if a node holds a tuple then.
func (v *virtual) forgotten(within time.Duration) {
	v.t.Helper()
	v.pass(within)
	for i, n := range v.nodes {
		if !n.dead && len(n.table.tuples) > 0 {
			v.t.Errorf("node %d holds a tuple %v after its publisher has gone", i, within)
		}
	}
}

var ttls = []time.Duration{MinTTL, 3 * time.Second, 30 * time.Second, time.Hour}

// TestRefreshInTime: nobody forgets a tuple while its publisher lives, and
// everybody does when it has gone.
func TestRefreshInTime(t *testing.T) {
	for name, connect := range map[string]func(*virtual){"chain": (*virtual).chain, "ring": (*virtual).ring} {
		for _, ttl := range ttls {
			t.Run(fmt.Sprint(name, " ", ttl), func(t *testing.T) {
				v := newVirtual(t, 6, 30*time.Millisecond)
				connect(v)
				v.publish(0, "k", "v", ttl)
				v.pass(20 * ttl)
				v.alive("refreshed")
				// Three a ttl on each connection, and what meets in a ring.
				if most := 20 * refreshes * 8; v.sent > most {
					t.Errorf("%d messages, want %d at most", v.sent, most)
				}
				v.kill(0)
				v.forgotten(ttl + 2*time.Second)
			})
		}
	}
}

// TestShorterTTL: who publishes the same value with another ttl is not forgotten
// when the longer one has run out.
func TestShorterTTL(t *testing.T) {
	for _, c := range []struct{ first, then time.Duration }{
		{time.Hour, MinTTL}, {time.Hour, 30 * time.Second}, {30 * time.Second, 20 * time.Second}, {2 * time.Second, MinTTL}, {MinTTL, time.Hour},
	} {
		t.Run(fmt.Sprint(c.first, " then ", c.then), func(t *testing.T) {
			v := newVirtual(t, 6, 30*time.Millisecond)
			v.ring()
			v.publish(0, "k", "v", c.first)
			v.pass(c.first)
			v.publish(0, "k", "v", c.then)
			v.pass(3 * (c.first + c.then))
			v.alive("published again")
			v.kill(0)
			v.forgotten(c.then + 2*time.Second)
		})
		t.Run(fmt.Sprint("publishers with ", c.first, " and ", c.then), func(t *testing.T) {
			v := newVirtual(t, 6, 30*time.Millisecond)
			v.ring()
			v.publish(0, "k", "v", c.first)
			v.publish(3, "k", "v", c.then)
			v.pass(3 * max(c.first, c.then))
			v.kill(0)
			v.pass(3 * max(c.first, c.then))
			v.alive("one of two has gone")
			v.kill(3)
			v.forgotten(c.first + c.then + 2*time.Second)
		})
	}
}

// TestNoGhosts: what newcomers tell of a tuple whose publisher has gone does not go
// round slow circles for ever.
func TestNoGhosts(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 30 * time.Second, time.Hour} {
		for left := 100 * time.Millisecond; left < 2*time.Second; left += 100 * time.Millisecond {
			t.Run(fmt.Sprint(left, " of ", ttl), func(t *testing.T) {
				v := newVirtual(t, 6, leastRenewal/4)
				for i := 1; i < 4; i++ {
					v.connect(i, i%3+1)
				}
				v.connect(0, 1)
				v.publish(0, "k", "v", ttl)
				v.pass(ttl / 4)
				v.kill(0)
				v.pass(ttl - left)
				v.connect(4, 1)
				v.connect(4, 3)
				v.pass(100 * time.Millisecond)
				v.connect(5, 2)
				v.connect(5, 4)
				v.forgotten(2*left + time.Second)
			})
		}
	}
}

// TestWithoutTTLAfterOne: who publishes without a ttl what others know with one
// keeps it alive, whether it knew that when it published or not.
func TestWithoutTTLAfterOne(t *testing.T) {
	for _, ttl := range ttls {
		for _, left := range []time.Duration{ttl * 9 / 10, ttl / 2, max(ttl/50, leastLeft*5/4)} {
			for _, knew := range []bool{true, false} {
				t.Run(fmt.Sprint(left, " of ", ttl, " left, known ", knew), func(t *testing.T) {
					v := newVirtual(t, 6, 4*time.Millisecond)
					for i := range 4 {
						v.connect(i, i+1)
					}
					v.publish(0, "k", "v", ttl)
					v.pass(10 * time.Millisecond)
					v.kill(0)
					v.pass(ttl - left)
					if !knew {
						v.publish(5, "k", "v", 0)
					}
					v.connect(4, 5)
					v.pass(10 * time.Millisecond)
					if knew {
						v.publish(5, "k", "v", 0)
					}
					before := v.sent
					v.pass(5 * ttl)
					v.alive("taken over")
					if most := 8 * int(5*ttl/min(max(left, MinTTL)/refreshes, ttl)); v.sent-before > most {
						t.Errorf("%d messages, want %d at most", v.sent-before, most)
					}
				})
			}
		}
	}
}

// TestRivals: two publishers of a key that both insist. Nobody forgets it, and
// each of the two says once who is against it.
func TestRivals(t *testing.T) {
	for _, ttl := range ttls {
		t.Run(fmt.Sprint(ttl), func(t *testing.T) {
			v := newVirtual(t, 7, 10*time.Millisecond) // two publishers, and nodes behind the one between
			v.connect(0, 2)
			v.connect(1, 2)
			for i := 2; i < 6; i++ {
				v.connect(i, i+1)
			}
			v.publish(0, "k", "mine", ttl)
			v.publish(1, "k", "not yours", ttl)
			const minutes = 5
			v.pass(minutes * time.Minute)
			v.alive("contested")
			for i, n := range v.nodes {
				want := 0
				if i < 2 {
					want = 1
				}
				if lines := strings.Count(n.log.String(), "level=WARN"); lines != want {
					t.Errorf("node %d has logged %d times, want %d:\n%s", i, lines, want, n.log.String())
				}
			}
			line := v.nodes[0].log.String()
			for _, part := range []string{"key=k", "own=mine", `other="not yours"`, "ownBytes=4", "otherBytes=9"} {
				if !strings.Contains(line, part) {
					t.Errorf("no %s in %s", part, line)
				}
			}
			// Damped: on each connection and in each direction, some messages a second.
			if most := minutes * 60 * 12 * 20; v.sent > most {
				t.Errorf("%d messages, want %d at most", v.sent, most)
			}
		})
	}
}

// TestRivalsInStep: a node that is told two values in turn, and damps just those that
// come out even, still refreshes who is behind it.
func TestRivalsInStep(t *testing.T) {
	v := newVirtual(t, 3, time.Millisecond)
	v.connect(1, 0)
	v.connect(1, 2)
	teller, between := v.nodes[0], v.nodes[1]
	period := MinTTL / dampPart * 2 / 3
	for i := range 500 {
		between.links[teller].ttls = true
		between.told(between.links[teller], wire.Message{ID: wire.Publish, Key: "k", Value: fmt.Sprint(i % 2), TTL: uint32(MinTTL.Milliseconds())})
		between.spread()
		v.pass(period)
	}
	v.nodes = v.nodes[1:]
	v.alive("told in turn")
}

// TestManyRivals: the lines about rivals are few, but there is one for each key.
func TestManyRivals(t *testing.T) {
	v := newVirtual(t, 2, 10*time.Millisecond)
	v.connect(0, 1)
	const keys = 20
	long := strings.Repeat("x", 100_000)
	for i := range keys {
		v.publish(0, fmt.Sprint("k", i), "a", time.Minute)
		v.publish(1, fmt.Sprint("k", i), long, time.Minute)
	}
	v.pass(20 * time.Second)
	early := strings.Count(v.nodes[0].log.String(), "level=WARN")
	if early == 0 || early > 1+int(20*time.Second/disputeEvery) {
		t.Errorf("%d lines in 20 seconds", early)
	}
	v.pass(30 * time.Minute)
	log := v.nodes[0].log.String()
	if lines := strings.Count(log, "level=WARN"); lines != keys {
		t.Errorf("%d lines of %d keys", lines, keys)
	}
	if len(log) > keys*500 {
		t.Errorf("%d bytes of log: values are to be cut", len(log))
	}
}

// TestNoRivals: a publisher that was restarted has no rival, whatever its old value does.
func TestNoRivals(t *testing.T) {
	v := newVirtual(t, 6, 100*time.Millisecond)
	for i := range 4 {
		v.connect(i, i+1)
	}
	v.connect(4, 0)
	v.publish(2, "k", "old", time.Minute)
	v.pass(time.Second)
	must(t, v.nodes[2].adoptable("k"))
	v.publish(5, "k", "new", time.Minute)
	v.connect(5, 0)
	v.connect(5, 3)
	v.pass(10 * time.Minute)
	v.alive("restarted")
	for i, n := range v.nodes {
		if n.log.Len() > 0 {
			t.Errorf("node %d: %s", i, n.log.String())
		}
		if got := n.table.tuples["k"].value; got != "new" {
			t.Errorf("node %d has %q", i, got)
		}
	}
}

// adoptable ends a node's claim, as if its publisher were another process.
func (n *virtualNode) adoptable(key string) error {
	t := n.table.tuples[key]
	if t == nil {
		return fmt.Errorf("no %s", key)
	}
	t.claim = nil
	n.schedule(t)
	return nil
}
