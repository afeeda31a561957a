// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package names tests a mount whose names other hosts decide about, while such a
// host is silent. The test process serves the mount, programs use it.
package names

import (
	"context"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	mount "github.com/zpipesfs/zpipesfs/fs"
	"github.com/zpipesfs/zpipesfs/integration/lab"
)

const limit = 10 * time.Second // for what takes milliseconds

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, strings.Fields("bash cat chmod ls mkdir mkfifo mv python3 rm rmdir setfattr stat touch")...))
}

// hosts grant what is asked of them, but are silent about the directory "silent"
// and late about "late".
type hosts struct {
	b *broker.Broker

	mu      sync.Mutex // guards below
	waiting map[string]int
	speak   chan struct{} // closed: no longer silent
}

func (h *hosts) ask(ctx context.Context, p string) error {
	switch top, _, below := strings.Cut(p, "/"); {
	case top == "late" && below:
		return context.DeadlineExceeded
	case top != "silent" || !below:
		return nil
	}
	h.count(p, 1)
	defer h.count(p, -1)
	select {
	case <-h.speak:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *hosts) count(p string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[p] += n; h.waiting[p] == 0 {
		delete(h.waiting, p)
	}
}

// asked reports how many calls wait: for a path, or in all for "".
func (h *hosts) asked(p string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for q, k := range h.waiting {
		if p == "" || p == q {
			n += k
		}
	}
	return n
}

// Find knows of pipes that are called far, and at once that new is none.
func (h *hosts) Find(ctx context.Context, p string) error {
	if path.Base(p) == "new" {
		return fs.ErrNotExist
	}
	if err := h.ask(ctx, p); err != nil {
		return err
	}
	if path.Base(p) != "far" {
		return fs.ErrNotExist
	}
	h.b.Apply(broker.Entry{Path: p, Kind: broker.Pipe, Owner: broker.Owner{Perm: 0o644}})
	return nil
}

func (h *hosts) List(ctx context.Context, dir string) error { return h.ask(ctx, dir+"/") }

func (h *hosts) Make(ctx context.Context, e broker.Entry) error {
	if err := h.ask(ctx, e.Path); err != nil {
		return err
	}
	h.b.Apply(e)
	return nil
}

func (h *hosts) Set(ctx context.Context, p string, c broker.Change) error { return h.ask(ctx, p) }

func (h *hosts) SetMode(ctx context.Context, p string, m pipe.Mode) error { return h.ask(ctx, p) }

func (h *hosts) Remove(ctx context.Context, p string, k broker.Kind) error {
	if err := h.ask(ctx, p); err != nil {
		return err
	}
	h.b.Erase(p)
	return nil
}

func (h *hosts) Rename(ctx context.Context, from, to string, keep bool) error {
	if err := h.ask(ctx, from); err != nil {
		return err
	}
	h.b.Move(from, to)
	return nil
}

// served is a mount and the hosts that decide about its names.
type served struct {
	*hosts
	dir   string
	mount *mount.Mount
}

// serve mounts a broker that has the directories silent, late and loud, each with
// pipes p, q and r, an empty directory d and a client's pipe t that only others hold.
func serve(t *testing.T) *served {
	t.Helper()
	h := &hosts{waiting: map[string]int{}, speak: make(chan struct{})}
	h.b = broker.New(broker.Config{Names: h})
	for _, dir := range []string{"silent", "late", "loud"} {
		for _, e := range []broker.Entry{
			{Path: dir, Kind: broker.Dir},
			{Path: dir + "/d", Kind: broker.Dir},
			{Path: dir + "/p", Kind: broker.Pipe},
			{Path: dir + "/q", Kind: broker.Pipe},
			{Path: dir + "/r", Kind: broker.Pipe},
			{Path: dir + "/t", Kind: broker.Pipe, Transient: true},
		} {
			e.Owner.Perm = 0o777
			h.b.Apply(e)
		}
	}
	dir := lab.Dir(t)
	m, err := mount.New(dir, mount.Config{Broker: h.b, Name: "names"})
	if err != nil {
		t.Fatal(err)
	}
	s := &served{hosts: h, dir: dir, mount: m}
	t.Cleanup(s.close(t))
	return s
}

// close returns what takes the mount away, as an ending daemon does; it may run
// twice.
func (s *served) close(t *testing.T) func() {
	return func() {
		s.b.Close()
		if err := s.mount.Close(); err != nil {
			t.Error(err)
		}
		if n := s.asked(""); n > 0 {
			t.Errorf("%d questions outlive the mount", n)
		}
	}
}

// start runs a script in the mount that waits for a silent host's word on a path.
func (s *served) start(t *testing.T, path, script string) *lab.Process {
	t.Helper()
	before := s.asked(path)
	p := lab.Start(t, s.shell(script))
	if !lab.Until(limit, func() bool { return s.asked(path) > before }) {
		t.Fatalf("%q does not wait: %v", script, p.Describe())
	}
	return p
}

func (s *served) shell(script string) lab.Command {
	return lab.Shell("bash", `set -e; `+script, "M="+s.dir)
}

// must runs a script in the mount that waits for nobody.
func (s *served) must(t *testing.T, script string) {
	t.Helper()
	if r := lab.Run(t, limit, s.shell(script)); r.Status != "exit 0" {
		t.Errorf("%s: %v", script, r)
	}
}

// Drop has nobody to tell.
func (h *hosts) Drop(string) {}
