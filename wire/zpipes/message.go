// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package zpipes is the codec of ZPIPES, the protocol between a broker and
// its clients: a [Message] to the octets of one ZeroMQ frame, and back.
//
// The rules are the ABNF grammar of zeromq/zbroker. One frame holds one
// message; there is no delimiter frame and no routing id in what this package
// sees. Every function is pure and safe for concurrent use.
package zpipes

import (
	"math"
	"strconv"
)

// ID is the third octet of a frame: which of the 21 messages it is.
type ID uint8

// The messages of the grammar. A client sends Input, Output, Read, Write,
// Close and Ping; a broker sends all the others.
const (
	Input        ID = iota + 1 // open a pipe as its reader
	InputOK                    // the reader is open
	InputFailed                // the reader is not open, and why
	Output                     // open a pipe as its writer
	OutputOK                   // the writer is open
	OutputFailed               // the writer is not open, and why
	Read                       // ask for octets
	ReadOK                     // the octets
	ReadEnd                    // no writer is left and no octets are
	ReadTimeout                // the octets did not come in time
	ReadFailed                 // the read failed, and why
	Write                      // hand over octets
	WriteOK                    // the pipe has taken them
	WriteTimeout               // the pipe did not take them in time
	WriteFailed                // the write failed, and why
	Close                      // close the end
	CloseOK                    // the end is closed
	CloseFailed                // the close failed, and why
	Ping                       // the client is alive
	PingOK                     // so is the broker
	Invalid                    // the last request is not allowed now
)

// Limits of the fields, in octets.
const (
	// MaxName is the longest pipe name; the shortest has one octet.
	MaxName = 255
	// MaxReason is the longest reason of a failure; it may be empty.
	MaxReason = 255
	// DefaultMaxChunk is the longest chunk unless Limits says otherwise.
	DefaultMaxChunk = 16 << 20
)

// Message is one message of the protocol, with the fields of all of them.
// Those that its ID does not have are zero in a decoded message and are
// ignored in one to encode.
//
// Name and Reason are counted octets: the grammar's VCHAR is not enforced, and
// whether a name can be that of a pipe is for the broker to judge.
type Message struct {
	ID      ID
	Name    string // pipe name, 1 to MaxName octets: Input, Output
	Reason  string // 0 to MaxReason octets: the five *Failed
	Size    uint32 // octets asked for: Read
	Timeout uint32 // milliseconds, 0 is for ever: Read, Write
	Chunk   []byte // 0 to Limits.MaxChunk octets: ReadOK, Write
}

// Limits bounds what is decoded and encoded. The zero value is ready to use.
type Limits struct {
	// MaxChunk is the longest chunk, in octets. Zero or less means
	// DefaultMaxChunk; more than the four octets of a chunk's length can say
	// means that. It does not bound the Size of a Read, which asks for octets
	// and carries none.
	MaxChunk int
}

// maxChunk is an int64 because the wire's limit overflows a 32-bit int.
func (l Limits) maxChunk() int64 {
	if l.MaxChunk <= 0 {
		return DefaultMaxChunk
	}
	return min(int64(l.MaxChunk), math.MaxUint32)
}

// String returns the message's name in the grammar, such as "READ-OK", or
// "ID(n)" for an octet that names no message.
func (id ID) String() string {
	if !id.valid() {
		return "ID(" + strconv.Itoa(int(id)) + ")"
	}
	return layouts[id].name
}

func (id ID) valid() bool { return Input <= id && id <= Invalid }
