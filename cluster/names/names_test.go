// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

func check(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

// quiet has no background work, so that what a command does shows alone.
func quiet(_ int, c *Config) { c.SyncInterval = time.Hour }

// What one host does the next command on any other sees.
func TestNextCommand(t *testing.T) {
	w := newNet(t, 3, quiet)
	a, b, c := w.hosts[0], w.hosts[1], w.hosts[2]
	for i := range 8 { // names that have their homes on all hosts
		p, d := fmt.Sprint("p", i), fmt.Sprint("d", i)
		check(t, "mkfifo", a.mkfifo(p), nil)
		if at, err := b.stat(p); err != nil || at.Kind != broker.Pipe || at.Perm != 0o644 || at.UID != 1 {
			t.Fatalf("stat: %+v, %v", at, err)
		}
		check(t, "mkfifo again", c.mkfifo(p), fs.ErrExist)
		check(t, "mkdir", b.mkdir(d), nil)
		check(t, "mkfifo in it", c.mkfifo(d+"/x"), nil)
		if got := a.ls(d); got != "x" {
			t.Fatalf("ls: %q", got)
		}
		check(t, "rmdir", a.rmdir(d), broker.ErrNotEmpty)
		n, err := c.broker.Walk(context.Background(), p)
		check(t, "walk", err, nil)
		perm := uint32(0o600)
		if _, err := c.broker.SetAttr(context.Background(), n, broker.Change{Perm: &perm}); err != nil {
			t.Fatal(err)
		}
		check(t, "mode", c.broker.SetMode(context.Background(), n, pipe.Fanout), nil)
		for _, h := range w.hosts {
			if at, err := h.stat(p); err != nil || at.Perm != perm || at.Mode != pipe.Fanout {
				t.Fatalf("%v: %+v, %v", h.id, at, err)
			}
		}
		check(t, "mv", b.mv(p, d+"/y"), nil)
		for _, h := range w.hosts {
			_, err := h.stat(p)
			check(t, "stat of what has moved", err, fs.ErrNotExist)
			if got := h.ls(d); got != "x y" {
				t.Fatalf("%v: ls: %q", h.id, got)
			}
		}
		check(t, "mv of a directory", a.mv(d, "e"), nil)
		for _, h := range w.hosts {
			if got := h.ls("e"); got != "x y" {
				t.Fatalf("%v: ls: %q", h.id, got)
			}
		}
		w.setOpen("e/x", true)
		check(t, "mv of an open pipe", b.mv("e/x", "z"), broker.ErrOpen)
		w.setOpen("e/x", false)
		for _, q := range []string{"e/x", "e/y"} {
			check(t, "rm", c.rm(q), nil)
		}
		check(t, "rmdir", b.rmdir("e"), nil)
		for _, h := range w.hosts {
			_, err := h.stat("e")
			check(t, "stat of what was removed", err, fs.ErrNotExist)
		}
	}
	if !w.same(w.hosts...) {
		t.Error("the hosts differ")
	}
}

// One of those who make a name at the same time makes it.
func TestMadeOnce(t *testing.T) {
	w := newNet(t, 4, quiet)
	for i := range 20 {
		var made, exist int
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, h := range w.hosts {
			all.Go(func() {
				err := h.mkdir(fmt.Sprint("lock", i))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made++
				case errors.Is(err, fs.ErrExist):
					exist++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if made != 1 || exist != 3 {
			t.Fatalf("%d made it, for %d it was there", made, exist)
		}
	}
}

// A new name costs the same in a large cluster.
func TestCost(t *testing.T) {
	var cost [2]int
	for i, n := range []int{10, 200} {
		w := newNet(t, n, quiet)
		before, still := 0, 0
		w.eventually("pulled", func() bool {
			now := w.messages()
			if still++; now != before {
				before, still = now, 0
			}
			return still > 100 && now >= n*(n-1)
		})
		home := peer.Home("new", w.hosts[0].s.nodes)
		for _, h := range w.hosts {
			if h.id.Node != home {
				check(t, "mkfifo", h.mkfifo("new"), nil)
				break
			}
		}
		cost[i] = w.messages() - before
	}
	if cost[0] != cost[1] || cost[0] == 0 || cost[0] > 4 { // question and answer, home and deputy
		t.Errorf("a new name costs %d messages with 10 brokers and %d with 200", cost[0], cost[1])
	}
}

// A home that dies takes nothing with it, also what nobody but it and the maker knew.
func TestHomeDies(t *testing.T) {
	w := newNet(t, 4, quiet)
	var paths []string
	for i := range 40 {
		paths = append(paths, fmt.Sprint("p", i))
		check(t, "mkfifo", w.hosts[0].mkfifo(paths[i]), nil)
	}
	w.hosts[3].kill()
	rest := w.hosts[:3]
	w.view(rest...)
	for _, p := range paths {
		w.eventually("found: "+p, func() bool { _, err := rest[1].stat(p); return err == nil })
		check(t, "mkfifo again", rest[2].mkfifo(p), fs.ErrExist)
	}
}

// What both sides of a partition did is merged, the later change wins.
func TestPartition(t *testing.T) {
	w := newNet(t, 4, nil)
	a, b, c, d := w.hosts[0], w.hosts[1], w.hosts[2], w.hosts[3]
	check(t, "mkdir", a.mkdir("dir"), nil)
	check(t, "mkfifo", a.mkfifo("old"), nil)
	check(t, "mkfifo", a.mkfifo("kept"), nil)
	w.eventually("all know all", func() bool { return w.same(w.hosts...) && a.ls("") == "dir kept old" })
	w.view(a, b)
	w.view(c, d)
	check(t, "mkfifo", a.mkfifo("left"), nil)
	check(t, "mkfifo", c.mkfifo("right"), nil)
	check(t, "mkfifo", a.mkfifo("both"), nil)
	check(t, "mkdir", d.mkdir("both"), nil)
	check(t, "rm", b.rm("old"), nil)
	check(t, "rmdir", c.rmdir("dir"), nil)
	check(t, "mkfifo", b.mkfifo("dir/new"), nil) // the living keep their directory
	w.view(w.hosts...)
	w.eventually("all agree", func() bool { return w.same(w.hosts...) })
	for _, h := range w.hosts {
		w.eventually("the merged tree", func() bool { return h.ls("") == "both dir kept left right" })
		if at, err := h.stat("both"); err != nil || at.Kind != broker.Dir {
			t.Errorf("%v: the later of a pipe and a directory is %v, %v", h.id, at.Kind, err)
		}
		if got := h.ls("dir"); got != "new" {
			t.Errorf("%v: ls dir: %q", h.id, got)
		}
	}
}

// Hosts whose clocks differ by hours agree, and who comes later wins.
func TestClockSkew(t *testing.T) {
	w := newNet(t, 3, func(i int, c *Config) {
		skew := int64(i-1) * int64(5*time.Hour)
		c.Clock = func() int64 { return time.Now().UnixNano() + skew }
	})
	for i := range 20 {
		p := fmt.Sprint("p", i)
		for round := range 6 {
			h, o := w.hosts[(i+round)%3], w.hosts[(i+round+1)%3]
			check(t, "mkfifo", h.mkfifo(p), nil)
			_, err := o.stat(p)
			check(t, "stat", err, nil)
			check(t, "rm", o.rm(p), nil)
			_, err = h.stat(p)
			check(t, "stat of what was removed", err, fs.ErrNotExist)
		}
	}
	w.eventually("all agree", func() bool { return w.same(w.hosts...) && w.hosts[0].ls("") == "" })
}

// Entries give the same tree in whatever order they come, and however often.
func TestMerge(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var list []peer.Entry
		paths := []string{"a", "a/b", "a/b/c", "a/d", "e", "e/f"}
		for i := range 30 {
			list = append(list, peer.Entry{Path: paths[rng.IntN(len(paths))], Pipe: rng.IntN(2) == 0, Perm: uint32(i), Dead: rng.IntN(3) == 0, Time: int64(rng.IntN(20) + 1), Node: fmt.Sprint(rng.IntN(3), "-", i)})
		}
		var want string
		for round := range 4 {
			w := newNet(t, 1, quiet)
			h := w.hosts[0]
			rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			h.s.mu.Lock()
			for _, e := range append(list, list[:10]...) {
				h.s.accept(e)
			}
			h.s.mu.Unlock()
			got := h.all() + " | " + h.tree("")
			if round == 0 {
				want = got
			} else if got != want {
				t.Fatalf("seed %d: the order matters:\n%s\n%s", seed, got, want)
			}
			h.kill()
		}
	}
}

// tree is the broker's tree below a directory.
func (h *host) tree(dir string) (s string) {
	for _, name := range splitNames(h.ls(dir)) {
		path := name
		if dir != "" {
			path = dir + "/" + name
		}
		at, err := h.stat(path)
		if err != nil {
			return err.Error()
		}
		s += fmt.Sprintf("%s:%v ", path, at.Kind)
		if at.Kind == broker.Dir {
			s += h.tree(path)
		} else {
			s += fmt.Sprintf("%o ", at.Perm)
		}
	}
	return s
}

func splitNames(s string) (names []string) {
	for name := range strings.FieldsSeq(s) {
		names = append(names, name)
	}
	return names
}

// A storm of changes from all hosts ends in the same tree everywhere.
func TestStorm(t *testing.T) {
	w := newNet(t, 4, nil)
	var all sync.WaitGroup
	for i, h := range w.hosts {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			for range 150 {
				p := fmt.Sprint("p", rng.IntN(8))
				var err error
				switch rng.IntN(3) {
				case 0:
					err = h.mkfifo(p)
				case 1:
					err = h.rm(p)
				case 2:
					_, err = h.stat(p)
				}
				if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%v: %s: %v", h.id, p, err)
				}
			}
		})
	}
	all.Wait()
	w.eventually("all agree", func() bool { return w.same(w.hosts...) })
	for _, h := range w.hosts[1:] {
		if got, want := h.tree(""), w.hosts[0].tree(""); got != want {
			t.Errorf("%v has %q, %v has %q", h.id, got, w.hosts[0].id, want)
		}
	}
}

