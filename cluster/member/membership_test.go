// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAlone(t *testing.T) {
	n := start(t, "a", nil)
	if !n.sees(n) {
		t.Fatalf("members %v", n.Members())
	}
	if err := n.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	<-n.Done()
	if n.Err() != nil || n.Close() != nil || n.Leave() != nil {
		t.Fatal("a second end is an error", n.Err())
	}
}

// TestEndedByItself ends serf behind the membership's back.
func TestEndedByItself(t *testing.T) {
	n := start(t, "a", nil)
	if err := n.serf.Shutdown(); err != nil {
		t.Fatal(err)
	}
	<-n.Done()
	if !errors.Is(n.Err(), ErrEnded) || len(n.log.lines("level=ERROR", "ended by itself")) != 1 {
		t.Fatalf("got %v", n.Err())
	}
}

func TestStartIsCancelled(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	cancel(cause)
	m, err := Start(ctx, Config{Node: "a", Boot: 1, Version: 1, Bind: "127.0.0.1:0", Join: []string{silent.Addr().String()}})
	if m != nil || !errors.Is(err, cause) {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestJoinAndLeave(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", joining(a.addr()))
	c := start(t, "c", joining(b.addr()))
	awaitCluster(t, a, b, c)

	begun := time.Now()
	if err := b.Leave(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("leaving took %v", took)
	}
	awaitCluster(t, a, c)
	for _, n := range []*node{a, c} {
		if r, ok := n.went(b.id()); !ok || r != Left {
			t.Errorf("%v: b went %v, %v", n.id(), r, ok)
		}
	}
}

// Addresses that are learned later are joined as those of the configuration are.
func TestSeek(t *testing.T) {
	a, b, c := start(t, "a", nil), start(t, "b", nil), start(t, "c", nil)
	a.Seek([]string{"nonsense", b.addr()})
	awaitCluster(t, a, b)
	a.Seek([]string{c.addr(), a.addr()})
	awaitCluster(t, a, b, c)
	if len(a.log.lines("level=WARN", "nonsense")) != 1 {
		t.Error("an address that is none is not told")
	}
}

func TestKillIsNoticed(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", joining(a.addr()))
	c := start(t, "c", joining(a.addr()))
	awaitCluster(t, a, b, c)

	begun := time.Now()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, a, c)
	took, promised := time.Since(begun), Local.FailureTimeout(3)
	t.Logf("noticed after %v, promised %v", took, promised)
	if took > promised+2*time.Second { // the machine may be busy
		t.Errorf("noticed after %v, promised %v", took, promised)
	}
	for _, n := range []*node{a, c} {
		if r, ok := n.went(b.id()); !ok || r != Failed {
			t.Errorf("%v: b went %v, %v", n.id(), r, ok)
		}
	}
}

// TestNewBoot restarts a broker at the same address before its death is noticed:
// its old life has failed, its new life is there.
func TestNewBoot(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", joining(a.addr()))
	awaitCluster(t, a, b)
	b.Close()
	again := start(t, "b", func(c *Config) { c.Bind, c.Join = b.addr(), []string{a.addr()} })
	awaitCluster(t, a, again)
	if r, ok := a.went(b.id()); !ok || r != Failed {
		t.Errorf("the old life went %v, %v", r, ok)
	}
	if _, ok := a.went(again.id()); ok {
		t.Error("the new life went, too")
	}
}

// TestLeaveAndReturn has a broker leave and come back at the same address.
func TestLeaveAndReturn(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", joining(a.addr()))
	awaitCluster(t, a, b)
	if err := b.Leave(); err != nil {
		t.Fatal(err)
	}
	b.Close()
	again := start(t, "b", func(c *Config) { c.Bind, c.Join = b.addr(), []string{a.addr()} })
	awaitCluster(t, a, again)
	if r, ok := a.went(b.id()); !ok || r != Left {
		t.Errorf("the old life went %v, %v", r, ok)
	}
}

// TestMovedBroker restarts a killed broker at another address.
func TestMovedBroker(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", joining(a.addr()))
	awaitCluster(t, a, b)
	b.Close()
	moved := start(t, "b", joining(a.addr()))
	awaitCluster(t, a, moved)
	if r, ok := a.went(b.id()); !ok || r != Failed {
		t.Errorf("the old life went %v, %v", r, ok)
	}
}

// TestSeedReturns has a seed that knows nobody leave and come back: who it is a
// seed of finds it, and so does who has only heard of it.
func TestSeedReturns(t *testing.T) {
	for _, kind := range []string{"listed", "remembered"} {
		t.Run(kind, func(t *testing.T) {
			seed := start(t, "seed", nil)
			b := start(t, "b", joining(seed.addr()))
			other := b
			if kind == "remembered" {
				other = start(t, "c", joining(b.addr()))
				awaitCluster(t, seed, b, other)
				b.Close() // who had it on its list
				awaitCluster(t, seed, other)
			}
			awaitCluster(t, seed, other)
			if err := seed.Leave(); err != nil {
				t.Fatal(err)
			}
			seed.Close()
			awaitCluster(t, other)
			again := start(t, "seed", func(c *Config) { c.Bind = seed.addr() })
			awaitCluster(t, again, other)
		})
	}
}

// TestAllButOneLost kills all but one, and brings them back knowing nobody.
func TestAllButOneLost(t *testing.T) {
	nodes := []*node{start(t, "n0", nil)}
	for i := range 3 {
		nodes = append(nodes, start(t, fmt.Sprintf("n%d", i+1), joining(nodes[0].addr())))
	}
	awaitCluster(t, nodes...)
	survivor := nodes[3]
	for _, n := range nodes[:3] {
		n.Close()
	}
	awaitCluster(t, survivor)
	for i, n := range nodes[:3] {
		nodes[i] = start(t, fmt.Sprintf("n%d", i), func(c *Config) { c.Bind = n.addr() })
	}
	awaitCluster(t, nodes...)
}

// TestSeedComesLater starts a broker before the seed that it shall join at.
func TestSeedComesLater(t *testing.T) {
	place := start(t, "place", nil)
	addr := place.addr()
	place.Close()
	a := start(t, "a", joining(addr, "no.such.host.invalid:1"))
	if !a.sees(a) {
		t.Fatalf("members %v", a.Members())
	}
	if lines := a.log.lines("cannot join", addr); len(lines) != 1 {
		t.Errorf("lines of the seed that is not there: %q", lines)
	}
	if lines := a.log.lines("cannot join", "no.such.host.invalid"); len(lines) != 1 {
		t.Errorf("lines of the seed without an address: %q", lines)
	}
	b := start(t, "b", func(c *Config) { c.Bind = addr })
	awaitCluster(t, a, b)
	if lines := a.log.lines("cannot join", addr); len(lines) != 1 {
		t.Errorf("lines of the seed that was not there: %q", lines)
	}
}

func TestUpdateTags(t *testing.T) {
	a := start(t, "a", func(c *Config) { c.Endpoint = "" })
	b := start(t, "b", joining(a.addr()))
	awaitCluster(t, a, b)
	const key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
	if err := a.UpdateTags("tcp://127.0.0.1:7777", key); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, a, b)
	i := slices.IndexFunc(b.Members(), func(m Member) bool { return m.ID == a.id() })
	if m := b.Members()[i]; m.Endpoint != "tcp://127.0.0.1:7777" || m.Key != key {
		t.Errorf("b sees %+v", m)
	}
	if _, ok := b.went(a.id()); ok {
		t.Error("a went")
	}

	long := "tcp://" + strings.Repeat("x", 500)
	if err := a.UpdateTags(long, key); !errors.Is(err, ErrTags) {
		t.Errorf("got %v", err)
	}
	if a.Self().Endpoint != "tcp://127.0.0.1:7777" {
		t.Error("tags that are too long were taken")
	}
	if _, err := tryStart(t, "c", func(c *Config) { c.Endpoint = long }); !errors.Is(err, ErrTags) {
		t.Errorf("got %v", err)
	}
}

