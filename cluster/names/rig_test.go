// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// world is a cluster on a network in memory. Tests run in a bubble of synctest: time
// passes when all wait.
type world struct {
	t   *testing.T
	cfg Config

	mu    sync.Mutex // guards below
	hosts map[string]*host
	cut   map[[2]string]bool // from, to
	sent  map[peer.NamesKind]int
	bytes int

	twice bool // keep a second copy of each request
	late  []func()

	real bool // hosts have brokers
}

// host is a broker as far as names go.
type host struct {
	*Service
	w    *world
	id   peer.ID
	tree *model         // what names show in, unless
	b    *broker.Broker // this is set

	mu     sync.Mutex // guards below
	live   []peer.ID
	inbox  []func()
	kick   chan struct{}
	quit   chan struct{}
	done   sync.WaitGroup
	clock  time.Duration // ahead of the bubble's
	dead   bool
	silent bool // takes nothing in
}

func newWorld(t *testing.T, cfg Config) *world {
	w := &world{t: t, cfg: cfg, hosts: map[string]*host{}, cut: map[[2]string]bool{}, sent: map[peer.NamesKind]int{}}
	return w
}

// boot starts a broker that sees only itself.
func (w *world) boot(node string, boot uint64, cfg Config) *host {
	w.t.Helper()
	h := &host{w: w, id: peer.ID{Node: node, Boot: boot}, kick: make(chan struct{}, 1), quit: make(chan struct{})}
	h.tree = newModel(w.t, node)
	var tree Tree = h.tree
	h.live = []peer.ID{h.id}
	cfg.Log = slog.New(slog.NewTextHandler(w.t.Output(), nil)).With("host", node)
	cfg.Now = func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return time.Now().Add(h.clock)
	}
	var ends Arbiter = h.tree
	if w.real {
		ends = w
	}
	cfg.Net, cfg.Arbiter = h, ends
	var err error
	if h.Service, err = Open(cfg); err != nil {
		w.t.Fatal(err)
	}
	if w.real {
		h.b = broker.New(broker.Config{Names: h.Service, Owner: broker.Owner{Perm: 0o755}, Log: cfg.Log})
		tree = h.b
	}
	if err := h.Start(tree); err != nil {
		w.t.Fatal(err)
	}
	h.done.Go(h.pump)
	w.mu.Lock()
	w.hosts[node] = h
	w.mu.Unlock()
	return h
}

// cluster starts hosts that see each other, named a, b, c, ...
func (w *world) cluster(n int) []*host {
	var all []*host
	for i := range n {
		all = append(all, w.boot(fmt.Sprintf("%c%d", 'a'+i%26, i), 1, w.cfg))
	}
	w.view(all...)
	synctest.Wait()
	return all
}

// view makes hosts see each other and nobody else.
func (w *world) view(hosts ...*host) {
	var ids []peer.ID
	for _, h := range hosts {
		ids = append(ids, h.id)
	}
	for _, h := range hosts {
		h.see(ids)
	}
}

func (h *host) see(ids []peer.ID) {
	h.mu.Lock()
	h.live = slices.Clone(ids)
	h.mu.Unlock()
	h.post(h.ViewChanged)
}

// split cuts the links between groups and lets each see itself alone.
func (w *world) split(groups ...[]*host) {
	for i, g := range groups {
		for j, o := range groups {
			for _, a := range g {
				for _, b := range o {
					w.link(a, b, i != j)
				}
			}
		}
	}
	for _, g := range groups {
		w.view(g...)
	}
}

func (w *world) link(a, b *host, cut bool) {
	w.mu.Lock()
	was := w.cut[[2]string{a.id.Node, b.id.Node}]
	w.cut[[2]string{a.id.Node, b.id.Node}] = cut
	w.cut[[2]string{b.id.Node, a.id.Node}] = cut
	w.mu.Unlock()
	if cut && !was {
		a.post(func() { a.Lost(b.id) })
		b.post(func() { b.Lost(a.id) })
	}
}

// heal joins all links and views.
func (w *world) heal(hosts ...*host) {
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				w.link(a, b, false)
			}
		}
	}
	w.view(hosts...)
}

// kill ends a host without a word; others hear of the lost session, not of the view.
func (w *world) kill(h *host) {
	h.mu.Lock()
	h.dead = true
	h.mu.Unlock()
	for _, o := range w.hosts {
		if o != h {
			w.link(h, o, true)
		}
	}
	h.end()
}

// Open reports whether a broker has an end of the pipe, as the home of its ends would.
func (w *world) Open(path string) bool {
	w.mu.Lock()
	hosts := slices.Collect(maps.Values(w.hosts))
	w.mu.Unlock()
	return slices.ContainsFunc(hosts, func(h *host) bool {
		return h.b.Each("", func(p string, a broker.Attr) error {
			if p == path && a.Stat.Open() {
				return errOpen
			}
			return nil
		}) != nil
	})
}

func (w *world) Retire(string) {}

