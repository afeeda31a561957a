// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"cmp"

	"github.com/cespare/xxhash/v2"
)

// Stamp says when a name was last changed, on a hybrid logical clock (Kulkarni
// and others, 2014), and who decided that. Of two changes the later one holds.
type Stamp struct {
	Time int64  // nanoseconds since 1970; runs ahead of the wall clock where a peer's does
	Node string // breaks ties
}

// MaxTime bounds stamps, in the year 2200: clocks that have seen one must still
// be able to advance.
const MaxTime int64 = 7258118400e9

// Compare orders stamps.
func (s Stamp) Compare(t Stamp) int {
	return cmp.Or(cmp.Compare(s.Time, t.Time), cmp.Compare(s.Node, t.Node))
}

// Entry is the state of a name, or that it has gone.
type Entry struct {
	Path           string // from the root, without a leading slash
	Dir            bool   // else a pipe
	Transient      bool   // a pipe that goes with its last end
	Dead           bool   // gone: a tombstone, which keeps the rest as it was
	Mode           uint8  // as pipe.Mode
	Perm, UID, GID uint32
	Stamp          Stamp
	Token          uint64 // of the request that made the name, or removed it
}

// Compare orders the states of one name: the greater one holds. Different states
// with one stamp do not occur; that they are ordered nevertheless makes merging
// states commutative whatever comes.
func (e *Entry) Compare(o *Entry) int {
	if c := e.Stamp.Compare(o.Stamp); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(e.flags(), o.flags()), cmp.Compare(e.Mode, o.Mode), cmp.Compare(e.Perm, o.Perm),
		cmp.Compare(e.UID, o.UID), cmp.Compare(e.GID, o.GID), cmp.Compare(e.Token, o.Token))
}

// Digest is a hash of all of e.
func (e *Entry) Digest() uint64 {
	var room [512]byte
	return xxhash.Sum64(e.Append(room[:0]))
}

// NamesKind tells what a message of the map of names is. The numbers are part of
// the protocol. What a receiver does with each is in cluster/names/DESIGN.md.
type NamesKind uint8

const (
	// NamesAsk asks a name's home to decide. Answer: NamesAnswer.
	NamesAsk NamesKind = 1
	// NamesAnswer answers any request; with More set, another part follows.
	NamesAnswer NamesKind = 2
	// NamesTell brings what a home has decided. Answer: NamesAck.
	NamesTell NamesKind = 3
	// NamesAck says that a NamesTell has been applied.
	NamesAck NamesKind = 4
	// NamesSince asks for what has changed since a cursor. Answer: NamesAnswer.
	NamesSince NamesKind = 5
	// NamesCompare asks for what differs from digests. Answer: NamesAnswer.
	NamesCompare NamesKind = 6
	// NamesPropose brings names to their new home.
	NamesPropose NamesKind = 7
	// NamesDrop says that the sender has no end of a transient name any more.
	NamesDrop NamesKind = 8
)

// NamesOp is what a NamesAsk wants.
type NamesOp uint8

const (
	NamesFind   NamesOp = 1 // tell of a name
	NamesMake   NamesOp = 2 // make it
	NamesSet    NamesOp = 3 // change the attributes in Mask
	NamesMode   NamesOp = 4 // change a pipe's mode
	NamesRemove NamesOp = 5
	NamesRename NamesOp = 6 // to To
	NamesClaim  NamesOp = 7 // keep Entry's name free for a rename
	NamesOpens  NamesOp = 8 // which of Paths are open: the answer has the first
)

// NamesCode is how a request went.
type NamesCode uint8

const (
	NamesOK       NamesCode = 0
	NamesNotHome  NamesCode = 1 // another broker decides that, as the receiver sees the cluster
	NamesExist    NamesCode = 2
	NamesNotExist NamesCode = 3
	NamesOpen     NamesCode = 4
	NamesNotEmpty NamesCode = 5
	NamesIsDir    NamesCode = 6
	NamesNotDir   NamesCode = 7
	NamesTooLong  NamesCode = 8
	NamesTooMany  NamesCode = 9
	NamesUnknown  NamesCode = 10 // the receiver does not know such an operation
)

// What NamesSet changes, as bits.
const (
	MaskPerm = 1
	MaskUID  = 2
	MaskGID  = 4
)

// Cursor is a place in a broker's log of changes. The zero value is before all.
type Cursor struct {
	Boot uint64 // the life of the broker whose log it is
	Seq  uint64
}

// Digest is a hash of a part of the map.
type Digest struct {
	Part uint16 // as cluster/names numbers them
	Sum  uint64
}

// NamesMessage is a message of the map of names; its kind says which fields it has.
type NamesMessage struct {
	Kind    NamesKind
	ID      uint64 // the sender's number of a request; an answer repeats it
	Op      NamesOp
	Code    NamesCode
	Force   bool // decide also if you are not the home
	Keep    bool // NamesRename, NamesClaim: not onto a name that exists
	More    bool
	Mask    uint8
	Token   uint64 // the same whenever a request is sent again
	Entry   Entry  // what is asked for
	To      string // NamesRename; in a NamesTell: Entry.Path has moved there
	Cursor  Cursor
	Digests []Digest
	Paths   []string
	Entries []Entry // what the sender knows, or tells
}
