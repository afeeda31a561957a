// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

import (
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// EncodedLen returns how many octets Append adds for m, or 0 if m.ID names no
// message. It does not check the fields.
func EncodedLen(m Message) int {
	if !m.ID.valid() {
		return 0
	}
	n := headLen
	for _, f := range layouts[m.ID].fields {
		switch f {
		case fieldName:
			n += 1 + len(m.Name)
		case fieldReason:
			n += 1 + len(m.Reason)
		case fieldSize, fieldTimeout:
			n += 4
		case fieldChunk:
			n += 4 + len(m.Chunk)
		}
	}
	return n
}

// Append appends the frame of m to dst and returns the extended buffer, which
// is dst's own if its capacity suffices and otherwise a larger copy. The frame
// shares no memory with m.
//
// The error is a *FieldError that wraps ErrID, ErrName, ErrReason or ErrChunk,
// and dst is then returned as it was: nothing is ever cut to fit.
func (l Limits) Append(dst []byte, m Message) ([]byte, error) {
	if err := l.check(m); err != nil {
		return dst, err
	}
	dst = slices.Grow(dst, EncodedLen(m))
	dst = append(dst, signature0, signature1, byte(m.ID))
	for _, f := range layouts[m.ID].fields {
		switch f {
		case fieldName:
			dst = appendString(dst, m.Name)
		case fieldReason:
			dst = appendString(dst, m.Reason)
		case fieldSize:
			dst = binary.BigEndian.AppendUint32(dst, m.Size)
		case fieldTimeout:
			dst = binary.BigEndian.AppendUint32(dst, m.Timeout)
		case fieldChunk:
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(m.Chunk)))
			dst = append(dst, m.Chunk...)
		}
	}
	return dst, nil
}

// AppendHead appends to dst the ChunkHeadLen octets that come before the chunk
// in the frame of a ReadOK or a Write, so that a sender can gather the n octets
// of the chunk behind them without a copy. A Write goes on after its chunk: see
// AppendTimeout.
//
// The error is a *FieldError that wraps ErrID (the message has no chunk) or
// ErrChunk (n is negative or too large), and dst is then returned as it was.
func (l Limits) AppendHead(dst []byte, id ID, n int) ([]byte, error) {
	if id != ReadOK && id != Write {
		return dst, wrongID(id)
	}
	if err := l.checkChunk(id, int64(n)); err != nil {
		return dst, err
	}
	dst = append(dst, signature0, signature1, byte(id))
	return binary.BigEndian.AppendUint32(dst, uint32(n)), nil
}

// AppendTimeout appends to dst the TimeoutLen octets that come after the chunk
// in the frame of a Write: its timeout in milliseconds, where 0 is for ever.
func AppendTimeout(dst []byte, ms uint32) []byte {
	return binary.BigEndian.AppendUint32(dst, ms)
}

// CutReason returns s, or if that is longer than MaxReason octets, as much of
// it as fits and does not end inside a UTF-8 sequence.
func CutReason(s string) string {
	if len(s) <= MaxReason {
		return s
	}
	for cut := MaxReason; cut > MaxReason-utf8.UTFMax; cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut]
		}
	}
	return s[:MaxReason] // not UTF-8, so it has no boundary to respect
}

// check reports what of m cannot be encoded.
func (l Limits) check(m Message) error {
	if !m.ID.valid() {
		return wrongID(m.ID)
	}
	for _, f := range layouts[m.ID].fields {
		var err error
		switch f {
		case fieldName:
			err = checkName(m.ID, len(m.Name))
		case fieldReason:
			err = checkReason(m.ID, len(m.Reason))
		case fieldChunk:
			err = l.checkChunk(m.ID, int64(len(m.Chunk)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// appendString appends the grammar's string: one octet of length, and s.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, byte(len(s)))
	return append(dst, s...)
}
