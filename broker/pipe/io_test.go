// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

var errEOF = io.EOF

func TestReadRules(t *testing.T) {
	five := []byte("12345")
	tests := []struct {
		name     string
		put      int // bytes of five in the pipe
		closed   bool
		min, max int
		set      []func(*ReadOp)
		waits    bool
		want     int
		err      error
	}{
		{"takes what is there", 5, false, 1, 10, nil, false, 5, nil},
		{"takes no more than max", 5, false, 1, 3, nil, false, 3, nil},
		{"min 0 is min 1", 0, false, 0, 3, nil, true, 0, nil},
		{"waits for min", 4, false, 5, 10, nil, true, 0, nil},
		{"has min", 5, false, 5, 5, nil, false, 5, nil},
		{"short at the end", 5, true, 10, 10, nil, false, 5, nil},
		{"end", 0, true, 1, 10, nil, false, 0, io.EOF},
		{"end without waiting", 0, true, 1, 10, []func(*ReadOp){noWaitR}, false, 0, io.EOF},
		{"empty without waiting", 0, false, 1, 10, []func(*ReadOp){noWaitR}, false, 0, ErrAgain},
		{"too little without waiting", 4, false, 5, 10, []func(*ReadOp){noWaitR}, false, 0, ErrAgain},
		{"rest of nothing", 0, false, 1, 10, []func(*ReadOp){restOf}, false, 0, ErrAgain},
	}
	for _, c := range tests {
		for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
			t.Run(c.name+"/"+mode.String(), func(t *testing.T) {
				r := newRig(t, mode, 0)
				from, to := r.pair()
				if c.put > 0 {
					r.write(to, five[:c.put]).is(t, c.put, nil)
				}
				if c.closed {
					to.Close()
				}
				x := r.read(from, c.min, c.max, c.set...)
				if c.waits {
					x.waits(t)
					return
				}
				x.is(t, five[:c.want], c.err)
			})
		}
	}
}

// TestReaderBeforeWriter: read(2) of an O_NONBLOCK reader that never saw a writer
// is end of file, a patient one's waits.
func TestReaderBeforeWriter(t *testing.T) {
	r := newRig(t, Fifo, 0)
	r.read(r.reader(), 1, 1).is(t, nil, io.EOF)

	r = newRig(t, Exclusive, 0)
	x := r.read(r.open(rd|pt).Reader, 4, 4)
	x.waits(t)
	w := r.open(wr | pt).Writer
	r.write(w, []byte("ab")).is(t, 2, nil)
	x.waits(t)
	w.Close()
	x.is(t, []byte("ab"), nil)
}

func TestPieces(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	data := pattern(1, 3*SegmentSize)
	r.write(to, data).is(t, len(data), nil)
	x := r.read(from, 1, len(data), onePiece)
	x.is(t, data[:SegmentSize], nil)
	y := r.read(from, 1, len(data))
	y.is(t, data[SegmentSize:], nil)
	if x.pieces != 1 || y.pieces != 2 {
		t.Error(x.pieces, y.pieces)
	}
}

// TestHandOver: large chunks move by reference, short ones are gathered.
func TestHandOver(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	buf := r.pool.Segment()
	var got *Buffer
	op := &ReadOp{Min: 1, Max: SegmentSize, Done: func(op *ReadOp) { got = op.Chunks[0].buf; op.Chunks[0].Release() }}
	to.Start(&WriteOp{Chunks: []Chunk{buf.Chunk(0, SegmentSize)}, Done: func(*WriteOp) {}})
	from.Start(op)
	if got != buf {
		t.Error("a large chunk was copied")
	}
	from.Start(op)
	to.Start(&WriteOp{Chunks: []Chunk{buf.Chunk(0, 1)}, Done: func(*WriteOp) {}})
	if got != buf {
		t.Error("an awaited chunk was copied")
	}
	for range 100 {
		to.Start(&WriteOp{Chunks: []Chunk{buf.Chunk(0, 10)}, Done: func(*WriteOp) {}})
	}
	if got = nil; buf.refs.Load() != 1 {
		t.Error("short chunks hold a segment")
	}
	buf.Release()
	if x := r.read(from, 1000, 1000); x.pieces != 1 {
		t.Errorf("gathered into %d pieces", x.pieces)
	}
}

