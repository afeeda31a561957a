// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"runtime"
	"testing"
)

// transfers are the ways of bytes that must not allocate.
var transfers = []struct {
	name  string
	mode  Mode
	size  int // bytes a write
	each  int // writes before a read
	ready bool
}{
	{"hand-over to a waiting read", Fifo, SegmentSize, 1, true},
	{"a short write to a waiting read", Exclusive, 512, 1, true},
	{"gather", Fifo, 512, 8, false},
	{"large chunks that wait", Fifo, SegmentSize, 4, false},
	{"fanout", Fanout, 4096, 4, true},
}

func TestTransferAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates; the rules are checked all the same")
	}
	for _, c := range transfers {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.mode, 0)
			from, to := r.pair()
			x := &ReadOp{Min: 1, Max: c.size * c.each, Done: release}
			w := &WriteOp{Done: func(*WriteOp) {}}
			var told flag
			up := told.up
			step := func() {
				from.Ready(up)
				to.Ready(up)
				if c.ready {
					from.Start(x)
				}
				for range c.each {
					seg := r.pool.Segment()
					w.Chunks = append(w.Chunks[:0], seg.Chunk(0, c.size))
					seg.Release()
					to.Start(w)
				}
				if !c.ready {
					from.Start(x)
				}
				for s := from.Ready(nil); s&Readable != 0; s = from.Ready(nil) {
					from.Start(x)
				}
			}
			step()
			if n := testing.AllocsPerRun(200, step); n != 0 && !raceEnabled {
				t.Errorf("%v allocations a transfer", n)
			}
			if s := r.Stat(); s.Written != s.Read || s.Written == 0 {
				t.Errorf("%d bytes written, %d read", s.Written, s.Read)
			}
		})
	}
}

func release(op *ReadOp) {
	for _, c := range op.Chunks {
		c.Release()
	}
}

// heap is the live heap after collection.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemory holds 10,000 pipes in three states.
func TestMemory(t *testing.T) {
	const pipes = 10_000
	pool := &Pool{}
	all := make([]*OpenOp, pipes)
	done := func(*OpenOp) {}
	nothing := func(*WriteOp) {}
	seg := pool.Segment()
	tests := []struct {
		name  string
		step  func(*OpenOp)
		bound uint64 // bytes a pipe
	}{
		{"idle", func(*OpenOp) {}, 2 << 10},
		{"with a byte", func(op *OpenOp) {
			op.Writer.Start(&WriteOp{Chunks: []Chunk{seg.Chunk(0, 1)}, Done: nothing})
		}, 8 << 10},
		{"with what two bytes' waiting reader left", func(op *OpenOp) {
			x := &ReadOp{Min: 1, Max: 1, Done: release}
			op.Reader.Start(x)
			op.Reader.Start(x)
			op.Writer.Start(&WriteOp{Chunks: []Chunk{seg.Chunk(0, 2)}, Done: nothing})
		}, 8 << 10},
		{"drained", func(op *OpenOp) {
			op.Reader.Start(&ReadOp{Min: 1, Max: 10, Done: release})
		}, 2 << 10},
	}
	before := heap()
	for i := range all {
		all[i] = &OpenOp{Read: true, Write: true, Done: done}
		if err := New(Config{Pool: pool}).Open(all[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range tests {
		for _, op := range all {
			c.step(op)
		}
		idle := uint64(len(pool.smalls.idle)*smallSize + len(pool.segments.idle)*SegmentSize)
		per := (heap() - before - min(idle, heap()-before)) / pipes
		t.Logf("%s: %d bytes a pipe", c.name, per)
		if per > c.bound {
			t.Errorf("%s: %d bytes a pipe, more than %d", c.name, per, c.bound)
		}
	}
	if n := seg.refs.Load(); n != 1 {
		t.Errorf("short writes hold %d references to their request's segment", n-1)
	}
	runtime.KeepAlive(all)
}

// TestPoolIsBounded: a burst's buffers go to the collector.
func TestPoolIsBounded(t *testing.T) {
	pool := &Pool{}
	var all []*Buffer
	for range 2 * idleLimit {
		all = append(all, pool.Segment())
	}
	for _, b := range all {
		b.Release()
	}
	if n := len(pool.segments.idle); n != idleLimit {
		t.Errorf("%d idle segments", n)
	}
}

func TestBufferReferences(t *testing.T) {
	pool := stockedPool()
	b := pool.Segment()
	c := b.Chunk(10, 20)
	head, tail := c.split(4)
	if head.Len() != 4 || tail.Len() != 6 || &tail.Bytes()[0] != &b.Bytes()[14] {
		t.Error(head, tail)
	}
	if cap(head.Bytes()) != 4 {
		t.Error("a chunk's bytes can be appended to what follows")
	}
	b.Release()
	head.Release()
	tail.Release()
	checkStock(t, pool)
	var zero Chunk
	zero.Release()
	if zero.Len() != 0 || zero.Bytes() != nil {
		t.Error("the zero chunk is not empty")
	}
	if c := ChunkOf([]byte("abc")); string(c.Bytes()) != "abc" {
		t.Error(c)
	} else {
		c.Release()
	}
}

// TestQueueKeepsLittle: a queue that once was long does not stay so.
func TestQueueKeepsLittle(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	b := Wrap(make([]byte, DefaultCapacity))
	op := &WriteOp{Done: func(*WriteOp) {}}
	for i := range 32 {
		c := b.Chunk(i*gatherBelow, (i+1)*gatherBelow)
		op.Chunks = append(op.Chunks, c)
	}
	to.Start(op)
	r.read(from, 1, 1<<20).is(t, make([]byte, 1<<20), nil)
	if n := cap(r.shared.items); n > keepItems {
		t.Errorf("an empty queue keeps %d items", n)
	}
	var q queue
	for range 1000 {
		q.push(ChunkOf([]byte("x")), false)
	}
	for range 900 {
		cs, n := q.take(nil, 1, 0)
		if n != 1 || len(cs) != 1 {
			t.Fatal(n)
		}
	}
	if len(q.items)-q.head != 100 || len(q.items) > 300 || q.bytes != 100 {
		t.Errorf("%d items kept for 100, %d bytes", len(q.items), q.bytes)
	}
}
