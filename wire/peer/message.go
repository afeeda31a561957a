// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Version is that of the messages below. Brokers of another do not become members.
const Version = 1

// Kind tells what a message is. The numbers are part of the protocol. What a
// receiver does with each in each state is in DESIGN.md.
type Kind uint8

const (
	// Register tells a pipe's home which ends the sender has. Answer: Registered,
	// unless Req is 0.
	Register Kind = 1
	// Registered answers with the registrations that the sender has to meet.
	Registered Kind = 2
	// Offer tells a broker with readers that the sender has a writer for them.
	// Answer: Offered, behind the Subscribe that it causes.
	Offer Kind = 3
	// Offered says that the Offer has had its effect.
	Offered Kind = 4
	// Subscribe opens a stream from the receiver's writers to the sender's readers.
	// Answer: Subscribed.
	Subscribe Kind = 5
	// Subscribed says whether the stream stands.
	Subscribed Kind = 6
	// Data carries a stream's next bytes as the message's body.
	Data Kind = 7
	// End says that a stream's writers have gone and that all their bytes were sent.
	End Kind = 8
	// Credit tells how many bytes of a stream were consumed and may be sent, ever.
	Credit Kind = 9
	// Unsubscribe ends a stream: its readers have gone, or have consumed all.
	Unsubscribe Kind = 10
	// Contend says whether a stream's bytes are wanted elsewhere, too: then its
	// readers tell when they starve.
	Contend Kind = 11
	// Starved says that a reader waits and no bytes of the stream are there; need 0:
	// that none waits any more.
	Starved Kind = 12
	// Recall wants back what no reader of a stream has taken.
	Recall Kind = 13
	// Returned answers it.
	Returned Kind = 14
	// Names carries a message of the map of names.
	Names Kind = 15
	// Ask wants a broker to tell of itself. Answer: Told.
	Ask Kind = 16
	// Told answers.
	Told Kind = 17
	// Want asks a broker to offer each of its writers of a fanout pipe. Answer:
	// Wanted, when all offers were answered.
	Want Kind = 18
	// Wanted answers.
	Wanted Kind = 19
)

// Ends says which ends of a pipe a broker has, as bits.
type Ends uint8

const (
	Reads  Ends = 1
	Writes Ends = 2
)

// Status is how a request went.
type Status uint8

const (
	OK      Status = 0
	Busy    Status = 1 // an exclusive pipe has that end already
	Spent   Status = 2 // the exclusive pipe's pair has parted: its name is a new pipe
	Unknown Status = 3 // the receiver has no such registration, nothing to stream or nothing to tell
	Clash   Status = 4 // the pipe is open elsewhere in another mode
)

// Reg is a broker's registration of a pipe: Number is its own choice, and new
// for each pipe that it has in memory.
type Reg struct {
	ID
	Number uint64
	Ends   Ends
}

// Message is a message of the peer protocol; its kind says which fields it has.
type Message struct {
	Kind   Kind
	Req    uint64 // the sender's number of a request; an answer repeats it
	Name   string // a pipe's name
	Reg    uint64 // the sender's registration
	To     uint64 // the receiver's registration
	Writer uint64 // the number of one writer of a fanout pipe; 0: all of the sender's
	Stream uint64 // a number that the reading broker chose
	Ends   Ends
	Mode   uint8 // as pipe.Mode
	First  bool  // Register: no home has known it. Contend: begins. Credit: the writer has lost its readers here
	Status Status
	Count  uint64 // bytes of the stream consumed, ever
	Limit  uint64 // bytes of the stream that may be sent, ever
	Need   uint64 // bytes that a reader must have at once
	Regs   []Reg  // Registered: to be met. Register: parted from
	Text   []byte
}

// fields says what a message consists of, in order.
type fields struct{ f [7]field }

type field uint8

const (
	fEnd field = iota
	fReq
	fName
	fReg
	fTo
	fWriter
	fStream
	fEnds
	fMode
	fFirst
	fStatus
	fCount
	fLimit
	fNeed
	fRegs
	fText
)

var layouts = [...]fields{
	Register:    {[7]field{fReq, fName, fReg, fEnds, fMode, fFirst, fRegs}},
	Registered:  {[7]field{fReq, fStatus, fMode, fRegs}},
	Offer:       {[7]field{fReq, fReg, fTo, fWriter}},
	Offered:     {[7]field{fReq}},
	Subscribe:   {[7]field{fReq, fStream, fReg, fTo, fWriter, fLimit}},
	Subscribed:  {[7]field{fReq, fStatus}},
	Data:        {[7]field{fStream}},
	End:         {[7]field{fStream}},
	Credit:      {[7]field{fStream, fCount, fLimit, fNeed, fFirst}},
	Unsubscribe: {[7]field{fStream, fCount}},
	Contend:     {[7]field{fStream, fFirst}},
	Starved:     {[7]field{fStream, fNeed}},
	Recall:      {[7]field{fStream}},
	Returned:    {[7]field{fStream, fCount}},
	Names:       {[7]field{fText}},
	Ask:         {[7]field{fReq, fText}},
	Told:        {[7]field{fReq, fStatus, fText}},
	Want:        {[7]field{fReq, fReg, fTo}},
	Wanted:      {[7]field{fReq}},
}