func TestWriteRules(t *testing.T) {
	const size = 8192
	tests := []struct {
		name  string
		held  int // bytes in the pipe before
		n     int
		set   []func(*WriteOp)
		took  int
		waits bool
		err   error
	}{
		{"fits", 0, size, nil, size, false, nil},
		{"PIPE_BUF waits whole", size - Buf + 1, Buf, nil, 0, true, nil},
		{"PIPE_BUF fits whole", size - Buf, Buf, nil, Buf, false, nil},
		{"PIPE_BUF would wait", size - Buf + 1, Buf, []func(*WriteOp){noWait}, 0, false, ErrAgain},
		{"more goes in pieces", size - Buf, Buf + 1, nil, Buf, true, nil},
		{"more is short without waiting", size - Buf, Buf + 1, []func(*WriteOp){noWait}, Buf, false, nil},
		{"more into a full pipe without waiting", size, Buf + 1, []func(*WriteOp){noWait}, 0, false, ErrAgain},
		{"larger than the capacity", 0, 3 * size, nil, size, true, nil},
		{"whole waits for all its room", 1, size, []func(*WriteOp){whole}, 0, true, nil},
		{"whole without waiting", 1, size, []func(*WriteOp){whole, noWait}, 0, false, ErrAgain},
		{"whole and larger than the capacity enters an empty pipe", 0, 3 * size, []func(*WriteOp){whole}, 3 * size, false, nil},
		{"whole and larger than the capacity waits", 1, 3 * size, []func(*WriteOp){whole}, 0, true, nil},
	}
	for _, c := range tests {
		for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
			t.Run(c.name+"/"+mode.String(), func(t *testing.T) {
				r := newRig(t, mode, size)
				from, to := r.pair()
				before, data := pattern(1, c.held), pattern(2, c.n)
				if c.held > 0 {
					r.write(to, before).is(t, c.held, nil)
				}
				x := r.write(to, data, c.set...)
				if c.waits {
					x.waits(t)
				} else {
					x.is(t, c.took, c.err)
				}
				if got := r.Stat().Buffered; got != c.held+c.took {
					t.Fatalf("%d bytes buffered, want %d", got, c.held+c.took)
				}
				if !c.waits {
					return
				}
				want := append(before, data...)
				var got []byte
				for len(got) < len(want) {
					y := r.read(from, 1, 1000)
					if y.dones != 1 || y.Err != nil {
						t.Fatalf("stuck after %d of %d bytes: %v", len(got), len(want), y.Err)
					}
					got = append(got, y.got...)
				}
				x.is(t, c.n, nil)
				if !bytes.Equal(got, want) {
					t.Error("bytes differ")
				}
			})
		}
	}
}

// TestWholeIsNotSticky: an operation reused for a long write is not whole because
// it was short once.
func TestWholeIsNotSticky(t *testing.T) {
	r := newRig(t, Fifo, 8192)
	_, to := r.pair()
	op := &WriteOp{NonBlock: true, Done: func(*WriteOp) {}, Chunks: chunks(r.pool, pattern(1, 10))}
	to.Start(op)
	op.Chunks = chunks(r.pool, pattern(2, 8192))
	to.Start(op)
	if op.N != 8182 || op.Err != nil {
		t.Errorf("took %d, %v; want a short count", op.N, op.Err)
	}
}

func TestEmptyWrite(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 0)
		from, to := r.pair()
		r.write(to, nil).is(t, 0, nil)
		r.read(from, 1, 1, noWaitR).is(t, nil, ErrAgain)
		from.Close()
		r.write(to, nil).is(t, 0, ErrBroken)
	}
}

// TestBroken: no reader is EPIPE, also midway and for those that wait.
func TestBroken(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 8192)
		from, to := r.pair()
		x := r.write(to, pattern(1, 10000))
		y := r.write(to, pattern(2, 10))
		x.waits(t)
		from.Close()
		x.is(t, 8192, ErrBroken)
		y.is(t, 0, ErrBroken)
		r.write(to, []byte("z")).is(t, 0, ErrBroken)
	}
}

