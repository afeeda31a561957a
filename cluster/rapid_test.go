// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// A writer opens, writes and closes while the home's answer to the reader's open is on
// its way: the reader finds that.
func TestWriterIsFasterThanTheHome(t *testing.T) {
	r := newRig(t, 3)
	name := r.homed("fifo", r.hosts[2])
	r.net.SetLink("h3", "h1", link.Conditions{Delay: 100 * time.Millisecond})
	rd := r.hosts[0].start(name, reading)
	r.eventually("the home knows of the reader", func() bool { return r.hosts[2].cluster.Open(name) })
	wr := r.hosts[1].start(name, writing).ok()
	wr.writes("hello")
	wr.close()
	rd.ok()
	rd.reads("hello")
	rd.readsErr(io.EOF)
}

// A reader opens and closes while the home's answer to the writer's open is on its way:
// the writer finds that.
func TestReaderIsFasterThanTheHome(t *testing.T) {
	r := newRig(t, 3)
	name := r.homed("fifo", r.hosts[2])
	r.net.SetLink("h3", "h1", link.Conditions{Delay: 100 * time.Millisecond})
	wr := r.hosts[0].start(name, writing)
	r.eventually("the home knows of the writer", func() bool { return r.hosts[2].cluster.Open(name) })
	r.hosts[1].start(name, reading).ok().close()
	wr.ok()
	if err := wr.write("x"); err != pipe.ErrBroken {
		t.Errorf("write: %v", err)
	}
}

// The home knows that a pair has parted before one of it does, who then opens the new
// pipe.
func TestExclusivePairParts(t *testing.T) {
	r := newRig(t, 3)
	a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("exclusive", r.hosts[2])
	rd, wr := a.start(name, readNow).ok(), b.start(name, writeNow).ok()
	r.net.SetLink("h2", "h1", link.Conditions{Delay: 200 * time.Millisecond})
	wr.close()
	var next *opening
	r.eventually("a new pipe", func() bool {
		next = c.start(name, readNow).wait()
		return next.Err == nil
	})
	w := a.start(name, writeNow).ok()
	w.writes("second")
	next.reads("second")
	rd.readsErr(io.EOF)
}

// A signal that comes when an open has met its partner does not undo that: the partner
// may have written already.
func TestOpenInterruptedWhenMet(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	for _, home := range r.hosts {
		name := r.homed("fifo", home)
		r.net.SetLink("h2", "h1", link.Conditions{Delay: 50 * time.Millisecond})
		wr := b.start(name, writing)
		b.sync()
		rd := a.start(name, reading)
		wr.ok().writes("hello")
		wr.close()
		if rd.Cancel() {
			t.Errorf("home %v: the reader's open is undone", home.id)
		}
		rd.ok()
		rd.reads("hello")
		rd.readsErr(io.EOF)
		rd.close()
		a.sync()
	}
}

// Without a partner it ends soon, also when the home is silent.
func TestOpenInterrupted(t *testing.T) {
	r := newRig(t, 2)
	for _, home := range r.hosts {
		name := r.homed("fifo", home)
		for _, set := range []func(*pipe.OpenOp){reading, writing} {
			op := r.hosts[0].start(name, set)
			r.hosts[0].sync()
			if !op.Cancel() {
				t.Errorf("home %v: an open that waits is not withdrawn", home.id)
			}
			r.net.Cut("h1", "h2", true)
			op = r.hosts[0].start(name, set)
			if !op.Cancel() {
				if op.wait(); !errors.Is(op.Err, context.Canceled) {
					t.Errorf("home %v: %v", home.id, op.Err)
				}
			}
			r.net.Cut("h1", "h2", false)
		}
	}
}

// Who learns late that his pair has parted does not part the next one.
func TestExclusivePartsOnce(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("exclusive", r.hosts[2])
	rd, wr := a.start(name, readNow).ok(), b.start(name, writeNow).ok()
	r.net.SetLink("h2", "h1", link.Conditions{Delay: 200 * time.Millisecond})
	wr.close()
	r.eventually("the home knows", func() bool { return home.registrations(name) == 1 })
	wr = b.start(name, writing)
	next := home.start(name, readNow).ok()
	wr.ok()
	rd.readsErr(io.EOF)
	r.eventually("the home knows", func() bool { return home.registrations(name) == 2 })
	for _, h := range r.hosts {
		if o := h.start(name, readNow).wait(); !errors.Is(o.Err, pipe.ErrBusy) {
			t.Errorf("%v: a second reader: %v", h.id, o.Err)
		}
	}
	for _, o := range []*opening{rd, wr, next} {
		o.close()
	}
	r.allIdle()
}

// A writer that comes when the home knows that the last one's host was lost, and the
// reader's host does not yet, waits for the next reader.
func TestExclusiveAfterALoss(t *testing.T) {
	for _, newHome := range []bool{false, true} {
		r := newRig(t, 4)
		a, b, c, home := r.hosts[0], r.hosts[1], r.hosts[2], r.hosts[3]
		name := r.homed("exclusive", r.hosts[3])
		rd := a.start(name, readNow).ok()
		b.start(name, writeNow).ok().writes("x")
		rd.reads("x")
		b.kill()
		others := []*host{c, home}
		if newHome { // which has never heard of the one that was lost
			home.kill()
			c.seen(a)
			a.seen(b, c)
			home = map[string]*host{"h1": a, "h3": c}[peer.Home(name, []string{"h1", "h3"})]
			others = []*host{c}
		} else {
			home.seen(a, c)
			c.seen(a, home)
		}
		r.eventually("the home knows", func() bool { return home.registrations(name) == 1 })
		wr := c.start(name, writing)
		r.eventually("it waits", func() bool { return len(c.broker.Attr(c.pipes[name]).Stat.Writers) == 1 })
		a.seen(others...)
		rd.readsErr(pipe.ErrPeerLost)
		r.eventually("the home knows", func() bool { return home.registrations(name) == 1 })
		next := a.start(name, reading).ok()
		wr.ok().writes("new")
		next.reads("new")
		for _, o := range []*opening{rd, wr, next} {
			o.close()
		}
		r.allIdle()
	}
}

// A writer has met a reader which opens, and its host is lost before the reader knows:
// the reader meets the next one.
func TestExclusiveLostBeforeMet(t *testing.T) {
	r := newRig(t, 4)
	a, b, c, home := r.hosts[0], r.hosts[1], r.hosts[2], r.hosts[3]
	name := r.homed("exclusive", r.hosts[3])
	a.sync()
	wr := b.start(name, writing)
	r.eventually("it waits", func() bool { return home.registrations(name) == 1 })
	r.net.SetLink("h2", "h1", link.Conditions{Delay: time.Second})
	rd := a.start(name, reading)
	wr.ok().close()
	r.eventually("they have parted", func() bool { return home.registrations(name) == 1 })
	b.kill()
	r.view()
	next := c.start(name, writing)
	rd.ok()
	next.ok().writes("new")
	rd.reads("new")
	rd.close()
	next.close()
	r.allIdle()
}
