// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// everyHome runs a test for names that have their homes on different hosts.
func everyHome(t *testing.T, mode string, f func(t *testing.T, r *rig, name string)) {
	for i := range 6 {
		name := fmt.Sprintf("%s-%d", mode, i)
		t.Run(name, func(t *testing.T) { f(t, newRig(t, 3), name) })
	}
}

func TestFanout(t *testing.T) {
	everyHome(t, "fanout", func(t *testing.T, r *rig, name string) {
		a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
		if wr := b.start(name, writeNow).wait(); wr.Err != pipe.ErrNoReader {
			t.Fatalf("open for writing without a reader: %v", wr.Err)
		}
		w1 := b.start(name, writing)
		ra := a.start(name, reading).ok()
		w1.ok()
		rb, rc := b.start(name, readNow).ok(), c.start(name, readNow).ok()
		w1.writes("one")
		for _, rd := range []*opening{ra, rb, rc} {
			rd.reads("one")
		}
		late := c.start(name, readNow).ok()
		w2 := c.start(name, writeNow).ok()
		w1.writes("1")
		w2.writes("2")
		for _, rd := range []*opening{ra, rb, rc} {
			got, err := rd.read(2, 2)
			if s := string(got); err != nil || s != "12" && s != "21" {
				t.Errorf("%v: read %q, %v", rd.h.id, got, err)
			}
		}
		late.reads("2")
		w1.close()
		w2.close()
		for _, rd := range []*opening{ra, rb, rc, late} {
			rd.readsErr(io.EOF)
			rd.close()
		}
		r.eventually("nothing is left", func() bool { return a.idle() && b.idle() && c.idle() })
	})
}

// A writer whose readers have all gone is broken, whoever has come since.
func TestFanoutDeserted(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	first := a.start("fanout-p", readNow).ok()
	wr := b.start("fanout-p", writeNow).ok()
	wr.writes("x")
	first.reads("x")
	second := a.start("fanout-p", readNow).ok()
	first.close()
	r.eventually("EPIPE", func() bool { return wr.write("y") == pipe.ErrBroken })
	if s := second.Reader.Ready(nil); s != 0 {
		t.Errorf("a reader of which a writer knows nothing is ready as %v", s)
	}
	wr.close()
	second.readsErr(io.EOF)
}

// The slowest reader sets the pace, and the bytes that wait for it are bounded.
func TestFanoutPace(t *testing.T) {
	r := newRig(t, 3)
	a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
	slow, fast := a.start("fanout-p", readNow).ok(), c.start("fanout-p", readNow).ok()
	wr := b.start("fanout-p", writeNow).ok()
	n := 0
	for {
		op := &pipe.WriteOp{NonBlock: true, Chunks: []pipe.Chunk{pipe.ChunkOf(pattern(4096))}, Done: func(*pipe.WriteOp) {}}
		wr.Writer.Start(op)
		if op.Err != nil {
			break
		}
		n += op.N
		fast.reads(string(pattern(op.N)))
	}
	if n != pipe.DefaultCapacity {
		t.Errorf("%d bytes were taken beyond a reader that does not read, want %d", n, pipe.DefaultCapacity)
	}
	for range n / 4096 {
		slow.reads(string(pattern(4096)))
	}
	r.eventually("room", func() bool { return wr.Writer.Ready(nil) == pipe.Writable })
}

func TestExclusive(t *testing.T) {
	everyHome(t, "exclusive", func(t *testing.T, r *rig, name string) {
		a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
		rd := a.start(name, readNow).ok()
		for _, h := range r.hosts {
			if o := h.start(name, readNow).wait(); !errors.Is(o.Err, pipe.ErrBusy) {
				t.Fatalf("%v: a second reader: %v", h.id, o.Err)
			}
		}
		wr := b.start(name, writeNow).ok()
		for _, h := range r.hosts {
			if o := h.start(name, writeNow).wait(); !errors.Is(o.Err, pipe.ErrBusy) {
				t.Fatalf("%v: a second writer: %v", h.id, o.Err)
			}
		}
		wr.writes("first")
		wr.close()
		// The bytes stay for that reader, and the name is at once a new pipe.
		r.eventually("a new pipe", func() bool {
			o := c.start(name, readNow).wait()
			if o.Err == nil {
				w2 := a.start(name, writeNow).ok()
				w2.writes("second")
				o.reads("second")
				w2.close()
				o.readsErr(io.EOF)
				o.close()
			}
			return o.Err == nil
		})
		rd.reads("first")
		rd.readsErr(io.EOF)
		rd.close()
		r.eventually("nothing is left", func() bool { return a.idle() && b.idle() && c.idle() })
	})
}