// TestWritersQueue: a write waits behind those before it, so a long one is
// neither torn nor overtaken.
func TestWritersQueue(t *testing.T) {
	r := newRig(t, Fifo, 8192)
	from, a := r.pair()
	b := r.writer()
	long, short := pattern(1, 20000), pattern(2, 100)
	x, y := r.write(a, long), r.write(b, short)
	var got []byte
	for len(got) < len(long)+len(short) {
		got = append(got, r.read(from, 1, 777).got...)
	}
	if !bytes.Equal(got, append(long, short...)) {
		t.Error("the long write was torn")
	}
	x.is(t, len(long), nil)
	y.is(t, len(short), nil)
}

// TestUnreadBytesStay: a reader that closes leaves them for the next one, while
// any end is open.
func TestUnreadBytesStay(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	r.write(to, []byte("hello")).is(t, 5, nil)
	r.read(from, 1, 2).is(t, []byte("he"), nil)
	from.Close()
	r.read(r.reader(), 1, 10).is(t, []byte("llo"), nil)
}

func TestCancelWrite(t *testing.T) {
	r := newRig(t, Fifo, 8192)
	from, to := r.pair()
	x, y := r.write(to, pattern(1, 10000)), r.write(to, pattern(2, 10))
	if !to.Cancel(&x.WriteOp) || to.Cancel(&x.WriteOp) {
		t.Fatal("cancelled other than once")
	}
	if x.N != 8192 || x.dones != 0 {
		t.Fatal(x.N, x.dones)
	}
	r.read(from, 1, 10000).is(t, pattern(1, 10000)[:8192], nil)
	y.is(t, 10, nil)
	r.read(from, 1, 100).is(t, pattern(2, 10), nil)
}

// TestCancelLetsGo: what waited behind a withdrawn write goes in at once.
func TestCancelLetsGo(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 8192)
		_, to := r.pair()
		r.write(to, pattern(0, 5000)).is(t, 5000, nil)
		x, y := r.write(to, pattern(1, 5000), whole), r.write(to, pattern(2, 10))
		y.waits(t)
		to.Cancel(&x.WriteOp)
		y.is(t, 10, nil)
	}
}

func TestReadWriteWithContext(t *testing.T) {
	r := newRig(t, Fifo, 8192)
	from, to := r.pair()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := from.Read(ctx, 1, 1); err != stop {
		t.Error(err)
	}
	if n, err := to.Write(ctx, nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	if n, err := to.Write(t.Context(), pattern(1, 8192)); n != 8192 || err != nil {
		t.Error(n, err)
	}
	if n, err := to.Write(ctx, pattern(1, 1)); n != 0 || err != stop {
		t.Error(n, err)
	}
	got, err := from.Read(t.Context(), 1, 10000)
	n := 0
	for _, c := range got {
		n += c.Len()
		c.Release()
	}
	if n != 8192 || err != nil {
		t.Error(n, err)
	}
}

// TestReadMoreThanCapacity: a reader may want more at once than the pipe holds;
// then the pipe holds that, and no more.
func TestReadMoreThanCapacity(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 8192)
		from, to := r.pair()
		x := r.read(from, 20000, 20000)
		data := pattern(1, 30000)
		y := r.write(to, data)
		x.is(t, data[:20000], nil)
		y.waits(t)
		if n := r.Stat().Buffered; n != 8192 {
			t.Errorf("%v: %d bytes buffered", mode, n)
		}
		r.read(from, 10000, 10000).is(t, data[20000:], nil)
		y.is(t, len(data), nil)
	}
}

// TestWholeMeetsHungryRead: neither may wait for the other, the whole write for
// room and the read for more bytes than there are.
func TestWholeMeetsHungryRead(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		for _, c := range []struct{ first, want, second int }{
			{6000, 8192, 6000},   // up to the capacity
			{5000, 8192, Buf},    // PIPE_BUF
			{8192, 20000, 30000}, // beyond it
		} {
			r := newRig(t, mode, 8192)
			from, to := r.pair()
			r.write(to, pattern(1, c.first), whole).is(t, c.first, nil)
			x := r.read(from, c.want, c.want)
			y := r.write(to, pattern(2, c.second), whole)
			if x.dones != 1 || y.dones != 1 {
				t.Errorf("%v: %+v: read done %d, write done %d: they wait for each other", mode, c, x.dones, y.dones)
			}
		}
	}
}