// TestOwnAddressInList gives all brokers the same list.
func TestOwnAddressInList(t *testing.T) {
	a := start(t, "a", nil)
	addr := a.addr()
	a.Close()
	a = start(t, "a", func(c *Config) { c.Bind, c.Join = addr, []string{addr} })
	b := start(t, "b", joining(addr))
	awaitCluster(t, a, b)
	if lines := a.log.lines("level=WARN"); len(lines) != 0 {
		t.Errorf("warnings: %q", lines)
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"node":      func(c *Config) { c.Node = "a/b" },
		"--node":    func(c *Config) { c.Node = "" },
		"bytes":     func(c *Config) { c.Node = strings.Repeat("n", 129) },
		"boot":      func(c *Config) { c.Boot = 0 },
		"version":   func(c *Config) { c.Version = 0 },
		"profile":   func(c *Config) { c.Profile = "lann" },
		"bind":      func(c *Config) { c.Bind = "localhost" },
		"join":      func(c *Config) { c.Join = []string{"10.9.0.1"} },
		"advertise": func(c *Config) { c.Advertise = "0.0.0.0" },
	} {
		if _, err := tryStart(t, "a", change); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	a := start(t, "a", nil)
	if _, err := tryStart(t, "b", func(c *Config) { c.Bind = a.addr() }); err == nil || !strings.Contains(err.Error(), "--bind") {
		t.Errorf("an address in use: got %v", err)
	}
}

func TestAdvertise(t *testing.T) {
	a := start(t, "a", func(c *Config) { c.Bind, c.Advertise = "0.0.0.0:0", "127.0.0.1" })
	b := start(t, "b", joining(a.addr()))
	awaitCluster(t, a, b)
	if !strings.HasPrefix(a.addr(), "127.0.0.1:") || strings.HasSuffix(a.addr(), ":0") {
		t.Errorf("advertised %s", a.addr())
	}
	c := start(t, "c", func(c *Config) { c.Bind = "" })
	if strings.HasPrefix(c.addr(), "0.0.0.0") {
		t.Errorf("advertised %s", c.addr())
	}
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("this host has no IPv6: %v", err)
		return
	}
	l.Close()
	v6 := start(t, "v6", func(c *Config) { c.Bind = "[::1]:0" })
	d := start(t, "d", func(c *Config) { c.Bind, c.Join = "[::1]:0", []string{v6.addr()} })
	awaitCluster(t, v6, d)
}
