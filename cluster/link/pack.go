// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// packer makes the parts of frames. Its memory is used again.
type packer struct {
	first []byte
	parts [][]byte
}

// pack returns the parts of a frame: the first has what the frame says, and of
// each message its shape, its head and a short body; the others are chunks of
// longer bodies, not copied. They are good until the next call, and as long as
// the messages are.
func (p *packer) pack(f *peer.Frame, messages []*Message) [][]byte {
	clear(p.parts)
	p.parts = append(p.parts[:0], nil)
	p.first = f.Append(p.first[:0])
	for _, m := range messages {
		p.message(m)
	}
	p.parts[0] = p.first
	if cap(p.first) > 2*frameSize {
		p.first = nil
	}
	return p.parts
}

func (p *packer) message(m *Message) {
	shape := peer.Shape{Head: uint32(len(m.Head))}
	body := m.Len() - len(m.Head)
	if body <= inlineBelow {
		shape.Inline = uint32(body)
	} else {
		for _, c := range m.Body {
			if c.Len() > 0 {
				shape.Parts++
			}
		}
	}
	p.first = append(shape.Append(p.first), m.Head...)
	for _, c := range m.Body {
		switch {
		case shape.Inline > 0:
			p.first = append(p.first, c.Bytes()...)
		case c.Len() > 0:
			p.parts = append(p.parts, c.Bytes())
		}
	}
}

// unpack reads the messages of a frame: rest is what follows the frame in the
// buffer of its first part, parts are the others. It takes over both: the
// messages hold references to them, or if it fails, nobody.
func unpack(f *peer.Frame, first *pipe.Buffer, rest []byte, parts []pipe.Chunk, limit int) ([]Message, error) {
	defer first.Release()
	messages := make([]Message, 0, min(int(f.Count), 1+len(rest)/peer.ShapeLen))
	fail := func(err error) ([]Message, error) {
		releaseAll(messages)
		releaseAll([]Message{{Body: parts}})
		return nil, err
	}
	for range f.Count {
		shape, b, err := peer.ParseShape(rest)
		if err != nil {
			return fail(err)
		}
		if int(shape.Parts) > len(parts) {
			return fail(fmt.Errorf("%w: %d parts are missing", peer.ErrFrame, int(shape.Parts)-len(parts)))
		}
		m := Message{Head: b[:shape.Head:shape.Head]}
		rest = b[shape.Head+shape.Inline:]
		if shape.Inline > 0 {
			from := len(first.Bytes()) - len(b) + int(shape.Head)
			m.Body = append(m.Body, first.Chunk(from, from+int(shape.Inline)))
		}
		m.Body = append(m.Body, parts[:shape.Parts]...)
		parts = parts[shape.Parts:]
		messages = append(messages, m)
		if n := m.Len(); n > limit {
			return fail(fmt.Errorf("%w: %d bytes; the limit is %d", ErrTooLong, n, limit))
		}
	}
	if len(rest) > 0 || len(parts) > 0 {
		return fail(fmt.Errorf("%w: %d octets and %d parts follow its messages", peer.ErrFrame, len(rest), len(parts)))
	}
	return messages, nil
}
