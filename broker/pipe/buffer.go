// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"sync"
	"sync/atomic"
)

const (
	// SegmentSize is the size in bytes of a pooled Buffer. The mount reads a
	// WRITE request into as many segments as it fills, so a chunk holds at most
	// twice the memory of its bytes, until it has been read in part.
	SegmentSize = 64 << 10

	smallSize   = 4 << 10  // a pipe with a few bytes in it holds this much
	gatherBelow = 32 << 10 // shorter chunks are copied together: copying is cheaper than holding a segment
	idleLimit   = 256      // pooled buffers of each size kept for the next use; the rest go to the collector
)

// Buffer is memory that chunks share. It goes back to its pool, or to the
// collector, when the last reference is released.
type Buffer struct {
	bytes []byte
	refs  atomic.Int32
	home  *shelf // nil: not pooled
}

// Wrap makes a Buffer of bytes that the caller gives away: nobody may write to
// them afterwards. The caller holds the first reference.
func Wrap(b []byte) *Buffer {
	buf := &Buffer{bytes: b}
	buf.refs.Store(1)
	return buf
}

// Bytes returns the whole memory.
func (b *Buffer) Bytes() []byte { return b.bytes }

// Release drops one reference.
func (b *Buffer) Release() {
	if b.refs.Add(-1) == 0 && b.home != nil {
		b.home.put(b)
	}
}

// Chunk returns the bytes [from, to) as a chunk with a reference of its own.
func (b *Buffer) Chunk(from, to int) Chunk {
	b.refs.Add(1)
	return Chunk{buf: b, from: from, to: to}
}

// Chunk is a run of bytes moved as one. It holds one reference to its Buffer;
// whoever receives a chunk releases it. The zero Chunk is empty.
type Chunk struct {
	buf      *Buffer
	from, to int
}

// ChunkOf wraps bytes that the caller gives away.
func ChunkOf(b []byte) Chunk { return Chunk{buf: Wrap(b), to: len(b)} }

// Bytes returns the chunk's bytes, read-only and valid until Release.
func (c Chunk) Bytes() []byte {
	if c.buf == nil {
		return nil
	}
	return c.buf.bytes[c.from:c.to:c.to]
}

// Len returns the number of bytes.
func (c Chunk) Len() int { return c.to - c.from }

// Release gives the chunk's reference back; its bytes must not be used after.
func (c Chunk) Release() {
	if c.buf != nil {
		c.buf.Release()
	}
}

// Retain returns c with one more reference.
func (c Chunk) Retain() Chunk {
	c.buf.refs.Add(1)
	return c
}

// After returns c without its first n bytes; the reference goes with it.
func (c Chunk) After(n int) Chunk { return Chunk{c.buf, c.from + n, c.to} }

// split cuts c after n bytes; both halves hold a reference.
func (c Chunk) split(n int) (head, tail Chunk) {
	c.buf.refs.Add(1)
	return Chunk{c.buf, c.from, c.from + n}, Chunk{c.buf, c.from + n, c.to}
}

// Pool hands out buffers for all pipes of a broker. The zero value is ready.
type Pool struct {
	segments shelf
	smalls   shelf
}

// Segment returns a Buffer of SegmentSize bytes, with one reference, which the
// caller owns. Its contents are arbitrary.
func (p *Pool) Segment() *Buffer { return p.segments.get(SegmentSize) }

func (p *Pool) small() *Buffer { return p.smalls.get(smallSize) }

// shelf keeps idle buffers of one size, the warmest on top. sync.Pool would
// strand them on the processor that released them: the device loop takes
// buffers on one thread and readers give them back on another.
type shelf struct {
	mu   sync.Mutex // guards idle
	idle []*Buffer
}

func (s *shelf) get(size int) *Buffer {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		b := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		b.refs.Store(1)
		return b
	}
	s.mu.Unlock()
	b := Wrap(make([]byte, size))
	b.home = s
	return b
}

func (s *shelf) put(b *Buffer) {
	s.mu.Lock()
	if len(s.idle) < idleLimit {
		s.idle = append(s.idle, b)
	}
	s.mu.Unlock()
}