// ErrMessage is wrapped by every decoding error, which names the field.
var ErrMessage = errors.New("malformed peer message")

// Append appends m's bytes to b: the kind, then its fields. Numbers are unsigned
// varints (encoding/binary), strings a length and octets.
func (m *Message) Append(b []byte) []byte {
	b = append(b, byte(m.Kind))
	for _, f := range layouts[m.Kind].f {
		if n := m.number(f); n != nil {
			b = binary.AppendUvarint(b, n.get())
			continue
		}
		switch f {
		case fName:
			b = appendText(b, m.Name)
		case fText:
			b = append(b, m.Text...)
		case fRegs:
			b = binary.AppendUvarint(b, uint64(len(m.Regs)))
			for _, r := range m.Regs {
				b = appendText(b, r.Node)
				b = binary.BigEndian.AppendUint64(b, r.Boot)
				b = binary.AppendUvarint(b, r.Number)
				b = append(b, byte(r.Ends))
			}
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// number is a field that travels as a varint.
type number interface {
	get() uint64
	set(uint64) bool // false: too large
}

type wide struct{ v *uint64 }

func (n wide) get() uint64       { return *n.v }
func (n wide) set(x uint64) bool { *n.v = x; return true }

type narrow[T ~uint8] struct {
	v    *T
	most T
}

func (n narrow[T]) get() uint64       { return uint64(*n.v) }
func (n narrow[T]) set(x uint64) bool { *n.v = T(x); return x <= uint64(n.most) }

type truth struct{ v *bool }

func (n truth) get() uint64 {
	if *n.v {
		return 1
	}
	return 0
}
func (n truth) set(x uint64) bool { *n.v = x == 1; return x <= 1 }

func (m *Message) number(f field) number {
	switch f {
	case fReq:
		return wide{&m.Req}
	case fReg:
		return wide{&m.Reg}
	case fTo:
		return wide{&m.To}
	case fWriter:
		return wide{&m.Writer}
	case fStream:
		return wide{&m.Stream}
	case fCount:
		return wide{&m.Count}
	case fLimit:
		return wide{&m.Limit}
	case fNeed:
		return wide{&m.Need}
	case fEnds:
		return narrow[Ends]{&m.Ends, Reads | Writes}
	case fMode:
		return narrow[uint8]{&m.Mode, 255}
	case fStatus:
		return narrow[Status]{&m.Status, Clash}
	case fFirst:
		return truth{&m.First}
	}
	return nil
}

// Decode reads a message. Text shares b's memory.
//
// Errors: ErrMessage.
func Decode(b []byte) (Message, error) {
	var m Message
	if len(b) == 0 {
		return m, fmt.Errorf("%w: empty", ErrMessage)
	}
	m.Kind = Kind(b[0])
	if int(m.Kind) >= len(layouts) || layouts[m.Kind].f[0] == fEnd {
		return m, fmt.Errorf("%w: unknown kind %d", ErrMessage, b[0])
	}
	d := decoder{rest: b[1:], kind: m.Kind}
	for _, f := range layouts[m.Kind].f {
		if n := m.number(f); n != nil {
			if x := d.uvarint(fieldNames[f]); !n.set(x) {
				d.fail(fieldNames[f])
			}
			continue
		}
		switch f {
		case fName:
			m.Name = d.text("name")
		case fText:
			m.Text, d.rest = d.rest, nil
		case fRegs:
			m.Regs = d.regs()
		}
	}
	if len(d.rest) > 0 {
		d.fail("end")
	}
	return m, d.err
}

var fieldNames = [...]string{
	fReq: "request", fReg: "registration", fTo: "receiver's registration", fWriter: "writer", fStream: "stream",
	fEnds: "ends", fMode: "mode", fFirst: "first", fStatus: "status", fCount: "count", fLimit: "limit", fNeed: "need", fText: "",
}

// decoder keeps the first error; after it everything reads as zero.
type decoder struct {
	rest []byte
	kind Kind
	err  error
}

func (d *decoder) fail(field string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: kind %d: bad %s", ErrMessage, d.kind, field)
	}
	d.rest = nil
}

func (d *decoder) uvarint(field string) uint64 {
	x, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail(field)
		return 0
	}
	d.rest = d.rest[n:]
	return x
}

func (d *decoder) take(n uint64, field string) []byte {
	if n > uint64(len(d.rest)) {
		d.fail(field)
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) text(field string) string { return string(d.take(d.uvarint(field), field)) }

// regs bounds what it makes by the octets that are there.
func (d *decoder) regs() (regs []Reg) {
	for n := d.uvarint("registrations"); n > 0 && d.err == nil; n-- {
		var r Reg
		r.Node = d.text("node")
		if b := d.take(8, "boot"); b != nil {
			r.Boot = binary.BigEndian.Uint64(b)
		}
		r.Number = d.uvarint("registration")
		if b := d.take(1, "ends"); b != nil {
			r.Ends = Ends(b[0])
		}
		if r.Ends > Reads|Writes {
			d.fail("ends")
		}
		regs = append(regs, r)
	}
	if d.err != nil {
		return nil
	}
	return regs
}
