// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// FrameVersion is the version of frames that this package speaks. It changes
// when a broker that knows only the former could misunderstand.
const FrameVersion = 1

// Errors of ParseFrame and ParseShapes. ErrVersion is told apart since its cure
// is another than that of damage.
var (
	ErrFrame   = errors.New("malformed frame")
	ErrVersion = errors.New("frame of another protocol version")
)

// FrameKind says what a frame is for.
type FrameKind uint8

// The kinds of frames.
const (
	FrameHello FrameKind = iota + 1 // offers a session to a peer whose epoch is not known
	FrameData                       // has messages
	FramePulse                      // acknowledges and shows life
	FrameReset                      // the session is lost
)

// Frame is what a frame says of its session, apart from the messages in it.
type Frame struct {
	Kind  FrameKind
	To    uint64 // the boot of the broker it is meant for
	Mine  uint64 // the sender's epoch of the session, never 0
	Yours uint64 // the receiver's; 0 in a Hello, and there only
	Round uint32 // how often the sender went back to send again
	Lost  uint32 // the last of the receiver's rounds in which the sender missed messages; 0: none
	Seq   uint64 // the number of the first message in it, or of the one that comes next; from 1
	Ack   uint64 // the number of the last message that came in order
	Count uint16 // messages in it

	// Clock is the sender's clock in nanoseconds; Echo is the receiver's as it was
	// in its last frame, plus how long that has been here. 0: none.
	Clock, Echo int64
}

// FrameLen is the length of an encoded Frame in octets.
const FrameLen = 4 + 3*8 + 2*4 + 2*8 + 2 + 2*8

const frameMagic = 0x7A70 // "zp"

// Append appends the encoded frame to dst: FrameLen octets, all big-endian,
// beginning with "zp", the version and the kind; the rest in the order of the
// fields.
func (f *Frame) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, frameMagic)
	dst = append(dst, FrameVersion, byte(f.Kind))
	dst = binary.BigEndian.AppendUint64(dst, f.To)
	dst = binary.BigEndian.AppendUint64(dst, f.Mine)
	dst = binary.BigEndian.AppendUint64(dst, f.Yours)
	dst = binary.BigEndian.AppendUint32(dst, f.Round)
	dst = binary.BigEndian.AppendUint32(dst, f.Lost)
	dst = binary.BigEndian.AppendUint64(dst, f.Seq)
	dst = binary.BigEndian.AppendUint64(dst, f.Ack)
	dst = binary.BigEndian.AppendUint16(dst, f.Count)
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.Clock))
	return binary.BigEndian.AppendUint64(dst, uint64(f.Echo))
}

// ParseFrame reads a frame from the front of b and returns what follows it.
// Errors wrap ErrFrame or ErrVersion.
func ParseFrame(b []byte) (Frame, []byte, error) {
	if len(b) < 4 || binary.BigEndian.Uint16(b) != frameMagic {
		return Frame{}, nil, fmt.Errorf("%w: it does not begin as one", ErrFrame)
	}
	if v := b[2]; v != FrameVersion {
		return Frame{}, nil, fmt.Errorf("%w: %d, not %d", ErrVersion, v, FrameVersion)
	}
	if len(b) < FrameLen {
		return Frame{}, nil, fmt.Errorf("%w: it has %d octets, not %d", ErrFrame, len(b), FrameLen)
	}
	f := Frame{
		Kind:  FrameKind(b[3]),
		To:    binary.BigEndian.Uint64(b[4:]),
		Mine:  binary.BigEndian.Uint64(b[12:]),
		Yours: binary.BigEndian.Uint64(b[20:]),
		Round: binary.BigEndian.Uint32(b[28:]),
		Lost:  binary.BigEndian.Uint32(b[32:]),
		Seq:   binary.BigEndian.Uint64(b[36:]),
		Ack:   binary.BigEndian.Uint64(b[44:]),
		Count: binary.BigEndian.Uint16(b[52:]),
		Clock: int64(binary.BigEndian.Uint64(b[54:])),
		Echo:  int64(binary.BigEndian.Uint64(b[62:])),
	}
	if f.Kind < FrameHello || f.Kind > FrameReset {
		return Frame{}, nil, fmt.Errorf("%w: it is of kind %d", ErrFrame, f.Kind)
	}
	if f.Mine == 0 || (f.Kind == FrameHello) != (f.Yours == 0) {
		return Frame{}, nil, fmt.Errorf("%w: one of kind %d has the epochs %d and %d", ErrFrame, f.Kind, f.Mine, f.Yours)
	}
	if (f.Kind == FrameData) != (f.Count > 0) {
		return Frame{}, nil, fmt.Errorf("%w: one of kind %d has %d messages", ErrFrame, f.Kind, f.Count)
	}
	if f.Seq == 0 {
		return Frame{}, nil, fmt.Errorf("%w: messages are numbered from 1", ErrFrame)
	}
	return f, b[FrameLen:], nil
}

// Shape is the length of one message in octets. The shapes of a frame's messages
// follow the Frame, then come all heads, then all bodies, and that is the end.
type Shape struct{ Head, Body uint32 }

// ShapeLen is the length of an encoded Shape in octets.
const ShapeLen = 4 + 4

// Append appends the encoded shape to dst.
func (s Shape) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, s.Head)
	return binary.BigEndian.AppendUint32(dst, s.Body)
}

// ParseShapes reads the shapes of f's messages from b, which is what follows the
// Frame, and returns the heads and the bodies: their lengths are what the shapes
// say. The shapes are appended to list. Errors wrap ErrFrame.
func (f *Frame) ParseShapes(list []Shape, b []byte) (shapes []Shape, heads, bodies []byte, err error) {
	n := int(f.Count) * ShapeLen
	if len(b) < n {
		return nil, nil, nil, fmt.Errorf("%w: %d octets are too few for %d messages", ErrFrame, len(b), f.Count)
	}
	var head, body uint64
	for at := 0; at < n; at += ShapeLen {
		s := Shape{Head: binary.BigEndian.Uint32(b[at:]), Body: binary.BigEndian.Uint32(b[at+4:])}
		head += uint64(s.Head)
		body += uint64(s.Body)
		list = append(list, s)
	}
	b = b[n:]
	if head+body != uint64(len(b)) {
		return nil, nil, nil, fmt.Errorf("%w: messages of %d octets have %d", ErrFrame, head+body, len(b))
	}
	return list, b[:head], b[head:], nil
}
