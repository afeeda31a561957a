// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// tree is the names at their plainest: a map from path to what is there.
type tree map[string]*name

type name struct {
	node      *Node
	kind      Kind
	mode      pipe.Mode
	transient bool
	now       *session // pipes: where new ends go
}

// session is what ends share until an exclusive pair parts.
type session struct {
	readers, writers int
	paired, spent    bool
}

type end struct {
	of   *name
	in   *session
	real *pipe.OpenOp
}

func (s *session) open() int { return s.readers + s.writers }

func (x *name) busy() bool { return x.now != nil && x.now.open() > 0 }

func (t tree) below(p string) (all []string) {
	for q := range t {
		if p == "" || strings.HasPrefix(q, p+"/") {
			all = append(all, q)
		}
	}
	return all
}

func (t tree) children(p string) (all []string) {
	for _, q := range t.below(p) {
		if parent(q) == p {
			all = append(all, q)
		}
	}
	return all
}

func parent(p string) string {
	if d := path.Dir(p); d != "." {
		return d
	}
	return ""
}

// keep makes the directories above p permanent.
func (t tree) keep(p string) {
	for ; p != ""; p = parent(p) {
		t[p].transient = false
	}
}

// tidy removes p and what is above it, as far as clients' opens made it and
// nothing holds it.
func (t tree) tidy(p string) {
	for x := t[p]; x != nil && x.transient && !x.busy() && len(t.children(p)) == 0; x = t[p] {
		delete(t, p)
		p = parent(p)
	}
}

func (t tree) dir(p string) bool { return p == "" || t[p] != nil && t[p].kind == Dir }

// FuzzTree takes a broker and a map through the steps that data spells.
func FuzzTree(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 10 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) { newWalk(t, New(Config{}), data).run() })
}

// TestTreeAgainstMap is FuzzTree on more random sequences than its seeds.
func TestTreeAgainstMap(t *testing.T) {
	againstMap(t, func() *Broker { return New(Config{}) })
}

// TestAgreedTreeAgainstMap: the same when each change goes by way of Names.
func TestAgreedTreeAgainstMap(t *testing.T) {
	againstMap(t, func() *Broker {
		agree := &agreeing{}
		agree.b = New(Config{Names: agree})
		return agree.b
	})
}

func againstMap(t *testing.T, fresh func() *Broker) {
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 300 {
		data := make([]byte, 1000)
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		newWalk(t, fresh(), data).run()
		if t.Failed() {
			t.Fatalf("sequence %d", i)
		}
	}
}

type walk struct {
	t    *testing.T
	b    *Broker
	tree tree
	ends []*end
	data []byte
}

func newWalk(t *testing.T, b *Broker, data []byte) *walk {
	return &walk{t: t, b: b, tree: tree{}, data: data}
}

func (w *walk) pick(n int) int {
	if len(w.data) == 0 {
		return 0
	}
	b := w.data[0]
	w.data = w.data[1:]
	return int(b) % n
}

func (w *walk) path() string {
	long := strings.Repeat("x", 100)
	parts := []string{"a", "b", "c", long}
	p := parts[w.pick(4)]
	for range w.pick(3) {
		p += "/" + parts[w.pick(4)]
	}
	return p
}

func (w *walk) node(p string) *Node {
	if p == "" {
		return w.b.Root()
	}
	return w.tree[p].node
}

