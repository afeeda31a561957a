// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package zgossip is the codec of ZGOSSIP, the protocol between nodes of a
// gossip network: a [Message] to the octets of one ZeroMQ frame, and back.
//
// The rules are those of CZMQ's zgossip_msg. One frame holds one message; there
// is no delimiter frame and no routing id in what this package sees. Every
// function is pure and safe for concurrent use.
package zgossip

import (
	"math"
	"strconv"
)

// ID is the third octet of a frame: which of the five messages it is.
type ID uint8

// The messages of the protocol. The comments say what CZMQ makes of them.
const (
	Hello   ID = iota + 1 // a client wants to hear all tuples, and the new ones
	Publish               // a tuple, in either direction
	Ping                  // the client is alive
	Pong                  // so is the server
	Invalid               // the server has forgotten the client: it is to say HELLO
)

// Limits of the fields, in octets.
const (
	// MaxKey is the longest key; it may be empty.
	MaxKey = 255
	// DefaultMaxValue is the longest value unless Limits says otherwise.
	DefaultMaxValue = 1 << 20
)

// Message is one message of the protocol. Key, Value and TTL are those of a
// Publish; they are zero in any other decoded message and ignored in one to
// encode.
type Message struct {
	ID    ID
	Key   string // 0 to MaxKey octets, none of them NUL
	Value string // 0 to Limits.MaxValue octets, none of them NUL
	TTL   uint32 // milliseconds that the tuple is good for; 0: for ever
}

// Limits bounds what is decoded and encoded. The zero value is ready to use.
type Limits struct {
	// MaxValue is the longest value, in octets. Zero or less means
	// DefaultMaxValue; more than the four octets of a value's length can say
	// means that.
	MaxValue int
}

// maxValue is an int64 because the wire's limit overflows a 32-bit int.
func (l Limits) maxValue() int64 {
	if l.MaxValue <= 0 {
		return DefaultMaxValue
	}
	return min(int64(l.MaxValue), math.MaxUint32)
}

// MaxFrame returns the octets of the longest frame within the limits.
func (l Limits) MaxFrame() int64 { return publishLen + MaxKey + l.maxValue() }

// String returns the message's name, such as "HELLO", or "ID(n)" for an octet
// that names no message.
func (id ID) String() string {
	switch id {
	case Hello:
		return "HELLO"
	case Publish:
		return "PUBLISH"
	case Ping:
		return "PING"
	case Pong:
		return "PONG"
	case Invalid:
		return "INVALID"
	}
	return "ID(" + strconv.Itoa(int(id)) + ")"
}

func (id ID) valid() bool { return Hello <= id && id <= Invalid }
