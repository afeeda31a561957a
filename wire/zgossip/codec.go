// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"encoding/binary"
	"strings"
)

const (
	signature  = 0xAAA0
	version    = 1
	headLen    = 4                   // signature, id and version
	publishLen = headLen + 1 + 4 + 4 // a Publish with an empty key and value
)

// The parts of a frame, as an error names them.
const (
	fieldSignature = "signature"
	fieldID        = "id"
	fieldVersion   = "version"
	fieldKey       = "key"
	fieldValue     = "value"
	fieldTTL       = "ttl"
	fieldEnd       = "end"
)

// EncodedLen returns the length of m's frame, in octets.
func EncodedLen(m Message) int {
	if m.ID != Publish {
		return headLen
	}
	return publishLen + len(m.Key) + len(m.Value)
}

// Append appends m's frame to dst and returns that. With an error, a
// *FieldError, it returns dst as it was:
//   - ErrID: m.ID names no message
//   - ErrKey, ErrValue: the field is too long
//   - ErrNUL: the field has a NUL, where a C program would end it
func (l Limits) Append(dst []byte, m Message) ([]byte, error) {
	if !m.ID.valid() {
		return dst, &FieldError{Field: fieldID, Err: ErrID, Got: int64(m.ID)}
	}
	if m.ID == Publish {
		if err := l.check(m); err != nil {
			return dst, err
		}
	}
	dst = append(dst, signature>>8, signature&0xFF, byte(m.ID), version)
	if m.ID != Publish {
		return dst, nil
	}
	dst = append(dst, byte(len(m.Key)))
	dst = append(dst, m.Key...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(m.Value)))
	dst = append(dst, m.Value...)
	return binary.BigEndian.AppendUint32(dst, m.TTL), nil
}

func (l Limits) check(m Message) error {
	if n := len(m.Key); n > MaxKey {
		return &FieldError{ID: m.ID, Field: fieldKey, Err: ErrKey, Got: int64(n), Want: MaxKey}
	}
	if err := l.checkValue(int64(len(m.Value))); err != nil {
		return err
	}
	if err := checkText(fieldKey, m.Key); err != nil {
		return err
	}
	return checkText(fieldValue, m.Value)
}

func (l Limits) checkValue(n int64) error {
	if limit := l.maxValue(); n > limit {
		return &FieldError{ID: Publish, Field: fieldValue, Err: ErrValue, Got: n, Want: limit}
	}
	return nil
}

func checkText(field, text string) error {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return &FieldError{ID: Publish, Field: field, Err: ErrNUL, Got: int64(i)}
	}
	return nil
}

// Decode returns the message that frame holds; nothing in it aliases frame.
//
// The error is a *FieldError, and the message is then zero:
//   - ErrTruncated: the frame ends inside the field, or its length overruns it
//   - ErrSignature, ErrID, ErrVersion: the frame is not a message of the protocol
//   - ErrValue: the value's length is beyond l.MaxValue
//   - ErrNUL: the field has a NUL, where a C program would end it
//   - ErrTrailing: octets follow the last field
func (l Limits) Decode(frame []byte) (Message, error) {
	c := cursor{rest: frame}
	m, err := c.message(l)
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// cursor walks a frame. It knows the message only to name it in an error.
type cursor struct {
	rest []byte
	id   ID
}

// take returns the next n octets.
func (c *cursor) take(field string, n int64) ([]byte, error) {
	if left := int64(len(c.rest)); left < n {
		return nil, &FieldError{ID: c.id, Field: field, Err: ErrTruncated, Got: left, Want: n}
	}
	taken := c.rest[:n]
	c.rest = c.rest[n:]
	return taken, nil
}

func (c *cursor) message(l Limits) (m Message, err error) {
	if m.ID, err = c.head(); err != nil {
		return m, err
	}
	if m.ID == Publish {
		if m.Key, err = c.key(); err != nil {
			return m, err
		}
		if m.Value, err = c.value(l); err != nil {
			return m, err
		}
		if m.TTL, err = c.number4(fieldTTL); err != nil {
			return m, err
		}
	}
	if n := len(c.rest); n > 0 {
		return m, &FieldError{ID: c.id, Field: fieldEnd, Err: ErrTrailing, Got: int64(n)}
	}
	return m, nil
}

func (c *cursor) head() (ID, error) {
	octets, err := c.take(fieldSignature, 2)
	if err != nil {
		return 0, err
	}
	if got := binary.BigEndian.Uint16(octets); got != signature {
		return 0, &FieldError{Field: fieldSignature, Err: ErrSignature, Got: int64(got)}
	}
	if octets, err = c.take(fieldID, 1); err != nil {
		return 0, err
	}
	id := ID(octets[0])
	if !id.valid() {
		return 0, &FieldError{Field: fieldID, Err: ErrID, Got: int64(id)}
	}
	c.id = id
	if octets, err = c.take(fieldVersion, 1); err != nil {
		return 0, err
	}
	if octets[0] != version {
		return 0, &FieldError{ID: id, Field: fieldVersion, Err: ErrVersion, Got: int64(octets[0])}
	}
	return id, nil
}

func (c *cursor) key() (string, error) {
	n, err := c.take(fieldKey, 1)
	if err != nil {
		return "", err
	}
	return c.text(fieldKey, int64(n[0]))
}

func (c *cursor) value(l Limits) (string, error) {
	n, err := c.number4(fieldValue)
	if err != nil {
		return "", err
	}
	if err := l.checkValue(int64(n)); err != nil {
		return "", err
	}
	return c.text(fieldValue, int64(n))
}

func (c *cursor) number4(field string) (uint32, error) {
	octets, err := c.take(field, 4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(octets), nil
}

func (c *cursor) text(field string, n int64) (string, error) {
	octets, err := c.take(field, n)
	if err != nil {
		return "", err
	}
	text := string(octets)
	return text, checkText(field, text)
}
