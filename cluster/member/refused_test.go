// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zpipesfs/zpipesfs/cluster/key"
)

// awaitRefusal waits until n has logged a refusal with these words, and checks
// that it is one line and that n is alone.
func awaitRefusal(t *testing.T, n *node, words ...string) {
	t.Helper()
	words = append(words, errRefused.Error(), "level=WARN")
	await(t, "a line with "+strings.Join(words, ", "), func() bool { return len(n.log.lines(words...)) > 0 })
	if lines := n.log.lines(words...); len(lines) != 1 {
		t.Errorf("%v: %d lines: %q", n.id(), len(lines), lines)
	}
	if !n.sees(n) {
		t.Errorf("%v sees %v", n.id(), n.Members())
	}
}

// awaitTries waits until n has tried to join twice more.
func awaitTries(t *testing.T, n *node) {
	t.Helper()
	n.report.limit.mu.Lock()
	start := n.tries()
	n.report.limit.mu.Unlock()
	await(t, "two more tries", func() bool {
		n.report.limit.mu.Lock()
		defer n.report.limit.mu.Unlock()
		return n.tries() >= start+2
	})
}

// tries counts the refusals that were not logged. The caller holds limit.mu.
func (n *node) tries() int {
	sum := 0
	for about, m := range n.report.limit.matters {
		if strings.HasPrefix(about, "refused ") {
			sum += m.withheld
		}
	}
	return sum
}

func TestKeys(t *testing.T) {
	one, other := key.New(), key.New()
	for name, c := range map[string]struct {
		a, b     *key.Ring
		atA, atB string
	}{
		"another":    {one, other, "another cluster key", "another cluster key"},
		"none here":  {one, nil, "it has no cluster key", "this broker has none"},
		"none there": {nil, one, "this broker has none", "it has no cluster key"},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, "a", func(cfg *Config) { cfg.Key = c.a })
			b := start(t, "b", func(cfg *Config) { cfg.Key, cfg.Join = c.b, []string{a.addr()} })
			awaitRefusal(t, a, c.atA)
			awaitRefusal(t, b, c.atB, "addr="+a.addr())
			awaitTries(t, b)
			awaitRefusal(t, a, c.atA)
			awaitRefusal(t, b, c.atB)
		})
	}
	t.Run("same", func(t *testing.T) {
		a := start(t, "a", func(cfg *Config) { cfg.Key = one })
		b := start(t, "b", func(cfg *Config) { cfg.Key, cfg.Join = one, []string{a.addr()} })
		awaitCluster(t, a, b)
	})
}

// ringOf loads a ring of other rings' keys, first first.
func ringOf(t *testing.T, rings ...*key.Ring) *key.Ring {
	t.Helper()
	var text []byte
	for _, r := range rings {
		path := filepath.Join(t.TempDir(), "key")
		if err := r.Create(path); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, file...)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := key.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// TestKeyRotation has brokers of two neighbouring steps of a rotation in one
// cluster, and keeps apart what is two steps apart.
func TestKeyRotation(t *testing.T) {
	old, fresh := key.New(), key.New()
	steps := []*key.Ring{old, ringOf(t, old, fresh), ringOf(t, fresh, old), fresh}
	for i := range len(steps) - 1 {
		a := start(t, "a", func(c *Config) { c.Key = steps[i] })
		b := start(t, "b", func(c *Config) { c.Key, c.Join = steps[i+1], []string{a.addr()} })
		awaitCluster(t, a, b)
		a.Close()
		b.Close()
	}
	a := start(t, "a", func(c *Config) { c.Key = steps[0] })
	b := start(t, "b", func(c *Config) { c.Key, c.Join = steps[2], []string{a.addr()} })
	awaitRefusal(t, a, "another cluster key")
	awaitRefusal(t, b, "another cluster key")
}

func TestVersions(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", func(c *Config) { c.Version, c.Join = 2, []string{a.addr()} })
	awaitRefusal(t, a, "it speaks version 2", "this broker version 1", "run one release")
	awaitRefusal(t, b, "it speaks version 1", "this broker version 2", "addr="+a.addr())
	awaitTries(t, b)
	awaitRefusal(t, a, "it speaks version 2")
	awaitRefusal(t, b, "it speaks version 1")
}

// TestUpgradeInPlace restarts a broker as another version at its address: the
// others must not take its answers for its old life's.
func TestUpgradeInPlace(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", joining(a.addr()))
	awaitCluster(t, a, b)
	b.Close()
	upgraded := start(t, "b", func(c *Config) { c.Bind, c.Version = b.addr(), 2 })
	awaitCluster(t, a)
	if r, ok := a.went(b.id()); !ok || r != Failed {
		t.Errorf("the old life went %v, %v", r, ok)
	}
	awaitRefusal(t, upgraded, "it speaks version 1")
	awaitRefusal(t, a, "it speaks version 2")
}

// TestNameConflict starts a broker with a name that is taken, joining at whose it
// is or at a third.
func TestNameConflict(t *testing.T) {
	for _, at := range []string{"same", "third"} {
		t.Run(at, func(t *testing.T) {
			a := start(t, "same", nil)
			c := start(t, "third", joining(a.addr()))
			awaitCluster(t, a, c)
			asked := map[string]*node{"same": a, "third": c}[at]
			b := start(t, "same", joining(asked.addr()))
			for _, n := range []*node{asked, b} {
				words := []string{"level=ERROR", "same node name", "--node", "node=same", a.addr(), b.addr()}
				await(t, "a line of the conflict", func() bool { return len(n.log.lines(words...)) > 0 })
			}
			await(t, "another try", func() bool {
				b.report.limit.mu.Lock()
				defer b.report.limit.mu.Unlock()
				m := b.report.limit.matters["conflict same"]
				return m != nil && m.withheld > 0
			})
			if !b.sees(b) {
				t.Errorf("who came second sees %v", b.Members())
			}
			awaitCluster(t, a, c)
			if lines := b.log.lines("same node name"); len(lines) != 1 {
				t.Errorf("lines %q", lines)
			}
		})
	}
}

// TestStranger connects what is no broker, both ways.
func TestStranger(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("220 mail.example ESMTP\r\n"))
			c.Close()
		}
	}()
	defer func() { l.Close(); <-served }()
	a := start(t, "a", joining(l.Addr().String()))
	awaitRefusal(t, a, "no zpipes broker", "addr="+l.Addr().String())

	b := start(t, "b", nil)
	c, err := net.Dial("tcp", b.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	awaitRefusal(t, b, "no zpipes broker", "addr="+c.LocalAddr().String())
}
