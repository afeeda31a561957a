// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"strconv"
	"testing"
)

// bench is a pipe with reusable operations on both ends.
type bench struct {
	b    *testing.B
	pool *Pool
	from []*Reader
	to   *Writer
	rop  ReadOp
	wop  WriteOp
}

func newBench(b *testing.B, m Mode, readers int) *bench {
	x := &bench{b: b, pool: &Pool{}}
	p := New(Config{Mode: m, Pool: x.pool})
	for i := range readers {
		op := &OpenOp{Read: true, Write: i == 0, Done: func(*OpenOp) {}}
		if err := p.Open(op); err != nil || op.Err != nil {
			b.Fatal(err, op.Err)
		}
		x.from = append(x.from, op.Reader)
		if i == 0 {
			x.to = op.Writer
		}
	}
	x.rop.Done, x.wop.Done = release, func(*WriteOp) {}
	x.rop.Min = 1
	b.ReportAllocs()
	return x
}

// write writes n bytes in segments.
func (x *bench) write(n int) {
	x.wop.Chunks = x.wop.Chunks[:0]
	for left := n; left > 0; left -= SegmentSize {
		seg := x.pool.Segment()
		x.wop.Chunks = append(x.wop.Chunks, seg.Chunk(0, min(left, SegmentSize)))
		seg.Release()
	}
	x.to.Start(&x.wop)
	if x.wop.N != n {
		x.b.Fatal(x.wop.N, x.wop.Err)
	}
}

func (x *bench) read(from *Reader, n int) {
	x.rop.Max = n
	from.Start(&x.rop)
}

func (x *bench) took(n int) {
	if x.rop.N != n {
		x.b.Fatal(x.rop.N, x.rop.Err)
	}
}

// BenchmarkPingPong is a byte there and a byte back between ends that wait.
func BenchmarkPingPong(b *testing.B) {
	there, back := newBench(b, Fifo, 1), newBench(b, Fifo, 1)
	for b.Loop() {
		there.read(there.from[0], 1)
		there.write(1)
		back.read(back.from[0], 1)
		back.write(1)
	}
	there.took(1)
	back.took(1)
}

// BenchmarkPingPongGoroutines is the same with two goroutines that sleep.
func BenchmarkPingPongGoroutines(b *testing.B) {
	there, back := newBench(b, Fifo, 1), newBench(b, Fifo, 1)
	ctx := b.Context()
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		for {
			cs, err := there.from[0].Read(ctx, 1, 1)
			if err != nil {
				return
			}
			cs[0].Release()
			back.write(1)
		}
	}()
	for b.Loop() {
		there.write(1)
		cs, err := back.from[0].Read(ctx, 1, 1)
		if err != nil {
			b.Fatal(err)
		}
		cs[0].Release()
	}
	there.to.Pipe().Shutdown()
	<-echoed
}

// BenchmarkHandOver is the way of a large chunk: a waiting read gets the write's
// own buffer.
func BenchmarkHandOver(b *testing.B) {
	x := newBench(b, Fifo, 1)
	b.SetBytes(SegmentSize)
	for b.Loop() {
		x.read(x.from[0], SegmentSize)
		x.write(SegmentSize)
		x.took(SegmentSize)
	}
}

// BenchmarkMebibyte is a write and a read of 16 chunks.
func BenchmarkMebibyte(b *testing.B) {
	x := newBench(b, Fifo, 1)
	b.SetBytes(1 << 20)
	for b.Loop() {
		x.write(1 << 20)
		x.read(x.from[0], 1<<20)
		x.took(1 << 20)
	}
}

// BenchmarkGather is the way of short writes that nobody waits for: eight, and
// one read.
func BenchmarkGather(b *testing.B) {
	for _, n := range []int{512, 4096} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			x := newBench(b, Fifo, 1)
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				for range 8 {
					x.write(n)
				}
				for left := 8 * n; left > 0; left -= x.rop.N {
					x.read(x.from[0], left)
				}
			}
		})
	}
}

// BenchmarkFanout is one write and four readers that each take it.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{4096, SegmentSize} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			x := newBench(b, Fanout, 4)
			b.SetBytes(int64(n))
			for b.Loop() {
				x.write(n)
				for _, from := range x.from {
					x.read(from, n)
					x.took(n)
				}
			}
		})
	}
}

// BenchmarkManyWaitingReaders is a hand-over with a hundred readers in line.
func BenchmarkManyWaitingReaders(b *testing.B) {
	x := newBench(b, Fifo, 100)
	for _, from := range x.from[1:] {
		from.Start(&ReadOp{Min: 1, Max: 1, Done: func(op *ReadOp) { release(op); from.Start(op) }})
	}
	for b.Loop() {
		x.write(1)
	}
}
