// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"testing"
)

// BenchmarkHandOver is the way of a large chunk: a waiting read gets the write's
// own buffers.
func BenchmarkHandOver(b *testing.B) {
	pool := &Pool{}
	p := New(Config{Pool: pool})
	open := &OpenOp{Read: true, Write: true, Done: func(*OpenOp) {}}
	if err := p.Open(open); err != nil {
		b.Fatal(err)
	}
	r, w := open.Reader, open.Writer
	rd := &ReadOp{Min: 1, Max: SegmentSize, Done: func(op *ReadOp) {
		for _, c := range op.Chunks {
			c.Release()
		}
	}}
	wr := &WriteOp{Done: func(*WriteOp) {}}
	b.ReportAllocs()
	for b.Loop() {
		r.Start(rd)
		seg := pool.Segment()
		wr.Chunks = append(wr.Chunks[:0], seg.Chunk(0, SegmentSize))
		seg.Release()
		w.Start(wr)
		if rd.N != SegmentSize || wr.N != SegmentSize {
			b.Fatal(rd.N, rd.Err, wr.N, wr.Err)
		}
	}
}

// BenchmarkGather is the way of a short write that nobody waits for.
func BenchmarkGather(b *testing.B) {
	pool := &Pool{}
	p := New(Config{Pool: pool})
	open := &OpenOp{Read: true, Write: true, Done: func(*OpenOp) {}}
	if err := p.Open(open); err != nil {
		b.Fatal(err)
	}
	r, w := open.Reader, open.Writer
	rd := &ReadOp{Min: 1, Max: SegmentSize, Done: func(op *ReadOp) {
		for _, c := range op.Chunks {
			c.Release()
		}
	}}
	wr := &WriteOp{Done: func(*WriteOp) {}}
	b.ReportAllocs()
	for b.Loop() {
		for range 8 {
			seg := pool.Segment()
			wr.Chunks = append(wr.Chunks[:0], seg.Chunk(0, 512))
			seg.Release()
			w.Start(wr)
		}
		r.Start(rd)
		if rd.N != 8*512 {
			b.Fatal(rd.N, rd.Err)
		}
	}
}
