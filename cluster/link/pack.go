// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// segmentFrom is from which length a body goes into pooled segments. A shorter one
// has memory of just its length, or a few octets would hold a whole segment.
const segmentFrom = pipe.SegmentSize / 2

// packedLen is how many octets pack writes.
func packedLen(messages []*Message) int {
	n := peer.FrameLen + len(messages)*peer.ShapeLen
	for _, m := range messages {
		n += m.Len()
	}
	return n
}

// pack writes a frame with its messages to dst, which has room for packedLen.
func pack(dst []byte, f *peer.Frame, messages []*Message) {
	dst = f.Append(dst[:0])
	for _, m := range messages {
		dst = peer.Shape{Head: uint32(len(m.Head)), Body: uint32(m.Len() - len(m.Head))}.Append(dst)
	}
	for _, m := range messages {
		dst = append(dst, m.Head...)
	}
	for _, m := range messages {
		for _, c := range m.Body {
			dst = append(dst, c.Bytes()...)
		}
	}
}

// unpacker reads the messages of frames.
type unpacker struct {
	pool   *pipe.Pool
	limit  int          // of one message, in octets
	shapes []peer.Shape // its memory is used again
}

// unpack returns the messages of a frame, of which b is what follows the Frame.
// They are copies.
func (u *unpacker) unpack(f *peer.Frame, b []byte) ([]Message, error) {
	shapes, heads, bodies, err := f.ParseShapes(u.shapes[:0], b)
	if err != nil {
		return nil, err
	}
	u.shapes = shapes
	for _, s := range shapes {
		if n := int(s.Head) + int(s.Body); n > u.limit {
			return nil, fmt.Errorf("%w: %d bytes; the limit is %d", ErrTooLong, n, u.limit)
		}
	}
	if len(shapes) == 0 {
		return nil, nil
	}
	heads = append([]byte(nil), heads...)
	messages := make([]Message, len(shapes))
	for i, s := range shapes {
		messages[i] = Message{Head: heads[:s.Head:s.Head], Body: u.body(bodies[:s.Body])}
		heads, bodies = heads[s.Head:], bodies[s.Body:]
	}
	return messages, nil
}

func (u *unpacker) body(b []byte) []pipe.Chunk {
	if len(b) == 0 {
		return nil
	}
	body := make([]pipe.Chunk, 0, 1+len(b)/pipe.SegmentSize)
	for len(b) >= segmentFrom {
		segment := u.pool.Segment()
		n := copy(segment.Bytes(), b)
		body = append(body, segment.Chunk(0, n))
		segment.Release()
		b = b[n:]
	}
	if len(b) > 0 {
		body = append(body, pipe.ChunkOf(append([]byte(nil), b...)))
	}
	return body
}
