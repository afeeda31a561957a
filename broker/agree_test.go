// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// agreeing grants whatever its broker asks for and puts it into the tree, as the
// only host of a cluster would. What other hosts have, far, can be found.
type agreeing struct {
	b     *Broker
	asked []string
	far   map[string]Entry
	err   error           // answered instead, if set
	block <-chan struct{} // each call waits for it, or its context
}

func (a *agreeing) ask(ctx context.Context, what string) error {
	a.asked = append(a.asked, what)
	if a.block != nil {
		select {
		case <-a.block:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return a.err
}

func (a *agreeing) Find(ctx context.Context, path string) error {
	if err := a.ask(ctx, "find "+path); err != nil {
		return err
	}
	e, ok := a.far[path]
	if !ok {
		return fs.ErrNotExist
	}
	a.b.Apply(e)
	return nil
}

func (a *agreeing) List(ctx context.Context, dir string) error {
	if err := a.ask(ctx, "list "+dir); err != nil {
		return err
	}
	for p, e := range a.far {
		if parent(p) == dir {
			a.b.Apply(e)
		}
	}
	return nil
}

// keep makes what is above p permanent, as a host alone does.
func (a *agreeing) keep(p string) {
	for p = parent(p); p != ""; p = parent(p) {
		at := a.b.Attr(a.b.at(p))
		a.b.Apply(Entry{Path: p, Kind: Dir, Owner: at.Owner})
	}
}

func (a *agreeing) Make(ctx context.Context, e Entry) error {
	if err := a.ask(ctx, "make "+e.Path); err != nil {
		return err
	}
	a.b.Apply(e)
	if !e.Transient {
		a.keep(e.Path)
	}
	return nil
}

// entry is what the tree has at a path.
func (a *agreeing) entry(p string) Entry {
	n := a.b.at(p)
	at := a.b.Attr(n)
	return Entry{Path: p, Kind: at.Kind, Mode: at.Mode, Owner: at.Owner, Transient: n.transient}
}

func (a *agreeing) Set(ctx context.Context, p string, c Change) error {
	if err := a.ask(ctx, "set "+p); err != nil {
		return err
	}
	e := a.entry(p)
	e.Owner = c.of(e.Owner)
	a.b.Apply(e)
	return nil
}

func (a *agreeing) SetMode(ctx context.Context, p string, m pipe.Mode) error {
	if err := a.ask(ctx, "mode "+p); err != nil {
		return err
	}
	e := a.entry(p)
	e.Mode = m
	a.b.Apply(e)
	return nil
}

func (a *agreeing) Remove(ctx context.Context, p string, k Kind) error {
	if err := a.ask(ctx, "remove "+p); err != nil {
		return err
	}
	a.b.Erase(p)
	return nil
}

func (a *agreeing) Rename(ctx context.Context, from, to string, keep bool) error {
	if err := a.ask(ctx, "rename "+from+" "+to); err != nil {
		return err
	}
	a.b.Move(from, to)
	a.keep(to)
	return nil
}

func newAgreeing(t testing.TB) (*Broker, *agreeing) {
	a := &agreeing{far: map[string]Entry{}}
	a.b = New(Config{Names: a, Owner: Owner{Perm: 0o711, UID: 1}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	return a.b, a
}

func (a *agreeing) wantAsked(t testing.TB, want ...string) {
	t.Helper()
	if !slices.Equal(a.asked, want) {
		t.Errorf("asked %q, want %q", a.asked, want)
	}
	a.asked = nil
}

// fifo is a pipe as another host has it.
func fifo(path string) Entry {
	return Entry{Path: path, Kind: Pipe, Owner: Owner{Perm: 0o640, UID: 7, GID: 8}}
}

func lookup(t testing.TB, b *Broker, path string) *Node {
	t.Helper()
	n, err := b.Walk(t.Context(), path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return n
}

// TestAskedOnce: what is here costs no question, what is not costs one.
func TestAskedOnce(t *testing.T) {
	b, a := newAgreeing(t)
	a.far["d/p"] = fifo("d/p")
	a.far["d"] = Entry{Path: "d", Kind: Dir, Owner: Owner{Perm: 0o700}}
	n := lookup(t, b, "d/p")
	a.wantAsked(t, "find d", "find d/p")
	if at := b.Attr(n); at.Owner != a.far["d/p"].Owner || at.Kind != Pipe {
		t.Errorf("%+v", at)
	}
	if again := lookup(t, b, "d/p"); again != n {
		t.Error("another node")
	}
	a.wantAsked(t)
	if _, err := b.Lookup(t.Context(), b.Root(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	a.wantAsked(t, "find none")
	for _, name := range []string{"", "..", "a/b", strings.Repeat("x", 256)} {
		if _, err := b.Lookup(t.Context(), b.Root(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := b.Lookup(t.Context(), n, "below"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	a.wantAsked(t)
}

// TestValidatedHere: what this host knows to be wrong is not asked.
func TestValidatedHere(t *testing.T) {
	b, a := newAgreeing(t)
	ctx, root := t.Context(), b.Root()
	for _, e := range []Entry{fifo("p"), fifo("d/q")} {
		b.Apply(e)
	}
	open := opened(t, b, lookup(t, b, "p"), true, false)
	defer closeEnds(open)
	_, taken := b.Mkdir(ctx, root, "p", Owner{})
	_, below := b.Mkdir(ctx, lookup(t, b, "p"), "x", Owner{})
	for what, c := range map[string]struct{ err, want error }{
		"taken":              {taken, fs.ErrExist},
		"below a pipe":       {below, ErrNotDir},
		"rm a directory":     {b.Remove(ctx, root, "d"), ErrIsDir},
		"rmdir a pipe":       {b.RemoveDir(ctx, root, "p"), ErrNotDir},
		"rmdir a full one":   {b.RemoveDir(ctx, root, "d"), ErrNotEmpty},
		"rename an open one": {b.Rename(ctx, root, "p", root, "x", false), ErrOpen},
		"onto an open one":   {b.Rename(ctx, lookup(t, b, "d"), "q", root, "p", false), ErrOpen},
		"mode of an open":    {b.SetMode(ctx, lookup(t, b, "p"), pipe.Fanout), ErrOpen},
		"mode it has":        {b.SetMode(ctx, lookup(t, b, "p"), pipe.Fifo), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	a.wantAsked(t)
}

// TestRefusedElsewhere: what other hosts refuse leaves the tree as it is.
func TestRefusedElsewhere(t *testing.T) {
	b, a := newAgreeing(t)
	ctx, root := t.Context(), b.Root()
	b.Apply(fifo("p"))
	b.Apply(Entry{Path: "d", Kind: Dir, Owner: Owner{Perm: 0o755}})
	p := lookup(t, b, "p")
	before := b.Attr(p)
	a.err = errors.New("no")
	perm := uint32(0)
	_, mkdir := b.Mkdir(ctx, root, "x", Owner{})
	_, chmod := b.SetAttr(ctx, p, Change{Perm: &perm})
	_, list := b.List(ctx, root)
	_, find := b.Lookup(ctx, root, "x")
	for what, err := range map[string]error{
		"mkdir": mkdir, "chmod": chmod, "list": list, "find": find,
		"rm": b.Remove(ctx, root, "p"), "rmdir": b.RemoveDir(ctx, root, "d"),
		"rename": b.Rename(ctx, root, "p", root, "x", false), "mode": b.SetMode(ctx, p, pipe.Fanout),
	} {
		if err != a.err {
			t.Errorf("%s: %v", what, err)
		}
	}
	after := b.Attr(p)
	if before.Owner != after.Owner || before.Mode != after.Mode || names(b) != 2 {
		t.Errorf("%+v, then %+v, %d names", before, after, names(b))
	}
}

// TestTimesAreLocal, and so is the root directory.
func TestTimesAreLocal(t *testing.T) {
	b, a := newAgreeing(t)
	b.Apply(fifo("p"))
	when, perm := time.Unix(1, 2), uint32(0o107600)
	at, err := b.SetAttr(t.Context(), lookup(t, b, "p"), Change{Mtime: &when})
	if err != nil || !at.Mtime.Equal(when) {
		t.Error(at, err)
	}
	if at, err = b.SetAttr(t.Context(), b.Root(), Change{Perm: &perm}); err != nil || at.Perm != 0o7600 {
		t.Error(at, err)
	}
	a.wantAsked(t)
	if at, err = b.SetAttr(t.Context(), lookup(t, b, "p"), Change{Perm: &perm, Atime: &when}); err != nil || at.Perm != 0o7600 || !at.Atime.Equal(when) {
		t.Error(at, err)
	}
	a.wantAsked(t, "set p")
}

// TestDoubtfulName: a client's pipe that is open elsewhere only is asked for each
// time, and goes when it has gone there.
func TestDoubtfulName(t *testing.T) {
	b, a := newAgreeing(t)
	e := fifo("d/p")
	e.Transient, e.Mode = true, pipe.Exclusive
	a.far["d/p"] = e
	b.Apply(e)
	n := lookup(t, b, "d/p")
	a.wantAsked(t, "find d/p")
	open := opened(t, b, n, true, false)
	if b.Here(lookup(t, b, "d"), "p") != n {
		t.Error("an open pipe is in doubt")
	}
	delete(a.far, "d/p")
	if lookup(t, b, "d/p") != n {
		t.Error("another node")
	}
	a.wantAsked(t)
	closeEnds(open)
	if names(b) != 0 {
		t.Error("it stays after its last end")
	}
	b.Apply(e)
	if _, err := b.Walk(t.Context(), "d/p"); !errors.Is(err, fs.ErrNotExist) || names(b) != 0 {
		t.Error(err, names(b))
	}
}

// TestDoubtfulNameIsNoObstacle: only other hosts can say whether it is there.
func TestDoubtfulNameIsNoObstacle(t *testing.T) {
	b, a := newAgreeing(t)
	e := fifo("d/p")
	e.Transient = true
	b.Apply(e)
	if n, err := b.Mkpipe(t.Context(), lookup(t, b, "d"), "p", Owner{}, pipe.Fifo); err != nil || b.Here(lookup(t, b, "d"), "p") != n {
		t.Error(n, err)
	}
	a.wantAsked(t, "make d/p")
	b.Apply(e)
	if err := b.RemoveDir(t.Context(), b.Root(), "d"); err != nil || names(b) != 0 {
		t.Error(err, names(b))
	}
}

// TestApplyReplacesAnotherKind, and what is open under the old name goes on.
func TestApplyReplacesAnotherKind(t *testing.T) {
	b, _ := newAgreeing(t)
	b.Apply(fifo("x"))
	n := lookup(t, b, "x")
	both := opened(t, b, n, true, true)
	b.Apply(fifo("x/y/z"))
	if at := b.Attr(lookup(t, b, "x/y")); at.Kind != Dir || at.UID != 1 || b.Attr(n).Links != 0 {
		t.Errorf("%+v", at)
	}
	send(t, both.Writer, "on")
	if got := receive(t, both.Reader, 9); got != "on" {
		t.Error(got)
	}
	closeEnds(both)
	z := opened(t, b, lookup(t, b, "x/y/z"), true, true)
	b.Apply(Entry{Path: "x", Kind: Pipe, Mode: pipe.Fanout, Owner: Owner{Perm: 0o100666, UID: 3}})
	if at := b.Attr(lookup(t, b, "x")); at.Kind != Pipe || at.Mode != pipe.Fanout || at.Owner != (Owner{Perm: 0o666, UID: 3}) {
		t.Errorf("%+v", at)
	}
	send(t, z.Writer, "on")
	if got := receive(t, z.Reader, 9); got != "on" || names(b) != 1 {
		t.Error(got, names(b))
	}
	closeEnds(z)
	if u := b.Usage(); u.Pipes != 0 {
		t.Errorf("%d pipes are kept", u.Pipes)
	}
}

// TestMadeParentsGoWithWhatTheyHold, unless somebody has made them.
func TestMadeParentsGoWithWhatTheyHold(t *testing.T) {
	b, _ := newAgreeing(t)
	b.Apply(fifo("a/b/p"))
	b.Apply(Entry{Path: "a", Kind: Dir, Owner: Owner{Perm: 0o700, UID: 9}})
	a := lookup(t, b, "a")
	if at := b.Attr(a); at.UID != 9 || at.Links != 3 {
		t.Errorf("%+v", at)
	}
	b.Erase("a/b/p")
	if got := names(b); got != 1 || lookup(t, b, "a") != a {
		t.Errorf("%d names", got)
	}
	for _, path := range []string{"", "none", "a/none", "/"} {
		b.Erase(path)
	}
	b.Apply(fifo("a/b/p"))
	p := lookup(t, b, "a/b/p")
	b.Erase("a")
	if _, named := b.Path(p); named || names(b) != 0 {
		t.Error(names(b))
	}
}

// TestModeWaitsForIdle: ends that are open keep the mode they were opened with.
func TestModeWaitsForIdle(t *testing.T) {
	b, _ := newAgreeing(t)
	b.Apply(fifo("p"))
	n := lookup(t, b, "p")
	first := opened(t, b, n, true, false)
	for _, m := range []pipe.Mode{pipe.Exclusive, pipe.Fanout} {
		e := fifo("p")
		e.Mode = m
		b.Apply(e)
	}
	second := opened(t, b, n, true, true)
	if m := b.Attr(n).Mode; m != pipe.Fifo {
		t.Errorf("the mode is %v while the pipe is open", m)
	}
	closeEnds(first)
	closeEnds(second)
	if m := b.Attr(n).Mode; m != pipe.Fanout {
		t.Errorf("the mode is %v", m)
	}
	third := opened(t, b, n, true, true)
	if m := third.Reader.Pipe().Stat().Mode; m != pipe.Fanout {
		t.Errorf("new ends have mode %v", m)
	}
	closeEnds(third)
	if u := b.Usage(); u.Pipes > 1 {
		t.Errorf("%d pipes are kept", u.Pipes)
	}
}

// TestMoveKeepsNodes: a process whose directory moves keeps it.
func TestMoveKeepsNodes(t *testing.T) {
	b, a := newAgreeing(t)
	b.Apply(fifo("d/e/p"))
	b.Apply(fifo("to/old"))
	d, p := lookup(t, b, "d"), lookup(t, b, "d/e/p")
	b.Move("d", "to/new/d")
	if got, _ := b.Path(p); got != "to/new/d/e/p" || lookup(t, b, "to/new/d") != d {
		t.Error(got)
	}
	b.Move("to/new/d", "to/old")
	if got, _ := b.Path(p); got != "to/old/e/p" || names(b) != 4 {
		t.Error(got, names(b))
	}
	for from, to := range map[string]string{"to": "to/old/x", "to/old/e": "to", "none": "x", "": "x", "to/old": "a//b", "to/old/e/p": "to/old/e/p"} {
		b.Move(from, to)
		if got, _ := b.Path(p); got != "to/old/e/p" || names(b) != 4 {
			t.Errorf("move %q to %q: %s, %d names", from, to, got, names(b))
		}
	}
	to := lookup(t, b, "to")
	if err := b.Rename(t.Context(), to, "old", b.Root(), "d", false); err != nil || lookup(t, b, "d") != d {
		t.Error(err)
	}
	a.wantAsked(t, "rename to/old d")
}

func TestApplyLeavesOutWhatIsNoName(t *testing.T) {
	b, _ := newAgreeing(t)
	for _, path := range []string{"", "a//b", "..", "a/../b", "a\x00", strings.Repeat("x", 256)} {
		b.Apply(fifo(path))
	}
	if names(b) != 0 {
		t.Error(names(b))
	}
}

// TestWaitsEndByContext: a silent host costs a caller its own time only, and
// holds up nobody who asks for something else.
func TestWaitsEndByContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newAgreeing(t)
		b.Apply(fifo("p"))
		p := lookup(t, b, "p")
		a.block = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		result := make(chan error)
		go func() { result <- b.Remove(ctx, b.Root(), "p") }()
		synctest.Wait()
		if b.Here(b.Root(), "p") != p {
			t.Error("it has gone")
		}
		b.Apply(fifo("q"))
		both := opened(t, b, p, true, true)
		b.Erase("q")
		closeEnds(both)
		if err := <-result; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if lookup(t, b, "p") != p {
			t.Error("it has gone")
		}
	})
}

// TestRemovedWhileMade: another host removes what this one has just made.
func TestRemovedWhileMade(t *testing.T) {
	b, a := newAgreeing(t)
	fickle := &fickle{a}
	b.cfg.Names = fickle
	if n, err := b.Mkdir(t.Context(), b.Root(), "d", Owner{}); !errors.Is(err, fs.ErrNotExist) || n != nil {
		t.Error(n, err)
	}
}

type fickle struct{ *agreeing }

func (f *fickle) Make(ctx context.Context, e Entry) error {
	defer f.b.Erase(e.Path)
	return f.agreeing.Make(ctx, e)
}

func TestListBringsUpToDate(t *testing.T) {
	b, a := newAgreeing(t)
	a.far["d/far"] = fifo("d/far")
	b.Apply(fifo("d/near"))
	list, err := b.List(t.Context(), lookup(t, b, "d"))
	if err != nil || len(list) != 2 {
		t.Error(list, err)
	}
	a.wantAsked(t, "list d")
}

// Drop has nobody to tell.
func (a *agreeing) Drop(string) {}
