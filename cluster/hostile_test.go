// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// allIdle waits until no host has anything left of a pipe.
func (r *rig) allIdle() {
	r.t.Helper()
	for _, h := range r.hosts {
		if !h.dead {
			r.eventually(h.id.Node+" is idle", h.idle)
		}
	}
}

// seen sets who is alive as one host sees it.
func (h *host) seen(others ...*host) {
	var members []Member
	for _, o := range others {
		members = append(members, Member{ID: o.id})
	}
	h.cluster.Members(members)
}

// homed returns a name whose home is the host, of the hosts of the rig.
func (r *rig) homed(mode string, h *host) string {
	var nodes []string
	for _, o := range r.hosts {
		nodes = append(nodes, o.id.Node)
	}
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s-%d", mode, i); peer.Home(name, nodes) == h.id.Node {
			return name
		}
	}
}

// Writers that come and go while a reader does not read leave their bytes to it,
// each through a stream of its own.
func TestReopenedWriter(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	rd := a.start("p", readNow).ok()
	const rounds = 20
	var want, got []byte
	for i := range rounds {
		b1 := bytes.Repeat([]byte{byte('a' + i)}, 30000)
		want = append(want, b1...)
		wr := b.start("p", writeNow).ok()
		wr.writes(string(b1))
		wr.close()
		r.eventually("arrived", func() bool { return len(arrived(rd)) == len(want)-len(got) })
		half, err := rd.read(15000, 15000)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, half...)
	}
	rest, err := rd.read(len(want)-len(got), len(want))
	if err != nil || !bytes.Equal(append(got, rest...), want) {
		t.Fatalf("%d bytes came, not those or not in that order; %v", len(got)+len(rest), err)
	}
	rd.readsErr(io.EOF)
	rd.close()
	r.allIdle()
}

