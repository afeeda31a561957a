// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"encoding/binary"
	"fmt"
)

// The bits of an entry, and of a message.
const (
	bitDir       = 1
	bitTransient = 2
	bitDead      = 4

	bitForce = 1
	bitKeep  = 2
	bitMore  = 4
)

// maxText bounds names of paths and nodes, in octets.
const maxText = 255

type namesField uint8

const (
	nEnd namesField = iota
	nID
	nOp
	nCode
	nFlags
	nMask
	nToken
	nEntry
	nTo
	nPath
	nCursor
	nDigests
	nPaths
	nEntries
)

// namesLayouts says what a message consists of, in order.
var namesLayouts = [...][10]namesField{
	NamesAsk:     {nID, nOp, nFlags, nMask, nToken, nEntry, nTo, nPaths, nEntries},
	NamesAnswer:  {nID, nCode, nFlags, nCursor, nDigests, nPaths, nEntries},
	NamesTell:    {nID, nPath, nTo, nEntries},
	NamesAck:     {nID},
	NamesSince:   {nID, nCursor},
	NamesCompare: {nID, nFlags, nDigests},
	NamesPropose: {nEntries},
	NamesDrop:    {nPath},
}

func (e *Entry) flags() uint8 {
	return bits(e.Dir, bitDir) | bits(e.Transient, bitTransient) | bits(e.Dead, bitDead)
}

func (m *NamesMessage) flags() uint8 {
	return bits(m.Force, bitForce) | bits(m.Keep, bitKeep) | bits(m.More, bitMore)
}

func bits(set bool, b uint8) uint8 {
	if set {
		return b
	}
	return 0
}

// Append appends e's bytes to b: what is a number as varint, the token in eight
// octets, texts with a length.
func (e *Entry) Append(b []byte) []byte {
	b = append(b, e.flags(), e.Mode)
	for _, n := range [...]uint64{uint64(e.Perm), uint64(e.UID), uint64(e.GID), uint64(e.Stamp.Time)} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.BigEndian.AppendUint64(b, e.Token)
	b = appendText(b, e.Stamp.Node)
	return appendText(b, e.Path)
}

// DecodeEntry reads what Append has written, and nothing else.
//
// Errors: ErrMessage.
func DecodeEntry(b []byte) (Entry, error) {
	d := decoder{rest: b, kind: Names}
	e := d.entry()
	if len(d.rest) > 0 {
		d.fail("end")
	}
	return e, d.err
}

// Append appends m's bytes to b: the kind, then its fields in the order of the
// kind's layout.
func (m *NamesMessage) Append(b []byte) []byte {
	b = append(b, byte(m.Kind))
	for _, f := range namesLayouts[m.Kind] {
		switch f {
		case nID:
			b = binary.AppendUvarint(b, m.ID)
		case nOp:
			b = append(b, byte(m.Op))
		case nCode:
			b = append(b, byte(m.Code))
		case nFlags:
			b = append(b, m.flags())
		case nMask:
			b = append(b, m.Mask)
		case nToken:
			b = binary.BigEndian.AppendUint64(b, m.Token)
		case nEntry:
			b = m.Entry.Append(b)
		case nTo:
			b = appendText(b, m.To)
		case nPath:
			b = appendText(b, m.Entry.Path)
		case nCursor:
			b = binary.AppendUvarint(binary.BigEndian.AppendUint64(b, m.Cursor.Boot), m.Cursor.Seq)
		default:
			b = m.appendList(b, f)
		}
	}
	return b
}

func (m *NamesMessage) appendList(b []byte, f namesField) []byte {
	switch f {
	case nDigests:
		b = binary.AppendUvarint(b, uint64(len(m.Digests)))
		for _, d := range m.Digests {
			b = binary.BigEndian.AppendUint16(b, d.Part)
			b = binary.BigEndian.AppendUint64(b, d.Sum)
		}
	case nPaths:
		b = binary.AppendUvarint(b, uint64(len(m.Paths)))
		for _, p := range m.Paths {
			b = appendText(b, p)
		}
	case nEntries:
		b = binary.AppendUvarint(b, uint64(len(m.Entries)))
		for i := range m.Entries {
			b = m.Entries[i].Append(b)
		}
	}
	return b
}

