// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"encoding/binary"
	"fmt"
)

// Entry is a name as brokers tell each other of it.
type Entry struct {
	Path      string // from the root; "" is the root itself
	Pipe      bool   // else a directory
	Mode      uint8  // as pipe.Mode
	Perm      uint32
	UID, GID  uint32
	Transient bool   // goes with its last end; only its home knows of it
	Dead      bool   // the name was removed
	Time      int64  // when it was decided, on the hybrid clock, in nanoseconds
	Node      string // who decided
}

// Later reports whether e was decided after f: the later wins.
func (e *Entry) Later(f *Entry) bool {
	return e.Time > f.Time || e.Time == f.Time && e.Node > f.Node
}

const (
	entryPipe = 1 << iota
	entryTransient
	entryDead
)

// AppendEntry appends an entry's bytes.
func AppendEntry(b []byte, e *Entry) []byte {
	b = append(b, flags(e.Pipe, e.Transient, e.Dead), e.Mode)
	b = appendText(b, e.Path)
	for _, n := range []uint32{e.Perm, e.UID, e.GID} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time))
	return appendText(b, e.Node)
}

// flags are bits, the first the lowest.
func flags(bits ...bool) (b byte) {
	for i, on := range bits {
		if on {
			b |= 1 << i
		}
	}
	return b
}

// DecodeEntry reads an entry that nothing follows. Error: ErrMessage.
func DecodeEntry(b []byte) (Entry, error) {
	d := decoder{rest: b, kind: Names}
	e := d.entry()
	if len(d.rest) > 0 {
		d.fail("end of the entry")
	}
	return e, d.err
}

func (d *decoder) entry() (e Entry) {
	if b := d.take(2, "flags"); b != nil {
		if b[0] > entryPipe|entryTransient|entryDead {
			d.fail("flags")
		}
		e.Pipe, e.Transient, e.Dead, e.Mode = b[0]&entryPipe != 0, b[0]&entryTransient != 0, b[0]&entryDead != 0, b[1]
	}
	e.Path = d.text("path")
	for _, n := range []*uint32{&e.Perm, &e.UID, &e.GID} {
		x := d.uvarint("owner")
		if *n = uint32(x); x > 1<<32-1 {
			d.fail("owner")
		}
	}
	if b := d.take(8, "time"); b != nil {
		e.Time = int64(binary.BigEndian.Uint64(b))
	}
	e.Node = d.text("node")
	return e
}

// NamesKind tells what a message of the map of names is.
type NamesKind uint8

const (
	// Find asks a name's home for it. Make, Remove, Set, SetMode and Check ask the
	// home to decide; Check: is the pipe closed? Answer: Decided.
	Find    NamesKind = 1
	Make    NamesKind = 2
	Remove  NamesKind = 3
	Set     NamesKind = 4
	SetMode NamesKind = 5
	Check   NamesKind = 6
	Decided NamesKind = 7
	// Tell makes entries known that a home has decided, or that their home may not
	// have. Answer: Heard, unless Req is 0.
	Tell  NamesKind = 8
	Heard NamesKind = 9
	// Pull asks for what has changed at a broker since the cursor. Answer: Changes.
	Pull    NamesKind = 10
	Changes NamesKind = 11
	// Drop tells a home that a transient name has lost its ends at the sender.
	Drop NamesKind = 12
)

// NamesStatus is how a home has decided.
type NamesStatus uint8

const (
	NameOK NamesStatus = iota
	NameExists
	NameMissing
	NameOpen
	NameIsDir
	NameNotDir
	NameNotEmpty
)

// NamesMessage is a message of the map of names. Entries has what it is about, or
// what was decided.
type NamesMessage struct {
	Kind    NamesKind
	Req     uint64
	Status  NamesStatus
	Replace bool   // Make: whatever has the name, unless it is open
	Fields  uint8  // Set: which of permissions (1), user (2), group (4)
	Cursor  uint64 // Pull: where the asker is; Changes: where it is then
	More    bool   // Changes: there are more
	Dir     string // Pull: also the transient names in it, if List
	List    bool
	Entries []Entry
}

// Append appends m's bytes to b.
func (m *NamesMessage) Append(b []byte) []byte {
	b = append(b, byte(m.Kind), byte(m.Status), flags(m.Replace, m.More, m.List), m.Fields)
	b = binary.AppendUvarint(b, m.Req)
	b = binary.AppendUvarint(b, m.Cursor)
	b = appendText(b, m.Dir)
	b = binary.AppendUvarint(b, uint64(len(m.Entries)))
	for i := range m.Entries {
		b = AppendEntry(b, &m.Entries[i])
	}
	return b
}

// DecodeNames reads a message of the map of names. Error: ErrMessage.
func DecodeNames(b []byte) (NamesMessage, error) {
	var m NamesMessage
	d := decoder{rest: b, kind: Names}
	if h := d.take(4, "head"); h != nil {
		m.Kind, m.Status, m.Fields = NamesKind(h[0]), NamesStatus(h[1]), h[3]
		m.Replace, m.More, m.List = h[2]&1 != 0, h[2]&2 != 0, h[2]&4 != 0
		if m.Kind < Find || m.Kind > Drop || m.Status > NameNotEmpty || h[2] > 7 || m.Fields > 7 {
			return m, fmt.Errorf("%w: names: bad head % x", ErrMessage, h)
		}
	}
	m.Req = d.uvarint("request")
	m.Cursor = d.uvarint("cursor")
	m.Dir = d.text("directory")
	for n := d.uvarint("entries"); n > 0 && d.err == nil; n-- {
		m.Entries = append(m.Entries, d.entry())
	}
	if len(d.rest) > 0 {
		d.fail("end")
	}
	return m, d.err
}