func (w *walk) want(what string, got, want error) {
	w.t.Helper()
	if !errors.Is(got, want) {
		w.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (w *walk) run() {
	for len(w.data) > 0 && !w.t.Failed() {
		switch w.pick(10) {
		case 0, 1:
			w.make()
		case 2:
			w.remove()
		case 3, 4:
			w.rename()
		case 5, 6:
			w.open()
		case 7, 8:
			w.close()
		case 9:
			w.setMode()
		}
		w.compare()
	}
	for len(w.ends) > 0 {
		w.close()
	}
	w.compare()
	if n := w.b.Usage().Pipes; n > len(w.tree) {
		w.t.Errorf("%d pipes are kept for %d names", n, len(w.tree))
	}
}

func (w *walk) make() {
	p, kind := w.path(), Kind(w.pick(2))
	dir := parent(p)
	var want error
	switch {
	case dir != "" && w.tree[dir] == nil:
		return
	case !w.tree.dir(dir):
		want = ErrNotDir
	case w.tree[p] != nil:
		want = fs.ErrExist
	case len(p) > MaxPath:
		want = ErrTooLong
	}
	x := &name{kind: kind}
	var err error
	if kind == Dir {
		x.node, err = w.b.Mkdir(w.t.Context(), w.node(dir), path.Base(p), Owner{Perm: 0o755})
	} else {
		x.mode = pipe.Mode(w.pick(3))
		x.node, err = w.b.Mkpipe(w.t.Context(), w.node(dir), path.Base(p), Owner{Perm: 0o644}, x.mode)
	}
	w.want("make "+p, err, want)
	if want == nil {
		w.tree[p] = x
		w.tree.keep(dir)
	}
}

func (w *walk) remove() {
	p, dirs := w.path(), w.pick(2) == 0
	dir := parent(p)
	if dir != "" && w.tree[dir] == nil {
		return
	}
	var want, err error
	x := w.tree[p]
	switch {
	case x == nil:
		want = fs.ErrNotExist
	case dirs && x.kind != Dir:
		want = ErrNotDir
	case !dirs && x.kind == Dir:
		want = ErrIsDir
	case len(w.tree.children(p)) > 0:
		want = ErrNotEmpty
	}
	if dirs {
		err = w.b.RemoveDir(w.t.Context(), w.node(dir), path.Base(p))
	} else {
		err = w.b.Remove(w.t.Context(), w.node(dir), path.Base(p))
	}
	w.want("remove "+p, err, want)
	if want == nil {
		delete(w.tree, p)
		w.tree.tidy(dir)
	}
}

func (w *walk) rename() {
	p, q, keep := w.path(), w.path(), w.pick(4) == 0
	dir, toDir := parent(p), parent(q)
	if dir != "" && w.tree[dir] == nil || toDir != "" && w.tree[toDir] == nil {
		return
	}
	x, old := w.tree[p], w.tree[q]
	want := w.mayRename(p, q, keep)
	err := w.b.Rename(w.t.Context(), w.node(dir), path.Base(p), w.node(toDir), path.Base(q), keep)
	w.want("rename "+p+" to "+q, err, want)
	if want != nil || old == x {
		return
	}
	moved := map[string]*name{q: x}
	for _, c := range w.tree.below(p) {
		moved[q+strings.TrimPrefix(c, p)] = w.tree[c]
		delete(w.tree, c)
	}
	delete(w.tree, p)
	for c, y := range moved {
		w.tree[c] = y
	}
	w.tree.keep(q)
}

func (w *walk) mayRename(p, q string, keep bool) error {
	x, old := w.tree[p], w.tree[q]
	longest, busy := 0, false
	for _, c := range w.tree.below(p) {
		longest = max(longest, len(c)-len(p))
		busy = busy || w.tree[c].busy()
	}
	switch {
	case x == nil:
		return fs.ErrNotExist
	case !w.tree.dir(parent(q)):
		return ErrNotDir
	case old != nil && keep:
		return fs.ErrExist
	case old == x:
		return nil
	case strings.HasPrefix(q, p+"/"):
		return ErrLoop
	case busy || x.busy() || old != nil && old.busy():
		return ErrOpen
	case len(q)+longest > MaxPath:
		return ErrTooLong
	case old != nil && old.kind == Dir && x.kind != Dir:
		return ErrIsDir
	case old != nil && old.kind != Dir && x.kind == Dir:
		return ErrNotDir
	case old != nil && len(w.tree.children(q)) > 0:
		return ErrNotEmpty
	}
	return nil
}

// open opens an end by name, as a client does, or of a node, as the mount does.
func (w *walk) open() {
	p, read, byName := w.path(), w.pick(2) == 0, w.pick(2) == 0
	over := make(chan struct{})
	op := &pipe.OpenOp{Read: read, Write: !read, Patient: true, Done: func(*pipe.OpenOp) { close(over) }}
	if !byName {
		if w.tree[p] == nil {
			return
		}
		w.b.Open(w.tree[p].node, op)
	} else {
		w.b.OpenName(p, op)
	}
	<-over // other hosts may have been asked
	w.b.asking.Wait()
	if want := w.mayOpen(p); want != nil {
		w.want("open "+p, op.Err, want)
		return
	}
	for i := range p {
		if d := p[:i]; p[i] == '/' && w.tree[d] == nil {
			w.tree[d] = &name{kind: Dir, transient: true}
		}
	}
	x := w.tree[p]
	if x == nil {
		x = &name{kind: Pipe, mode: pipe.Exclusive, transient: true}
		w.tree[p] = x
	}
	if x.now == nil || x.now.spent {
		x.now = &session{}
	}
	s := x.now
	var want error
	if x.mode == pipe.Exclusive && (read && s.readers > 0 || !read && s.writers > 0) {
		want = pipe.ErrBusy
	}
	w.want("open "+p, op.Err, want)
	if op.Err != nil {
		w.tree.tidy(p)
		return
	}
	if read {
		s.readers++
	} else {
		s.writers++
	}
	s.paired = s.paired || s.readers > 0 && s.writers > 0
	w.ends = append(w.ends, &end{x, s, op})
}

func (w *walk) mayOpen(p string) error {
	if len(p) > MaxPath {
		return ErrTooLong
	}
	for i := range p {
		if p[i] == '/' && w.tree[p[:i]] != nil && w.tree[p[:i]].kind != Dir {
			return ErrNotDir
		}
	}
	if w.tree[p] != nil && w.tree[p].kind == Dir {
		return ErrIsDir
	}
	return nil
}

func (w *walk) close() {
	if len(w.ends) == 0 {
		return
	}
	i := w.pick(len(w.ends))
	e := w.ends[i]
	w.ends = slices.Delete(w.ends, i, i+1)
	p := e.real.Reader
	if p != nil {
		p.Close()
		e.in.readers--
	} else {
		e.real.Writer.Close()
		e.in.writers--
	}
	e.in.spent = e.in.spent || e.of.mode == pipe.Exclusive && e.in.paired
	if e.in.open() == 0 {
		e.in.paired = false
	}
	for q, x := range w.tree {
		if x == e.of {
			w.tree.tidy(q)
			break
		}
	}
}

func (w *walk) setMode() {
	p, m := w.path(), pipe.Mode(w.pick(3))
	x := w.tree[p]
	if x == nil {
		return
	}
	var want error
	switch {
	case x.kind == Dir:
		want = ErrIsDir
	case x.mode == m:
	case x.busy():
		want = ErrOpen
	}
	w.want("mode of "+p, w.b.SetMode(w.t.Context(), x.node, m), want)
	if want == nil && x.mode != m {
		x.mode, x.now = m, nil
	}
}

// compare holds everything that shows against the map.
func (w *walk) compare() {
	pipes := 0
	for p, x := range w.tree {
		n, err := w.b.Walk(w.t.Context(), p)
		if err != nil {
			w.t.Errorf("%s: %v", p, err)
			continue
		}
		if x.node == nil {
			x.node = n
		}
		a := w.b.Attr(n)
		if n != x.node || a.Kind != x.kind || n.Kind() != x.kind {
			w.t.Errorf("%s is another node, or kind %v", p, a.Kind)
		}
		if got, ok := w.b.Path(n); !ok || got != p {
			w.t.Errorf("path %q, want %q", got, p)
		}
		if x.kind == Pipe {
			pipes++
			if a.Mode != x.mode || a.Stat.Open() != x.busy() || a.Links != 1 {
				w.t.Errorf("%s: %+v", p, a)
			}
			continue
		}
		links := uint32(2)
		for _, c := range w.tree.children(p) {
			if w.tree[c].kind == Dir {
				links++
			}
		}
		if got, err := w.b.List(w.t.Context(), n); err != nil || len(got) != len(w.tree.children(p)) || a.Links != links {
			w.t.Errorf("%s: %d entries, %d links", p, len(got), a.Links)
		}
	}
	if n := w.b.Usage().Names; n != len(w.tree)+1 {
		w.t.Errorf("%d names, want %d", n, len(w.tree)+1)
	}
	_ = w.b.Each("", func(p string, a Attr) error {
		if x := w.tree[p]; x == nil || x.kind != Pipe || a.ID != x.node.ID {
			w.t.Errorf("each: %s", p)
		}
		pipes--
		return nil
	})
	if pipes != 0 {
		w.t.Errorf("each missed %d pipes", pipes)
	}
}