// DecodeNames reads a message; it shares no memory with b.
//
// Errors: ErrMessage.
func DecodeNames(b []byte) (NamesMessage, error) {
	var m NamesMessage
	if len(b) == 0 {
		return m, fmt.Errorf("%w: empty", ErrMessage)
	}
	m.Kind = NamesKind(b[0])
	if int(m.Kind) >= len(namesLayouts) || namesLayouts[m.Kind][0] == nEnd {
		return m, fmt.Errorf("%w: unknown kind %d of names", ErrMessage, b[0])
	}
	d := decoder{rest: b[1:], kind: Names}
	for _, f := range namesLayouts[m.Kind] {
		m.decode(&d, f)
	}
	if len(d.rest) > 0 {
		d.fail("end")
	}
	if d.err != nil {
		return NamesMessage{}, d.err
	}
	return m, nil
}

func (m *NamesMessage) decode(d *decoder, f namesField) {
	switch f {
	case nID:
		m.ID = d.uvarint("request")
	case nOp:
		m.Op = NamesOp(d.octet("operation"))
	case nCode:
		m.Code = NamesCode(d.octet("code"))
	case nFlags:
		b := d.octet("flags")
		m.Force, m.Keep, m.More = b&bitForce != 0, b&bitKeep != 0, b&bitMore != 0
		if b != m.flags() {
			d.fail("flags")
		}
	case nMask:
		m.Mask = d.octet("mask")
	case nToken:
		m.Token = d.wide("token")
	case nEntry:
		m.Entry = d.entry()
	case nTo:
		m.To = d.short("target")
	case nPath:
		m.Entry.Path = d.short("path")
	case nCursor:
		m.Cursor.Boot, m.Cursor.Seq = d.wide("cursor"), d.uvarint("cursor")
	case nDigests:
		m.Digests = list(d, "digests", func() Digest {
			return Digest{Part: uint16(d.octet("digest"))<<8 | uint16(d.octet("digest")), Sum: d.wide("digest")}
		})
	case nPaths:
		m.Paths = list(d, "paths", func() string { return d.short("path") })
	case nEntries:
		m.Entries = list(d, "entries", d.entry)
	}
}

// list bounds what it makes by the octets that are there: each item has some.
func list[T any](d *decoder, field string, item func() T) (all []T) {
	for n := d.uvarint(field); n > 0 && d.err == nil; n-- {
		all = append(all, item())
	}
	return all
}

func (d *decoder) entry() (e Entry) {
	b := d.octet("entry")
	e.Dir, e.Transient, e.Dead = b&bitDir != 0, b&bitTransient != 0, b&bitDead != 0
	if b != e.flags() {
		d.fail("entry")
	}
	e.Mode = d.octet("mode")
	e.Perm, e.UID, e.GID = d.number4("permissions"), d.number4("owner"), d.number4("group")
	t := d.uvarint("stamp")
	if t > uint64(MaxTime) {
		d.fail("stamp")
	}
	e.Stamp.Time = int64(t)
	e.Token = d.wide("token")
	e.Stamp.Node = d.short("node")
	e.Path = d.short("path")
	return e
}

func (d *decoder) octet(field string) byte {
	if b := d.take(1, field); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) number4(field string) uint32 {
	x := d.uvarint(field)
	if x != uint64(uint32(x)) {
		d.fail(field)
	}
	return uint32(x)
}

func (d *decoder) wide(field string) uint64 {
	if b := d.take(8, field); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) short(field string) string {
	s := d.text(field)
	if len(s) > maxText {
		d.fail(field)
	}
	return s
}