// A read that must have more than the window gets it, wherever the writer is.
func TestHungryReader(t *testing.T) {
	for _, first := range []bool{true, false} {
		r := newRig(t, 2)
		a, b := r.hosts[0], r.hosts[1]
		rd, wr := a.start("p", readNow).ok(), b.start("p", writeNow).ok()
		want := pattern(5 << 20)
		written := make(chan error, 1)
		write := func() { written <- wr.write(string(want)) }
		if !first {
			go write()
			r.eventually("the window is full", func() bool { return len(arrived(rd)) >= 1<<20 })
		}
		got := make(chan []byte, 1)
		go func() {
			b, _ := rd.read(len(want), len(want))
			got <- b
		}()
		if first {
			r.eventually("the read waits", func() bool { return rd.Reader.Pipe().Need() > 0 })
			go write()
		}
		if b := <-got; !bytes.Equal(b, want) {
			t.Fatalf("first %v: read %d bytes", first, len(b))
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		rd.close()
		wr.close()
		r.allIdle()
	}
}

// arrived tells how many bytes lie before a reader, as bytes.
func arrived(o *opening) []byte { return make([]byte, o.Reader.Pipe().Stat().Buffered) }

// Writes of up to PIPE_BUF from several hosts are whole at a reader that reads slower
// than they come.
func TestShortWritesOfManyHosts(t *testing.T) {
	r := newRig(t, 3)
	a := r.hosts[0]
	rd := a.start("p", readNow).ok()
	const size, each = 3001, 1500
	for i, h := range r.hosts {
		wr := h.start("p", writeNow).ok()
		go func() {
			for range each {
				if wr.write(string(bytes.Repeat([]byte{byte('a' + i)}, size))) != nil {
					break
				}
			}
			wr.close()
		}()
	}
	r.eventually("much has come", func() bool { return len(arrived(rd)) > 2<<20 })
	var got []byte
	for {
		b, err := rd.read(1, 4096)
		got = append(got, b...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 3*each*size {
		t.Fatalf("%d bytes came, want %d", len(got), 3*each*size)
	}
	for n := 0; len(got) > 0; n++ {
		if !bytes.Equal(got[:size], bytes.Repeat(got[:1], size)) {
			t.Fatalf("write %d is torn", n)
		}
		got = got[size:]
	}
	rd.close()
	r.allIdle()
}

// A fanout writer whose open is refused leaves no voice for readers to wait for.
func TestFanoutRefused(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	waiting := b.start("fanout-p", writing)
	r.eventually("the writer waits", func() bool { return b.registered("fanout-p", a) })
	if wr := b.start("fanout-p", writeNow).wait(); wr.Err != pipe.ErrNoReader {
		t.Fatalf("open for writing without a reader: %v", wr.Err)
	}
	rd := a.start("fanout-p", readNow).ok()
	waiting.ok().writes("x")
	rd.reads("x")
	waiting.close()
	rd.readsErr(io.EOF)
	rd.close()
	r.allIdle()
}

// registered reports that this host's ends are known to the pipe's home.
func (h *host) registered(name string, others ...*host) (known bool) {
	for _, o := range append(others, h) {
		known = known || o.cluster.registry.open(name)
	}
	return known
}

// A broker that others know and it does not know yet holds up no open, and is met
// when it is known.
func TestPartnerNotSeenYet(t *testing.T) {
	for _, back := range []bool{false, true} {
		r := newRig(t, 3)
		a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
		name := r.homed("fifo", home)
		a.seen(home)
		if back {
			b.seen(home)
		}
		wr := b.start(name, writing)
		r.eventually("registered", func() bool { return home.cluster.registry.open(name) })
		rd := a.start(name, readNow).ok()
		blocked := a.start(name, reading)
		r.view()
		wr.ok().writes("x")
		blocked.ok()
		rd.reads("x")
		wr.close()
		rd.readsErr(io.EOF)
		rd.close()
		blocked.close()
		r.allIdle()
	}
}

// Ends whose brokers lost each other meet again when the link is back.
func TestMeetAgain(t *testing.T) {
	for i, down := range []bool{false, true} {
		r := newRig(t, 3)
		for _, h := range r.hosts {
			h.stop()
		}
		r.hosts, r.timeout = nil, 300*time.Millisecond
		for n := range 3 {
			r.add(fmt.Sprintf("h%d", n+1), 2)
		}
		r.view()
		a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
		name := r.homed("fifo", home)
		rd, wr := a.start(name, readNow).ok(), b.start(name, writeNow).ok()
		wr.writes("x")
		rd.reads("x")
		r.net.Cut("h1", "h2", true)
		if down {
			a.seen(home)
		}
		rd.readsErr(pipe.ErrPeerLost)
		if i == 0 {
			rd.readsErr(io.EOF)
		}
		r.net.Cut("h1", "h2", false)
		r.view()
		blocked := a.start(name, reading)
		blocked.ok()
		r.eventually("a reader", func() bool { return wr.write("y") == nil })
		got, err := rd.read(1, 1)
		for ; err == nil && string(got) == "x"; got, err = rd.read(1, 1) {
			t.Log("what was read before the loss came again, after the error")
		}
		if string(got) != "y" {
			t.Fatalf("read %q, %v", got, err)
		}
		rd.close()
		wr.close()
		blocked.close()
		r.allIdle()
	}
}

// The pair of an exclusive pipe outlives its home, and nobody else gets in.
func TestExclusiveHomeLost(t *testing.T) {
	r := newRig(t, 4)
	a, b, c, home := r.hosts[0], r.hosts[1], r.hosts[2], r.hosts[3]
	name := r.homed("exclusive", home)
	rd, wr := a.start(name, readNow).ok(), b.start(name, writeNow).ok()
	wr.writes("x")
	home.kill()
	r.view()
	r.eventually("both are registered again", func() bool { return a.registrations(name)+b.registrations(name)+c.registrations(name) == 2 })
	for _, h := range []*host{a, b, c} {
		if o := h.start(name, readNow).wait(); !errors.Is(o.Err, pipe.ErrBusy) {
			t.Fatalf("%v: a second reader: %v", h.id, o.Err)
		}
		if o := h.start(name, writeNow).wait(); !errors.Is(o.Err, pipe.ErrBusy) {
			t.Fatalf("%v: a second writer: %v", h.id, o.Err)
		}
	}
	rd.reads("x")
	wr.close()
	rd.readsErr(io.EOF)
	wr2 := b.start(name, writing)
	rd2 := c.start(name, reading).ok()
	wr2.ok().writes("new")
	rd2.reads("new")
	for _, o := range []*opening{rd, rd2, wr2} {
		o.close()
	}
	r.allIdle()
}

// A reader of an exclusive pipe is not refused because a writer that waits behind it is.
func TestExclusiveOneByOne(t *testing.T) {
	r := newRig(t, 3)
	a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
	name := r.homed("exclusive", home)
	wr := b.start(name, writing)
	r.eventually("registered", func() bool { return home.cluster.registry.open(name) })
	r.net.SetAll(link5ms())
	slow := a.start(name, writeNow)
	rd, second := a.start(name, readNow), a.start(name, writeNow)
	if slow.wait(); !errors.Is(slow.Err, pipe.ErrBusy) {
		t.Errorf("a second writer: %v", slow.Err)
	}
	if second.wait(); !errors.Is(second.Err, pipe.ErrBusy) {
		t.Errorf("a third writer: %v", second.Err)
	}
	rd.ok()
	wr.ok().writes("x")
	rd.reads("x")
	rd.close()
	wr.close()
	r.allIdle()
}

// Bytes that were asked for by a read which was withdrawn are there for the next reader.
func TestWithdrawnRead(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	far, near := a.start("p", readNow).ok(), b.start("p", readNow).ok()
	wr := b.start("p", writeNow).ok()
	ctx, withdraw := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() {
		_, err := far.Reader.Read(ctx, 100, 100)
		over <- err
	}()
	r.eventually("the read waits", func() bool { return far.Reader.Pipe().Need() > 0 })
	wr.writes("fifty")
	r.eventually("arrived", func() bool { return far.Reader.Ready(nil)&pipe.Readable != 0 })
	r.eventually("asked for more", func() bool { return b.asked(100 - 5) })
	withdraw()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	near.reads("fifty")
	for _, o := range []*opening{far, near, wr} {
		o.close()
	}
	r.allIdle()
}

func (h *host) registrations(name string) int {
	h.cluster.registry.mu.Lock()
	defer h.cluster.registry.mu.Unlock()
	if m := h.cluster.registry.names[name]; m != nil {
		return len(m.regs)
	}
	return 0
}

// The end does not come before the bytes are read, if others may want them: when they
// have been recalled from a reader and the one that wanted them goes, they are for the
// first again.
func TestRecalledAndLeft(t *testing.T) {
	r := newRig(t, 3)
	a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
	first, wr := a.start("p", readNow).ok(), b.start("p", writeNow).ok()
	wr.writes("0123456789")
	r.eventually("all has come", func() bool { return len(arrived(first)) == 10 })
	second := c.start("p", readNow).ok()
	wr.close()
	second.reads("012")
	r.eventually("it lies there", func() bool { return len(arrived(first)) == 0 })
	second.close()
	first.reads("3456789")
	first.readsErr(io.EOF)
	first.close()
	r.allIdle()
}

// asked reports that a stream from this host is asked for bytes.
func (h *host) asked(n int) (asked bool) {
	_ = h.cluster.do(h.t.Context(), func() {
		for _, o := range h.cluster.outs {
			o.mu.Lock()
			asked = asked || o.asked > 0
			o.mu.Unlock()
		}
	})
	return asked
}

// A broker that stops ends the opens that wait for an answer of another one.
func TestStopWhileOpening(t *testing.T) {
	r := newRig(t, 2)
	a, home := r.hosts[0], r.hosts[1]
	r.net.Cut("h1", "h2", true)
	o := a.start(r.homed("fifo", home), reading)
	a.stop()
	if o.wait(); o.Err != pipe.ErrClosed {
		t.Errorf("open: %v", o.Err)
	}
	if o := a.start(r.homed("fifo", home), reading).wait(); o.Err != pipe.ErrClosed {
		t.Errorf("open after the end: %v", o.Err)
	}
}

// A name that is retired while an open talks with its home leaves nothing there.
func TestRetiredWhileOpening(t *testing.T) {
	r := newRig(t, 2)
	a, home := r.hosts[0], r.hosts[1]
	name := r.homed("fifo", home)
	r.net.SetAll(link5ms())
	rd := a.start(name, readNow)
	r.eventually("the home is asked", func() (asked bool) {
		_ = a.cluster.do(t.Context(), func() { asked = len(a.cluster.calls) > 0 })
		return asked
	})
	a.cluster.Retire(name)
	home.cluster.Retire(name)
	rd.ok()
	r.eventually("forgotten", func() bool { return home.registrations(name) == 0 })
	wr := home.start(name, writeNow).wait()
	if wr.Err != pipe.ErrNoReader {
		t.Errorf("open of the new pipe: %v", wr.Err)
	}
	rd.close()
	r.allIdle()
}