// A name that a client's open makes is there for all while it is open.
func TestTransient(t *testing.T) {
	w := newNet(t, 3, quiet)
	a, b := w.hosts[0], w.hosts[1]
	for i := range 6 {
		p := fmt.Sprint("client", i)
		over := make(chan struct{})
		op := &pipe.OpenOp{Read: true, Patient: true, Done: func(*pipe.OpenOp) { close(over) }}
		a.broker.OpenName(p, op)
		<-over
		check(t, "open", op.Err, nil)
		w.setOpen(p, true)
		if at, err := b.stat(p); err != nil || at.Mode != pipe.Exclusive {
			t.Fatalf("stat: %+v, %v", at, err)
		}
		if got := w.hosts[2].ls(""); got != p {
			t.Fatalf("ls: %q", got)
		}
		check(t, "mkfifo", b.mkfifo(p), fs.ErrExist)
		w.setOpen(p, false)
		op.Reader.Close()
		for _, h := range w.hosts {
			w.eventually("gone", func() bool { _, err := h.stat(p); return errors.Is(err, fs.ErrNotExist) && h.ls("") == "" })
		}
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	on := func(_ int, c *Config) { c.StateDir = dir }
	w := newNet(t, 1, on)
	h := w.hosts[0]
	check(t, "mkdir", h.mkdir("d"), nil)
	check(t, "mkfifo", h.mkfifo("d/p"), nil)
	check(t, "mkfifo", h.mkfifo("gone"), nil)
	check(t, "rm", h.rm("gone"), nil)
	if _, err := Open(Config{Net: h, Arbiter: h, StateDir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second broker of the directory: %v", err)
	}
	want := h.all()
	h.kill()
	h = newNet(t, 1, on).hosts[0]
	if got := h.all(); got != want || h.ls("d") != "p" || h.ls("") != "d" {
		t.Errorf("after a restart: %q, %q, want %q", got, h.ls(""), want)
	}
	h.kill()
	// A damaged file is set aside.
	file := filepath.Join(dir, fileName)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func() error{
		func() error { return os.Truncate(file, info.Size()/2) },
		func() error { return os.WriteFile(file, []byte("not a database"), 0o600) },
		func() error { return os.WriteFile(file, make([]byte, info.Size()), 0o600) },
	} {
		check(t, "damage", damage(), nil)
		h = newNet(t, 1, on).hosts[0]
		check(t, "mkfifo", h.mkfifo("new"), nil)
		h.kill()
	}
	aside, err := filepath.Glob(file + ".damaged-*")
	if err != nil || len(aside) == 0 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}

// A home that is silent, and not declared dead, delays and then is an error.
func TestSilentHome(t *testing.T) {
	w := newNet(t, 2, func(_ int, c *Config) { quiet(0, c); c.AskTimeout = 50 * time.Millisecond })
	a, b := w.hosts[0], w.hosts[1]
	w.mu.Lock()
	b.views = []peer.ID{b.id} // it hears nothing of the other
	w.mu.Unlock()
	var silent error
	for i := range 50 {
		if err := a.mkfifo(fmt.Sprint("p", i)); err != nil {
			silent = err
			break
		}
	}
	check(t, "mkfifo", silent, context.DeadlineExceeded)
}
