// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// input and output open as a client does: at once, and by name.
func input(b *Broker, name string) *pipe.OpenOp { return client(b, name, true) }

func output(b *Broker, name string) *pipe.OpenOp { return client(b, name, false) }

func client(b *Broker, name string, read bool) *pipe.OpenOp {
	op := &pipe.OpenOp{Read: read, Write: !read, Patient: true, Done: func(*pipe.OpenOp) {}}
	b.OpenName(name, op)
	return op
}

// opened opens an end of a node, which must work at once.
func opened(t testing.TB, b *Broker, n *Node, read, write bool) *pipe.OpenOp {
	t.Helper()
	op := &pipe.OpenOp{Read: read, Write: write, Patient: true, Done: func(*pipe.OpenOp) {}}
	b.Open(n, op)
	if op.Err != nil {
		t.Fatal(op.Err)
	}
	return op
}

// closeEnds closes what op opened.
func closeEnds(op *pipe.OpenOp) {
	if op.Reader != nil {
		op.Reader.Close()
	}
	if op.Writer != nil {
		op.Writer.Close()
	}
}

func send(t testing.TB, w *pipe.Writer, s string) {
	t.Helper()
	if n, err := w.Write(t.Context(), []byte(s)); n != len(s) || err != nil {
		t.Fatal(n, err)
	}
}

func receive(t testing.TB, r *pipe.Reader, max int) string {
	t.Helper()
	cs, err := r.Read(t.Context(), 1, max)
	if err != nil {
		return err.Error()
	}
	var s strings.Builder
	for _, c := range cs {
		s.Write(c.Bytes())
		c.Release()
	}
	return s.String()
}

func names(b *Broker) int { return b.Usage().Names - 1 }

// TestTransientNames: a client's open makes the name and its directories; they
// go with the last end.
func TestTransientNames(t *testing.T) {
	b := New(Config{})
	in, out := input(b, "a/b/c"), output(b, "a/b/c")
	if in.Err != nil || out.Err != nil || names(b) != 3 {
		t.Fatal(in.Err, out.Err, names(b))
	}
	n, err := b.Walk(t.Context(), "a/b/c")
	if err != nil || b.Attr(n).Mode != pipe.Exclusive {
		t.Fatal(err)
	}
	if second := input(b, "a/b/c"); !errors.Is(second.Err, pipe.ErrBusy) {
		t.Error(second.Err)
	}
	send(t, out.Writer, "hello")
	if got := receive(t, in.Reader, 10); got != "hello" {
		t.Error(got)
	}
	in.Reader.Close()
	if names(b) != 3 {
		t.Error("the name went before its last end")
	}
	out.Writer.Close()
	if u := b.Usage(); u.Names != 1 || u.Pipes != 0 {
		t.Error(u)
	}
}

// TestKeptDirectory: what somebody puts beside a client's pipe keeps the
// directories.
func TestKeptDirectory(t *testing.T) {
	b := New(Config{})
	in := input(b, "a/b")
	a, _ := b.Walk(t.Context(), "a")
	mustMake(t, b, a, "own", Pipe)
	in.Reader.Close()
	if _, err := b.Walk(t.Context(), "a/own"); err != nil || names(b) != 2 {
		t.Error(err, names(b))
	}
}

// TestRemoveTransient: rm of a client's open pipe leaves no directory behind.
func TestRemoveTransient(t *testing.T) {
	b := New(Config{})
	in := input(b, "a/b/c")
	dir, _ := b.Walk(t.Context(), "a/b")
	if err := b.Remove(t.Context(), dir, "c"); err != nil {
		t.Fatal(err)
	}
	in.Reader.Close()
	if names(b) != 0 || b.Usage().Pipes != 0 {
		t.Errorf("%+v", b.Usage())
	}
}

func TestFailedOpensLeaveNothing(t *testing.T) {
	b := New(Config{})
	mustMake(t, b, b.Root(), "p", Pipe)
	mustMake(t, b, b.Root(), "d", Dir)
	for name, want := range map[string]error{
		"":                       ErrName,
		"new/../x":               ErrName,
		strings.Repeat("x", 256): ErrTooLong,
		"p/x/y":                  ErrNotDir,
		"d":                      ErrIsDir,
	} {
		if op := input(b, name); !errors.Is(op.Err, want) || op.Reader != nil {
			t.Errorf("%q: %v", name, op.Err)
		}
	}
	op := &pipe.OpenOp{Write: true, NonBlock: true, Done: func(*pipe.OpenOp) {}}
	b.OpenName("new/x", op)
	if !errors.Is(op.Err, pipe.ErrNoReader) || names(b) != 2 {
		t.Error(op.Err, names(b))
	}
	op = &pipe.OpenOp{Read: true, Done: func(*pipe.OpenOp) {}}
	b.OpenName("new/x", op)
	if names(b) != 4 || !op.Cancel() || names(b) != 2 {
		t.Error("a withdrawn open keeps its name")
	}
	d, _ := b.Walk(t.Context(), "d")
	op = &pipe.OpenOp{Read: true, Done: func(*pipe.OpenOp) {}}
	if b.Open(d, op); op.Err != ErrIsDir {
		t.Error(op.Err)
	}
}

