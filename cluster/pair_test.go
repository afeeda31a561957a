// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// everywhere runs a test with each host of three as the home, as far as names reach.
func everywhere(t *testing.T, f func(t *testing.T, a, b *host, name string)) {
	for i := range 6 {
		name := fmt.Sprint("pipe-", i)
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3)
			f(t, r.hosts[0], r.hosts[1], name)
		})
	}
}

func TestReaderFirst(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *host, name string) {
		rd := a.start(name, reading)
		wr := b.start(name, writing).ok()
		rd.ok()
		wr.writes("hello")
		rd.reads("hello")
		wr.writes("again")
		wr.close()
		rd.reads("again")
		rd.readsErr(io.EOF)
		rd.close()
	})
}

func TestWriterFirst(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *host, name string) {
		wr := b.start(name, writing)
		rd := a.start(name, reading).ok()
		wr.ok().writes("hello")
		rd.reads("hello")
		rd.close()
		a.eventually("EPIPE", func() bool { return wr.write("x") == pipe.ErrBroken })
		wr.close()
	})
}

func TestNonBlocking(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *host, name string) {
		if wr := b.start(name, writeNow).wait(); wr.Err != pipe.ErrNoReader {
			t.Fatalf("open for writing without a reader: %v", wr.Err)
		}
		rd := a.start(name, readNow).ok()
		rd.readsErr(io.EOF)
		wr := b.start(name, writeNow).ok()
		if s := rd.Reader.Ready(nil); s != 0 {
			t.Fatalf("ready is %v with a writer elsewhere", s)
		}
		wr.close()
		a.eventually("hangup", func() bool { return rd.Reader.Ready(nil) == pipe.Hangup })
		rd.close()
	})
}

func TestManyBytes(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	rd, wr := a.start("p", reading), b.start("p", writing)
	rd.ok()
	wr.ok()
	want := pattern(20 << 20)
	go func() {
		for left := want; len(left) > 0; {
			n := min(len(left), 100000)
			if wr.write(string(left[:n])) != nil {
				break
			}
			left = left[n:]
		}
		wr.close()
	}()
	var got []byte
	for {
		bs, err := rd.read(1, 70000)
		got = append(got, bs...)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes arrived of %d, or others", len(got), len(want))
	}
	rd.close()
	r.eventually("nothing is left", func() bool { return a.idle() && b.idle() })
}

// idle reports that nothing of a pipe is left.
func (h *host) idle() (idle bool) {
	_ = h.cluster.do(h.t.Context(), func() {
		c := h.cluster
		idle = len(c.ties)+len(c.byReg)+len(c.ins)+len(c.outs)+len(c.calls)+len(c.registry.names) == 0
	})
	return idle
}

// A writer that closes before its bytes are read leaves them for the reader.
func TestClosedWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *host, name string) {
		rd := a.start(name, reading)
		wr := b.start(name, writing).ok()
		wr.writes("left behind")
		wr.close()
		rd.ok().reads("left behind")
		rd.readsErr(io.EOF)
		rd.close()
	})
}

func TestFullPipe(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	rd, wr := a.start("p", readNow).ok(), b.start("p", writeNow).ok()
	n := 0
	for {
		op := &pipe.WriteOp{NonBlock: true, Chunks: []pipe.Chunk{pipe.ChunkOf(pattern(4096))}, Done: func(*pipe.WriteOp) {}}
		wr.Writer.Start(op)
		if op.Err != nil {
			break
		}
		n += op.N
	}
	if n != pipe.DefaultCapacity {
		t.Errorf("%d bytes went into a pipe whose reader is elsewhere, want %d", n, pipe.DefaultCapacity)
	}
	if s := wr.Writer.Ready(nil); s != 0 {
		t.Errorf("a full pipe is ready as %v", s)
	}
	second := b.start("p", writeNow).ok()
	wr.close()
	second.close()
	r.eventually("a full pipe hangs up", func() bool { return rd.Reader.Ready(nil) == pipe.Readable|pipe.Hangup })
	wr = b.start("p", writeNow).ok()
	rd.reads(string(pattern(n)))
	r.eventually("room", func() bool { return wr.Writer.Ready(nil) == pipe.Writable })
	rd.close()
	wr.close()
}

func TestLostWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *host, name string) {
		rd := a.start(name, reading)
		wr := b.start(name, writing).ok()
		rd.ok()
		wr.writes("arrived")
		a.eventually("arrived", func() bool { return rd.Reader.Ready(nil)&pipe.Readable != 0 })
		b.kill()
		a.view()
		rd.reads("arrived")
		rd.readsErr(pipe.ErrPeerLost)
		rd.readsErr(io.EOF)
		rd.close()
	})
}

func TestLostReader(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *host, name string) {
		rd := a.start(name, reading)
		wr := b.start(name, writing).ok()
		rd.ok()
		a.kill()
		b.view()
		b.eventually("EPIPE", func() bool { return wr.write("x") == pipe.ErrBroken })
		wr.close()
	})
}

// What a reader leaves unread goes to the pipe's other readers, wherever they are.
func TestUnreadGoesOn(t *testing.T) {
	r := newRig(t, 3)
	a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
	first := a.start("p", readNow).ok()
	wr := b.start("p", writeNow).ok()
	wr.writes("0123456789")
	r.eventually("arrived", func() bool { return first.Reader.Ready(nil)&pipe.Readable != 0 })
	first.reads("012")
	second := c.start("p", readNow).ok()
	first.close()
	second.reads("3456789")
	wr.close()
	second.readsErr(io.EOF)
	second.close()
}
