// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

const patience = 20 * time.Second

// net joins services in one process. Each has a goroutine that hands it what comes,
// in order, as the core of a cluster does.
type net struct {
	t     *testing.T
	mu    sync.Mutex // guards below
	hosts []*host
	sent  int
	cut   map[[2]string]bool
}

type host struct {
	net    *net
	id     peer.ID
	s      *Service
	broker *broker.Broker
	open   map[string]bool // guarded by net.mu
	gone   map[string]int  // names retired; guarded by net.mu
	inbox  chan func()
	over   sync.WaitGroup
	views  []peer.ID // guarded by net.mu
	dead   bool
}

func newNet(t *testing.T, n int, set func(i int, c *Config)) *net {
	t.Helper()
	w := &net{t: t, cut: make(map[[2]string]bool)}
	t.Cleanup(func() {
		for _, h := range w.hosts {
			h.kill()
		}
	})
	for i := range n {
		w.add(fmt.Sprintf("h%d", i+1), 1, func(c *Config) {
			if set != nil {
				set(i, c)
			}
		})
	}
	w.view(w.hosts...)
	return w
}

func (w *net) add(node string, boot uint64, set func(*Config)) *host {
	w.t.Helper()
	h := &host{net: w, id: peer.ID{Node: node, Boot: boot}, open: make(map[string]bool), gone: make(map[string]int), inbox: make(chan func(), 1<<16)}
	h.views = []peer.ID{h.id}
	cfg := Config{Net: h, Arbiter: h, AckTimeout: 500 * time.Millisecond, SyncInterval: 20 * time.Millisecond}
	set(&cfg)
	var err error
	if h.s, err = Open(cfg); err != nil {
		w.t.Fatal(err)
	}
	h.broker = broker.New(broker.Config{Names: h.s})
	if err := h.s.Start(h.broker); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.hosts = append(w.hosts, h)
	w.mu.Unlock()
	h.over.Go(func() {
		for f := range h.inbox {
			f()
		}
	})
	return h
}

func (h *host) kill() {
	h.net.mu.Lock()
	was := h.dead
	h.dead = true
	h.net.mu.Unlock()
	if was {
		return
	}
	h.broker.Close()
	if err := h.s.Close(); err != nil {
		h.net.t.Error(err)
	}
	h.net.mu.Lock()
	close(h.inbox)
	h.net.mu.Unlock()
	h.over.Wait()
}

// view makes hosts see each other, and nobody else: the others are lost to them.
func (w *net) view(hosts ...*host) {
	var ids []peer.ID
	for _, h := range hosts {
		ids = append(ids, h.id)
	}
	slices.SortFunc(ids, func(a, b peer.ID) int { return strings.Compare(a.Node, b.Node) })
	var seen sync.WaitGroup
	defer seen.Wait()
	for _, h := range hosts {
		w.mu.Lock()
		before := h.views
		h.views = ids
		w.mu.Unlock()
		seen.Add(1)
		h.post(func() {
			defer seen.Done()
			for _, id := range before {
				if !slices.Contains(ids, id) {
					h.s.Lost(id)
				}
			}
			h.s.ViewChanged()
		})
	}
}

func (h *host) post(f func()) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if !h.dead {
		h.inbox <- f
	}
}

func (h *host) Self() peer.ID { return h.id }

func (h *host) Live() []peer.ID {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return slices.Clone(h.views)
}

func (h *host) Send(to peer.ID, payload []byte) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.net.sent++
	for _, o := range h.net.hosts {
		if o.id == to && !o.dead && !h.dead && slices.Contains(o.views, h.id) {
			o.inbox <- func() { o.s.Receive(h.id, slices.Clone(payload)) }
		}
	}
}

func (h *host) Open(path string) bool {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.open[path]
}

func (h *host) Retire(path string) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.gone[path]++
}

// setOpen says at every host whether a pipe is open.
func (w *net) setOpen(path string, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hosts {
		h.open[path] = open
	}
}

func (w *net) messages() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

func (w *net) eventually(what string, f func() bool) {
	w.t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			for _, h := range w.hosts {
				w.t.Logf("%v: %v", h.id, h.all())
			}
			w.t.Fatalf("not so in time: %s", what)
		}
	}
}

// dir walks to a path's directory.
func (h *host) dir(path string) (*broker.Node, string) {
	h.net.t.Helper()
	i := strings.LastIndexByte(path, '/')
	n, err := h.broker.Walk(context.Background(), path[:max(i, 0)])
	if err != nil {
		h.net.t.Fatalf("%v: %s: %v", h.id, path, err)
	}
	return n, path[i+1:]
}

func (h *host) mkfifo(path string) error {
	dir, name := h.dir(path)
	_, err := h.broker.Mkpipe(context.Background(), dir, name, broker.Owner{Perm: 0o644, UID: 1}, pipe.Fifo)
	return err
}

func (h *host) mkdir(path string) error {
	dir, name := h.dir(path)
	_, err := h.broker.Mkdir(context.Background(), dir, name, broker.Owner{Perm: 0o755, UID: 1})
	return err
}

func (h *host) rm(path string) error {
	dir, name := h.dir(path)
	return h.broker.Remove(context.Background(), dir, name)
}

func (h *host) rmdir(path string) error {
	dir, name := h.dir(path)
	return h.broker.RemoveDir(context.Background(), dir, name)
}

func (h *host) mv(from, to string) error {
	d1, n1 := h.dir(from)
	d2, n2 := h.dir(to)
	return h.broker.Rename(context.Background(), d1, n1, d2, n2, false)
}

func (h *host) stat(path string) (broker.Attr, error) {
	n, err := h.broker.Walk(context.Background(), path)
	if err != nil {
		return broker.Attr{}, err
	}
	return h.broker.Attr(n), nil
}

// ls lists a directory as the mount does.
func (h *host) ls(path string) string {
	h.net.t.Helper()
	n, err := h.broker.Walk(context.Background(), path)
	if err != nil {
		return err.Error()
	}
	list, err := h.broker.List(context.Background(), n)
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// all is the whole tree as this host has it, asking nobody.
func (h *host) all() string {
	var list []string
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for path := range h.s.table.entries {
		if e := h.s.table.visible(path); e != nil {
			list = append(list, fmt.Sprintf("%s:%v:%o", e.Path, e.Pipe, e.Perm))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (w *net) same(hosts ...*host) bool {
	for _, h := range hosts[1:] {
		if h.all() != hosts[0].all() {
			return false
		}
	}
	return true
}