// TestNameIsAtOnceNew: the writer of an exclusive pipe closes; its reader drains,
// while the next pair meets under the same name.
func TestNameIsAtOnceNew(t *testing.T) {
	b := New(Config{})
	n := mustMake(t, b, b.Root(), "x", Pipe)
	if err := b.SetMode(t.Context(), n, pipe.Exclusive); err != nil {
		t.Fatal(err)
	}
	in1, out1 := input(b, "x"), output(b, "x")
	send(t, out1.Writer, "first")
	out1.Writer.Close()
	if err := b.SetMode(t.Context(), n, pipe.Fifo); err != ErrOpen {
		t.Error(err)
	}
	out2, in2 := output(b, "x"), input(b, "x")
	if out2.Err != nil || in2.Err != nil {
		t.Fatal(out2.Err, in2.Err)
	}
	if got := b.Attr(n).Bytes; got != 5 {
		t.Errorf("%d bytes counted while the old session drains", got)
	}
	send(t, out2.Writer, "second")
	if got := receive(t, in1.Reader, 10) + " " + receive(t, in2.Reader, 10); got != "first second" {
		t.Error(got)
	}
	if got := receive(t, in1.Reader, 10); got != io.EOF.Error() {
		t.Error(got)
	}
	for _, r := range []*pipe.Reader{in1.Reader, in2.Reader} {
		r.Close()
	}
	out2.Writer.Close()
	if a := b.Attr(n); a.Bytes != 11 || a.Stat.Open() {
		t.Errorf("%+v", a)
	}
	if u := b.Usage(); u.Pipes != 0 {
		t.Errorf("%d pipes are kept", u.Pipes)
	}
}

