// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
)

// slow makes what one host tells another take its time, so that the other's open is
// under way meanwhile.
func (r *rig) slow(from, to *host) {
	r.net.SetLink(from.id.Node, to.id.Node, link.Conditions{Delay: 300 * time.Millisecond})
}

// arrives starts an open and waits until the pipe's home knows of it.
func (h *host) arrives(name string, home *host, set func(*pipe.OpenOp)) *opening {
	h.t.Helper()
	before := home.registrations(name)
	o := h.start(name, set)
	h.eventually("the home knows", func() bool { return home.registrations(name) > before })
	return o
}

// buffered is what lies in a host's part of a pipe.
func (h *host) buffered(name string) int { return h.broker.Attr(h.pipes[name]).Stat.Buffered }

// A writer's host is lost while the open of the reader that has let the writer in is
// under way: the reader gets what has come, and is told.
func TestLostWhileOpening(t *testing.T) {
	for _, mode := range []string{"fifo", "exclusive", "fanout"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, 3)
			a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
			name := r.homed(mode, home)
			r.slow(home, a)
			rd := a.arrives(name, home, reading)
			wr := b.start(name, writing).ok()
			wr.writes("hello")
			r.eventually("it has come", func() bool { return a.fed() == 5 })
			b.kill()
			r.view()
			rd.ok()
			rd.reads("hello")
			rd.readsErr(pipe.ErrPeerLost)
			rd.readsErr(io.EOF)
			rd.close()
			r.allIdle()
		})
	}
}

// fed is how many bytes have come from other hosts for what is open.
func (h *host) fed() (n int) {
	_ = h.cluster.do(h.t.Context(), func() {
		for _, f := range h.cluster.ins {
			if w := f.writer.Load(); w != nil {
				fed, _, _ := w.Fed()
				n += fed
			}
		}
	})
	return n
}

// What a fanout writer writes whom a reader has let in is for that reader, also if its
// open is still under way.
func TestFanoutWriterIsFasterThanTheHome(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("fanout", home)
	r.slow(home, a)
	rd := a.arrives(name, home, reading)
	wr := b.start(name, writing).ok()
	wr.writes("hello")
	wr.close()
	rd.ok()
	rd.reads("hello")
	rd.readsErr(io.EOF)
	rd.close()
	r.allIdle()
}

// A writer is broken when the reader that has let it in is withdrawn, whose home was
// silent.
func TestWithdrawnWhenMet(t *testing.T) {
	for _, mode := range []string{"fifo", "exclusive", "fanout"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, 3)
			a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
			name := r.homed(mode, home)
			a.sync()
			r.net.SetLink(home.id.Node, a.id.Node, link.Conditions{Cut: true})
			rd := a.arrives(name, home, reading)
			wr := b.start(name, writing).ok()
			wr.writes("hello")
			r.eventually("it has come", func() bool { return a.fed() == 5 })
			if rd.Cancel() {
				t.Fatal("withdrawn")
			}
			if rd.wait(); !errors.Is(rd.Err, context.Canceled) {
				t.Fatalf("open: %v", rd.Err)
			}
			r.eventually("EPIPE", func() bool { return wr.write("x") == pipe.ErrBroken })
			wr.close()
			r.net.SetLink(home.id.Node, a.id.Node, link.Conditions{})
			r.allIdle()
		})
	}
}

// What a reader leaves unread is for one that opens, also if it does so elsewhere and
// has not met anybody yet.
func TestUnreadGoesToWhoOpens(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("fifo", home)
	first := b.start(name, readNow).ok()
	wr := a.start(name, writing).ok()
	wr.writes("hello")
	r.eventually("it has come", func() bool { return len(arrived(first)) == 5 })
	r.slow(home, a)
	rd := a.start(name, reading)
	r.eventually("its open is under way", a.entering)
	wr.close()
	a.eventually("hangup", func() bool { return first.Reader.Ready(nil)&pipe.Hangup != 0 })
	first.close()
	r.eventually("it is back", func() bool { return a.buffered(name) == 5 })
	next := b.start(name, writing).ok()
	rd.ok()
	next.writes(" again")
	rd.reads("hello again")
	next.close()
	rd.readsErr(io.EOF)
	rd.close()
	r.allIdle()
}

// entering reports that an open talks with the home.
func (h *host) entering() (so bool) {
	_ = h.cluster.do(h.t.Context(), func() { so = len(h.cluster.calls) > 0 })
	return so
}