func (h *host) end() {
	if h.b != nil {
		h.b.Close()
	}
	if err := h.Close(); err != nil {
		h.w.t.Error(err)
	}
	close(h.quit)
	h.done.Wait()
	h.w.mu.Lock()
	delete(h.w.hosts, h.id.Node)
	h.w.mu.Unlock()
}

func (w *world) close() {
	for _, h := range slices.Collect(maps.Values(w.hosts)) {
		h.end()
	}
}

func (h *host) Self() peer.ID { return h.id }

func (h *host) Live() []peer.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.live)
}

func (h *host) Send(to peer.ID, payload []byte) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.sent[peer.NamesKind(payload[0])]++
	h.w.bytes += len(payload)
	o := h.w.hosts[to.Node]
	if o == nil || o.id != to || h.w.cut[[2]string{h.id.Node, to.Node}] {
		return
	}
	payload = slices.Clone(payload)
	from := h.id
	if h.w.twice && peer.NamesKind(payload[0]) == peer.NamesAsk {
		h.w.late = append(h.w.late, func() { o.Receive(from, payload) })
	}
	o.post(func() { o.Receive(from, payload) })
}

// post has f run on the host's goroutine, as the core of a cluster does.
func (h *host) post(f func()) {
	h.mu.Lock()
	if !h.silent {
		h.inbox = append(h.inbox, f)
	}
	h.mu.Unlock()
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

func (h *host) pump() {
	for {
		select {
		case <-h.kick:
		case <-h.quit:
			return
		}
		h.mu.Lock()
		todo := h.inbox
		h.inbox = nil
		h.mu.Unlock()
		for _, f := range todo {
			f()
		}
	}
}

// counted returns the messages that f causes, all kinds together.
func (w *world) counted(f func()) int {
	sum := func() (n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range w.sent {
			n += c
		}
		return n
	}
	before := sum()
	f()
	return sum() - before
}

// homeOf returns the host that decides about a path as h sees it.
func (h *host) homeOf(path string) *host {
	h.Service.mu.Lock()
	id := h.home(path)
	h.Service.mu.Unlock()
	return h.w.hosts[id.Node]
}

// pathAt returns a path with a prefix whose home is want, as h sees it.
func (h *host) pathAt(prefix string, want *host) string {
	for i := 0; ; i++ {
		if path := fmt.Sprint(prefix, i); h.homeOf(path) == want {
			return path
		}
	}
}

func (h *host) mkfifo(path string) error {
	return h.Make(h.w.t.Context(), broker.Entry{Path: path, Kind: broker.Pipe, Owner: broker.Owner{Perm: 0o644, UID: 7}})
}

func (h *host) mkdir(path string) error {
	return h.Make(h.w.t.Context(), broker.Entry{Path: path, Kind: broker.Dir, Owner: broker.Owner{Perm: 0o750}})
}

func (h *host) open(path string) error {
	return h.Make(h.w.t.Context(), broker.Entry{Path: path, Kind: broker.Pipe, Mode: pipe.Exclusive, Transient: true})
}

func (h *host) rm(path string) error { return h.Remove(h.w.t.Context(), path, broker.Pipe) }

func (h *host) rmdir(path string) error { return h.Remove(h.w.t.Context(), path, broker.Dir) }

func (h *host) mv(from, to string) error { return h.Rename(h.w.t.Context(), from, to, false) }

func (h *host) chmod(path string, perm uint32) error {
	return h.Set(h.w.t.Context(), path, broker.Change{Perm: &perm})
}

// looks does what lookup does: what is here is not asked for.
func (h *host) look(path string) error {
	if h.tree.has(path) {
		return nil
	}
	return h.Find(h.w.t.Context(), path)
}

// ls brings the directory up to date and returns the names in it.
func (h *host) ls(dir string) []string {
	if err := h.List(h.w.t.Context(), dir); err != nil {
		h.w.t.Errorf("%s: list %q: %v", h.id.Node, dir, err)
	}
	return h.tree.list(dir)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) want(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("got error %v, want %v", err, want)
	}
}

// same waits until all hosts show the same tree, which it returns.
func (w *world) same(hosts ...*host) string {
	w.t.Helper()
	var shown string
	for range 200 {
		shown = hosts[0].tree.String()
		if !slices.ContainsFunc(hosts, func(h *host) bool { return h.tree.String() != shown }) {
			return shown
		}
		time.Sleep(100 * time.Millisecond) // the bubble's clock, not ours
		synctest.Wait()
	}
	for _, h := range hosts {
		w.t.Errorf("%s has:\n%s", h.id.Node, h.tree)
	}
	w.t.Fatal("hosts differ after 20 s")
	return ""
}

// in runs a test in a bubble, in a world that is closed at the end.
func in(t *testing.T, cfg Config, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cfg)
		defer w.close()
		f(w)
	})
}

var (
	errNone = fs.ErrNotExist
	errOpen = errors.New("open")
)