// TestUnlinkedPipe: its ends go on, and those who still know the node meet.
func TestUnlinkedPipe(t *testing.T) {
	b := New(Config{})
	n := mustMake(t, b, b.Root(), "x", Pipe)
	in := opened(t, b, n, true, false)
	if err := b.Remove(t.Context(), b.Root(), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Walk(t.Context(), "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	out := opened(t, b, n, false, true)
	send(t, out.Writer, "still")
	if got := receive(t, in.Reader, 10); got != "still" {
		t.Error(got)
	}
	fresh := opened(t, b, mustMake(t, b, b.Root(), "x", Pipe), true, true)
	send(t, fresh.Writer, "new")
	if got := receive(t, fresh.Reader, 10); got != "new" {
		t.Error("a new pipe of the name is the old one:", got)
	}
	for _, op := range []*pipe.OpenOp{in, out, fresh} {
		closeEnds(op)
	}
	if got := b.Attr(n).Bytes; got != 5 {
		t.Errorf("%d bytes counted", got)
	}
}

// TestUnlinkedPipeIsForgotten, also if nobody but a failed open ever had it.
func TestUnlinkedPipeIsForgotten(t *testing.T) {
	b := New(Config{})
	n := mustMake(t, b, b.Root(), "x", Pipe)
	op := opened(t, b, n, true, true)
	if err := b.Remove(t.Context(), b.Root(), "x"); err != nil {
		t.Fatal(err)
	}
	closeEnds(op)
	fail := &pipe.OpenOp{Write: true, NonBlock: true, Done: func(*pipe.OpenOp) {}}
	b.Open(n, fail)
	if u := b.Usage(); fail.Err != pipe.ErrNoReader || u.Pipes != 0 {
		t.Errorf("%v, %d pipes are kept", fail.Err, u.Pipes)
	}
}

// TestUnlinkedPipeStaysForOpener: the last end closes between an opener's choice
// of the pipe and its open; the next one must still meet it there.
func TestUnlinkedPipeStaysForOpener(t *testing.T) {
	b := New(Config{})
	n := mustMake(t, b, b.Root(), "x", Pipe)
	first := opened(t, b, n, true, false)
	if err := b.Remove(t.Context(), b.Root(), "x"); err != nil {
		t.Fatal(err)
	}
	p, err := b.pin(n)
	if err != nil {
		t.Fatal(err)
	}
	closeEnds(first)
	out := &pipe.OpenOp{Write: true, Patient: true, Done: func(*pipe.OpenOp) {}}
	if err := p.Open(out); err != nil {
		t.Fatal(err)
	}
	b.unpin(n)
	in := opened(t, b, n, true, false)
	if in.Reader.Pipe() != p {
		t.Error("they did not meet")
	}
	b.Close()
	if got := receive(t, in.Reader, 1); got != io.EOF.Error() {
		t.Error(got)
	}
	closeEnds(in)
	closeEnds(out)
	if n := b.Usage().Pipes; n != 0 {
		t.Errorf("%d pipes are kept", n)
	}
}

func TestClose(t *testing.T) {
	b := New(Config{})
	n := mustMake(t, b, b.Root(), "x", Pipe)
	waiting := &pipe.OpenOp{Read: true, Done: func(*pipe.OpenOp) {}}
	b.Open(mustMake(t, b, b.Root(), "y", Pipe), waiting)
	both := opened(t, b, n, true, true)
	gone := mustMake(t, b, b.Root(), "z", Pipe)
	unlinked := opened(t, b, gone, true, true)
	if err := b.Remove(t.Context(), b.Root(), "z"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b.Close()
	if waiting.Err != pipe.ErrClosed {
		t.Error(waiting.Err)
	}
	for _, op := range []*pipe.OpenOp{both, unlinked} {
		if got := receive(t, op.Reader, 1); got != io.EOF.Error() {
			t.Error(got)
		}
		if _, err := op.Writer.Write(t.Context(), []byte("x")); err != pipe.ErrBroken {
			t.Error(err)
		}
		closeEnds(op)
	}
	if op := input(b, "new"); !errors.Is(op.Err, pipe.ErrClosed) {
		t.Error(op.Err)
	}
	if names(b) != 2 {
		t.Error(names(b))
	}
}

// TestMeeting: two clients that open a name just as the last end of the session
// before closes must meet each other, whatever the moment.
func TestMeeting(t *testing.T) {
	before := runtime.NumGoroutine()
	b := New(Config{})
	for round := range 3000 {
		name := fmt.Sprintf("dir/%d", round%2)
		old := input(b, name)
		if old.Err != nil {
			t.Fatal(old.Err)
		}
		if round%3 == 0 {
			w := output(b, name)
			w.Writer.Close()
		}
		var out, in *pipe.OpenOp
		var wg sync.WaitGroup
		wg.Go(func() { old.Reader.Close() })
		wg.Go(func() { out = output(b, name) })
		wg.Go(func() {
			for in = input(b, name); errors.Is(in.Err, pipe.ErrBusy); in = input(b, name) {
				runtime.Gosched()
			}
		})
		wg.Wait()
		if out.Err != nil || in.Err != nil {
			t.Fatal(out.Err, in.Err)
		}
		if in.Reader.Pipe() != out.Writer.Pipe() {
			// The writer met the old reader, which makes that session its own.
			if s := out.Writer.Pipe().Stat(); !s.Spent {
				t.Fatalf("round %d: they did not meet: %+v", round, s)
			}
		} else {
			send(t, out.Writer, "x")
			if got := receive(t, in.Reader, 1); got != "x" {
				t.Fatal(got)
			}
		}
		wg.Go(func() { out.Writer.Close() })
		wg.Go(func() { in.Reader.Close() })
		wg.Wait()
		if u := b.Usage(); u.Names != 1 || u.Pipes != 0 {
			t.Fatalf("round %d leaves %+v", round, u)
		}
	}
	awaitGoroutines(t, before)
}

// awaitGoroutines waits until no more than want are left.
func awaitGoroutines(t testing.TB, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for runtime.NumGoroutine() > want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Errorf("%d goroutines left, want %d", runtime.NumGoroutine(), want)
			return
		}
	}
}

// TestTreeUnderLoad: everything at once, for the race detector; at the end all
// is as it was.
func TestTreeUnderLoad(t *testing.T) {
	b := New(Config{Capacity: pipe.Buf})
	dir := mustMake(t, b, b.Root(), "d", Dir)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 400 {
				name := fmt.Sprintf("n%d", i%3)
				switch (g + i) % 4 {
				case 0:
					if n, err := b.Mkpipe(t.Context(), dir, name, Owner{}, pipe.Mode(i%3)); err == nil {
						op := &pipe.OpenOp{Read: true, Write: true, Done: func(*pipe.OpenOp) {}}
						if b.Open(n, op); op.Err == nil {
							closeEnds(op)
						}
						_ = b.SetMode(t.Context(), n, pipe.Fanout)
					}
				case 1:
					_ = b.Remove(t.Context(), dir, name)
					_ = b.Rename(t.Context(), dir, name, b.Root(), "moved", false)
				case 2:
					op := client(b, "d/"+name, i%2 == 0)
					b.Usage()
					closeEnds(op)
				case 3:
					_ = b.Each("", func(string, Attr) error { return nil })
					if n, err := b.Walk(t.Context(), "d/"+name); err == nil {
						b.Attr(n)
					}
				}
			}
		})
	}
	wg.Wait()
	list, err := b.List(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if err := b.Remove(t.Context(), dir, e.Name); err != nil {
			t.Error(err)
		}
	}
	_ = b.Remove(t.Context(), b.Root(), "moved")
	if u := b.Usage(); u.Names != 2 || u.Pipes != 0 || u.Buffered != 0 {
		t.Errorf("%+v", u)
	}
}
