// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
)

// stock is how many buffers of each size a rig's pool starts with. A test that
// needs more cannot be checked for leaks and fails.
const stock = 192

// rig is a pipe whose every buffer is accounted for: when the test ends and all
// ends are closed, each must be back in the pool, once, with no reference left.
type rig struct {
	*Pipe
	t     testing.TB
	pool  *Pool
	idles atomic.Int32
	ends  []*opened
}

func newRig(t testing.TB, m Mode, capacity int) *rig {
	t.Helper()
	return newRigOn(t, stockedPool(), m, capacity)
}

func newRigOn(t testing.TB, pool *Pool, m Mode, capacity int) *rig {
	r := &rig{t: t, pool: pool}
	r.Pipe = New(Config{Mode: m, Capacity: capacity, Pool: r.pool, Idle: func() { r.idles.Add(1) }})
	t.Cleanup(func() {
		r.closeAll()
		checkStock(t, r.pool)
	})
	return r
}

func (r *rig) closeAll() {
	for _, o := range r.ends {
		o.Cancel()
		if o.Err == nil {
			r.Close(o.Reader, o.Writer, nil)
		}
	}
	r.ends = nil
}

func stockedPool() *Pool {
	p := &Pool{}
	var all []*Buffer
	for range stock {
		all = append(all, p.Segment(), p.small())
	}
	for _, b := range all {
		b.Release()
	}
	return p
}

// checkStock fails if a buffer was leaked or released twice.
func checkStock(t testing.TB, p *Pool) {
	t.Helper()
	for name, s := range map[string]*shelf{"segments": &p.segments, "smalls": &p.smalls} {
		s.mu.Lock()
		seen := map[*Buffer]bool{}
		for _, b := range s.idle {
			if seen[b] {
				t.Errorf("%s: a buffer was put back twice", name)
			}
			seen[b] = true
			if n := b.refs.Load(); n != 0 {
				t.Errorf("%s: an idle buffer has %d references", name, n)
			}
		}
		switch {
		case len(s.idle) < stock:
			t.Errorf("%s: %d of %d buffers were not given back", name, stock-len(s.idle), stock)
		case len(s.idle) > stock:
			t.Errorf("%s: the test used %d buffers more than the stock, so leaks cannot be seen", name, len(s.idle)-stock)
		}
		s.mu.Unlock()
	}
}

// How an end is opened.
const (
	rd = 1 << iota
	wr
	nb
	pt
)

type opened struct {
	OpenOp
	dones int
}

// start opens an end; it may stay waiting.
func (r *rig) start(how int) (*opened, error) {
	o := newOpened(how)
	return o, r.goOn(o)
}

func newOpened(how int) *opened {
	o := &opened{OpenOp: OpenOp{Read: how&rd != 0, Write: how&wr != 0, NonBlock: how&nb != 0, Patient: how&pt != 0}}
	o.Done = func(*OpenOp) { o.dones++ }
	return o
}

// arrive has an end on its way: goOn or Depart follows.
func (r *rig) arrive(how int) *opened {
	o := newOpened(how)
	r.Arrive(&o.OpenOp)
	return o
}

func (r *rig) goOn(o *opened) error {
	err := r.Pipe.Open(&o.OpenOp)
	if err == nil {
		r.ends = append(r.ends, o)
	}
	return err
}

// open opens an end that must not wait.
func (r *rig) open(how int) *opened {
	r.t.Helper()
	o, err := r.start(how)
	if err != nil || o.dones != 1 || o.Err != nil {
		r.t.Fatalf("open %b: %v, done %d times, %v", how, err, o.dones, o.Err)
	}
	return o
}

func (r *rig) reader() *Reader { r.t.Helper(); return r.open(rd | nb).Reader }

func (r *rig) writer() *Writer { r.t.Helper(); return r.open(wr | nb).Writer }

// pair opens a reader and then a writer.
func (r *rig) pair() (*Reader, *Writer) { r.t.Helper(); return r.reader(), r.writer() }

// chunks copies b into segments of the pool, as the mount does.
func chunks(p *Pool, b []byte) []Chunk { return chunksOf(p, b, SegmentSize) }

// chunksOf makes them of size bytes each.
func chunksOf(p *Pool, b []byte, size int) []Chunk {
	var all []Chunk
	for len(b) > 0 {
		seg := p.Segment()
		n := copy(seg.Bytes()[:size], b)
		all = append(all, seg.Chunk(0, n))
		seg.Release()
		b = b[n:]
	}
	return all
}

type reading struct {
	ReadOp
	dones  int
	got    []byte
	pieces int
}

// read starts a read; set changes the operation first.
func (r *rig) read(from *Reader, min, max int, set ...func(*ReadOp)) *reading {
	x := &reading{ReadOp: ReadOp{Min: min, Max: max}}
	for _, f := range set {
		f(&x.ReadOp)
	}
	x.Done = func(op *ReadOp) {
		x.dones++
		x.pieces = len(op.Chunks)
		for _, c := range op.Chunks {
			x.got = append(x.got, c.Bytes()...)
			c.Release()
		}
	}
	from.Start(&x.ReadOp)
	return x
}

type writing struct {
	WriteOp
	dones int
}

func (r *rig) write(to *Writer, b []byte, set ...func(*WriteOp)) *writing {
	x := &writing{WriteOp: WriteOp{Chunks: chunks(r.pool, b)}}
	for _, f := range set {
		f(&x.WriteOp)
	}
	x.Done = func(*WriteOp) { x.dones++ }
	to.Start(&x.WriteOp)
	return x
}

func whole(op *WriteOp)   { op.Whole = true }
func noWait(op *WriteOp)  { op.NonBlock = true }
func noWaitR(op *ReadOp)  { op.NonBlock = true }
func restOf(op *ReadOp)   { op.Rest = true }
func onePiece(op *ReadOp) { op.Pieces = 1 }

func (x *reading) waits(t testing.TB) {
	t.Helper()
	if x.dones != 0 {
		t.Fatalf("read did not wait: %d bytes, %v", x.N, x.Err)
	}
}

func (x *reading) is(t testing.TB, want []byte, err error) {
	t.Helper()
	switch {
	case x.dones != 1:
		t.Fatalf("read completed %d times", x.dones)
	case !errors.Is(x.Err, err):
		t.Fatalf("read: %d bytes and error %v, want %v", x.N, x.Err, err)
	case !bytes.Equal(x.got, want) || x.N != len(want):
		t.Fatalf("read %d bytes %.40q, want %d %.40q", x.N, x.got, len(want), want)
	}
}

func (x *writing) waits(t testing.TB) {
	t.Helper()
	if x.dones != 0 {
		t.Fatalf("write did not wait: %d bytes, %v", x.N, x.Err)
	}
}

func (x *writing) is(t testing.TB, n int, err error) {
	t.Helper()
	if x.dones != 1 || x.N != n || !errors.Is(x.Err, err) {
		t.Fatalf("write completed %d times with %d bytes, %v; want %d, %v", x.dones, x.N, x.Err, n, err)
	}
}

// pattern makes n bytes that differ from those of another seed.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(seed*131 + i*7 + i>>8)
	}
	return b
}

// flag counts notifications.
type flag int

func (f *flag) up() { *f++ }
