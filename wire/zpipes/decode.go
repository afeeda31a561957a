// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

import "encoding/binary"

// Decode returns the message that frame holds. Its Chunk aliases frame: there
// is no copy, and the message is good for as long as the caller leaves frame
// alone. (An append to the Chunk reallocates; it does not write into frame.)
// Nothing is allocated but the octets of a Name or Reason that are there.
//
// The error is a *FieldError, and the message is then zero:
//   - ErrTruncated: the frame ends inside the field, or its length overruns it
//   - ErrSignature, ErrID: the frame is not a message of the protocol
//   - ErrName: the pipe name is empty
//   - ErrChunk: the chunk's length is beyond l.MaxChunk
//   - ErrTrailing: octets follow the last field
func (l Limits) Decode(frame []byte) (Message, error) {
	c := cursor{rest: frame}
	if err := c.head(); err != nil {
		return Message{}, err
	}
	m := Message{ID: c.id}
	for _, c.field = range layouts[c.id].fields {
		var err error
		switch c.field {
		case fieldName:
			m.Name, err = c.name()
		case fieldReason:
			m.Reason, err = c.text()
		case fieldSize:
			m.Size, err = c.number4()
		case fieldTimeout:
			m.Timeout, err = c.number4()
		case fieldChunk:
			m.Chunk, err = c.chunk(l)
		}
		if err != nil {
			return Message{}, err
		}
	}
	if err := c.end(); err != nil {
		return Message{}, err
	}
	return m, nil
}

// cursor walks a frame. It knows where it is only to say so in an error.
type cursor struct {
	rest  []byte
	id    ID
	field string
}

// take returns the next n octets.
func (c *cursor) take(n int64) ([]byte, error) {
	if left := int64(len(c.rest)); left < n {
		return nil, c.wrong(ErrTruncated, left, n)
	}
	taken := c.rest[:n:n]
	c.rest = c.rest[n:]
	return taken, nil
}

func (c *cursor) head() error {
	c.field = fieldSignature
	octets, err := c.take(2)
	if err != nil {
		return err
	}
	if got := binary.BigEndian.Uint16(octets); got != signature {
		return c.wrong(ErrSignature, int64(got), 0)
	}
	c.field = fieldID
	if octets, err = c.take(1); err != nil {
		return err
	}
	id := ID(octets[0])
	if !id.valid() {
		return wrongID(id)
	}
	c.id = id
	return nil
}

func (c *cursor) number4() (uint32, error) {
	octets, err := c.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(octets), nil
}

// text is the grammar's string: one octet of length, and that many.
func (c *cursor) text() (string, error) {
	length, err := c.take(1)
	if err != nil {
		return "", err
	}
	octets, err := c.take(int64(length[0]))
	return string(octets), err
}

func (c *cursor) name() (string, error) {
	name, err := c.text()
	if err != nil {
		return "", err
	}
	return name, checkName(c.id, len(name))
}

func (c *cursor) chunk(l Limits) ([]byte, error) {
	length, err := c.number4()
	if err != nil {
		return nil, err
	}
	if err := l.checkChunk(c.id, int64(length)); err != nil {
		return nil, err
	}
	return c.take(int64(length))
}

func (c *cursor) end() error {
	c.field = fieldEnd
	if left := len(c.rest); left > 0 {
		return c.wrong(ErrTrailing, int64(left), 0)
	}
	return nil
}

func (c *cursor) wrong(err error, got, want int64) error {
	return &FieldError{ID: c.id, Field: c.field, Err: err, Got: got, Want: want}
}