// An end of an exclusive pipe whose partner has come and gone while it opened has had
// its partner: the name is a new pipe.
func TestExclusivePartnerWasFaster(t *testing.T) {
	for _, reads := range []bool{true, false} {
		r := newRig(t, 3)
		a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
		name := r.homed("exclusive", home)
		r.slow(home, a)
		mine, others := writing, reading
		if reads {
			mine, others = others, mine
		}
		first := a.arrives(name, home, mine)
		partner := b.start(name, others).ok()
		if reads {
			partner.writes("hello")
		}
		partner.close()
		first.ok()
		r.net.SetLink(home.id.Node, a.id.Node, link.Conditions{})
		r.eventually("the home knows", func() bool { return home.registrations(name) == 0 })
		second := a.start(name, mine)
		next := b.start(name, others).ok()
		second.ok()
		if reads {
			first.reads("hello")
			first.readsErr(io.EOF)
			next.writes("new")
			second.reads("new")
		} else {
			if err := first.write("x"); err != pipe.ErrBroken {
				t.Errorf("write: %v", err)
			}
			second.writes("new")
			next.reads("new")
		}
		for _, o := range []*opening{first, second, next} {
			o.close()
		}
		r.allIdle()
	}
}

// An end of an exclusive pipe that could not be reached, and so had no partner, is
// there for the next one.
func TestExclusivePartnerNotSeenYet(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("exclusive", home)
	a.seen(home)
	rd := b.arrives(name, home, reading)
	if wr := a.start(name, writeNow).wait(); wr.Err != pipe.ErrNoReader {
		t.Fatalf("open for writing, with the reader's host not seen yet: %v", wr.Err)
	}
	r.view()
	wr := a.start(name, writing).ok()
	rd.ok()
	wr.writes("hello")
	rd.reads("hello")
	rd.close()
	wr.close()
	r.allIdle()
}

// The same when the reader finds that a writer which waited has been withdrawn.
func TestExclusivePartnerWithdrawn(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("exclusive", home)
	wr := a.arrives(name, home, writing)
	r.eventually("it waits", func() bool { return len(a.broker.Attr(a.pipes[name]).Stat.Writers) == 1 })
	r.slow(home, b)
	rd := b.arrives(name, home, reading)
	if !wr.Cancel() {
		t.Fatal("not withdrawn")
	}
	r.eventually("the home knows", func() bool { return home.registrations(name) == 1 })
	r.eventually("the reader waits", func() bool { return len(b.broker.Attr(b.pipes[name]).Stat.Readers) == 1 })
	next := a.start(name, writing).ok()
	rd.ok()
	next.writes("hello")
	rd.reads("hello")
	next.close()
	rd.close()
	r.allIdle()
}

// And when both are on one host.
func TestExclusivePartnerHereWithdrawn(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("exclusive", home)
	wr := a.arrives(name, home, writing)
	r.eventually("it waits", func() bool { return len(a.broker.Attr(a.pipes[name]).Stat.Writers) == 1 })
	r.slow(home, a)
	rd := a.start(name, reading)
	r.eventually("its open is under way", a.entering)
	if !wr.Cancel() {
		t.Fatal("not withdrawn")
	}
	r.eventually("the reader waits", func() bool { return len(a.broker.Attr(a.pipes[name]).Stat.Readers) == 1 })
	a.sync()
	next := b.start(name, writing).ok()
	rd.ok()
	next.writes("hello")
	rd.reads("hello")
	next.close()
	rd.close()
	r.allIdle()
}

// A signal does not undo a writer's open that has let a reader in.
func TestWriterInterruptedWhenMet(t *testing.T) {
	for _, mode := range []string{"fifo", "exclusive", "fanout"} {
		for home := range 2 {
			t.Run(fmt.Sprint(mode, home), func(t *testing.T) {
				r := newRig(t, 2)
				a, b := r.hosts[0], r.hosts[1]
				name := r.homed(mode, r.hosts[home])
				rd := b.start(name, reading)
				b.sync()
				r.slow(b, a)
				wr := a.start(name, writing)
				rd.ok()
				if wr.Cancel() {
					t.Fatal("the writer's open is undone")
				}
				wr.ok().writes("hello")
				rd.reads("hello")
				wr.close()
				rd.readsErr(io.EOF)
				rd.close()
				r.allIdle()
			})
		}
	}
}

// Where a FIFO's open does not wait, a signal does not end ours either.
func TestInterruptedWhereNothingWaits(t *testing.T) {
	both := func(op *pipe.OpenOp) { op.Read, op.Write = true, true }
	for what, set := range map[string]func(*pipe.OpenOp){"both ways": both, "without waiting": readNow, "a writer is here": reading} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, 3)
			a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
			name := r.homed("fifo", home)
			if what == "a writer is here" {
				far := b.start(name, readNow).ok()
				defer far.close()
				wr := a.start(name, writing).ok()
				defer wr.close()
			}
			r.slow(home, a)
			o := a.start(name, set)
			r.eventually("its open is under way", a.entering)
			if o.Cancel() {
				t.Fatal("withdrawn")
			}
			o.ok().close()
		})
	}
}

// Whoever reads where, the bytes that wait in a pipe are bounded by its capacity on the
// host that wrote them.
func TestFullPipeOfManyReaders(t *testing.T) {
	r := newRig(t, 3)
	var rds []*opening
	for _, h := range r.hosts {
		rds = append(rds, h.start("p", readNow).ok(), h.start("p", readNow).ok())
	}
	wr := r.hosts[0].start("p", writeNow).ok()
	most := 0
	for i := range 40 {
		n := 0
		for {
			op := &pipe.WriteOp{NonBlock: true, Chunks: []pipe.Chunk{pipe.ChunkOf(pattern(4096))}, Done: func(*pipe.WriteOp) {}}
			wr.Writer.Start(op)
			if op.Err != nil {
				break
			}
			n += op.N
		}
		held := wr.Writer.Pipe().Stat().Buffered
		most = max(most, held)
		rd := rds[i%len(rds)]
		if _, err := rd.read(1, 100000); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	t.Logf("at most %d bytes", most)
	if limit := pipe.DefaultCapacity + pipe.Buf; most > limit {
		t.Errorf("%d bytes waited, more than %d", most, limit)
	}
}

// Who opens a pipe whose name has gone meets nobody who opens what has the name now.
func TestOpenOfRemovedName(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	removed := a.node("p", pipe.Fifo)
	if err := a.broker.Remove(t.Context(), a.broker.Root(), "p"); err != nil {
		t.Fatal(err)
	}
	rd := b.start("p", readNow).ok()
	if wr := a.start("p", writeNow).wait(); wr.Err != pipe.ErrNoReader {
		t.Errorf("open for writing: %v", wr.Err)
	}
	delete(a.pipes, "p")
	wr := a.start("p", writeNow).ok()
	a.pipes["p"] = removed
	old := a.start("p", readNow).ok()
	wr.writes("new")
	rd.reads("new")
	old.readsErr(io.EOF)
	for _, o := range []*opening{rd, wr, old} {
		o.close()
	}
	r.allIdle()
}

// An open that has set out before its name was removed does not meet who opens what has
// the name now, though it came to the home after them.
func TestRetiredOnTheWay(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("fifo", home)
	a.sync()
	r.slow(a, home)
	rd := a.start(name, reading)
	r.eventually("its open is under way", a.entering)
	for _, h := range r.hosts {
		h.cluster.Retire(name)
	}
	wr := b.start(name, writing)
	r.eventually("the writer waits", func() bool { return len(b.broker.Attr(b.pipes[name]).Stat.Writers) == 1 })
	r.eventually("the reader waits", func() bool { return len(a.broker.Attr(a.pipes[name]).Stat.Readers) == 1 })
	for _, o := range []*opening{rd, wr} {
		if !o.Cancel() {
			t.Errorf("%v: met what has another name", o.h.id)
			o.close()
		}
	}
	r.allIdle()
}

// An open that was withdrawn goes on to the new pipe that its name stands for, and ends
// there.
func TestWithdrawnWhenSpent(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("exclusive", home)
	rd, wr := a.start(name, readNow).ok(), b.start(name, writeNow).ok()
	r.slow(b, a)
	wr.close()
	r.eventually("the home knows", func() bool { return home.registrations(name) == 1 })
	r.slow(home, a)
	o := a.start(name, writing)
	r.eventually("its open is under way", a.entering)
	if o.Cancel() {
		t.Fatal("withdrawn")
	}
	if o.wait(); !errors.Is(o.Err, context.Canceled) {
		t.Errorf("open: %v", o.Err)
	}
	rd.readsErr(io.EOF)
	rd.close()
	r.allIdle()
	if err := a.broker.SetMode(t.Context(), a.pipes[name], pipe.Fifo); err != nil {
		t.Errorf("something holds the name: %v", err)
	}
}
