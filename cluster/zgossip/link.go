// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"math"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// Bounds of what libzmq keeps for each neighbour, in messages. What it has no room
// for is not lost: the log has it.
const (
	sendHWM = 256
	recvHWM = 256
)

// How soon a neighbour who does not read is tried again: the later the longer
// nobody of them has read anything.
const (
	leastRetry = 5 * time.Millisecond
	mostRetry  = 200 * time.Millisecond
)

var (
	errFull = errors.New("no room")       // libzmq has none for the neighbour
	errGone = errors.New("not connected") // the neighbour is not there any more
)

// neighbour is what a link belongs to.
type neighbour interface {
	caughtUp() // the link was told the whole log
	lost()     // it takes nothing any more
}

// link is a neighbour as long as it is connected: a client of ours, or the server
// at a remote endpoint. Whoever connects anew is another link, since it may have
// forgotten everything.
type link struct {
	name   string             // in the log
	put    func([]byte) error // sends a frame, which is the loop's again: nil, errFull or errGone
	server bool               // this node is the server of the link
	ttls   bool               // its ttls are meant; CZMQ's are not

	owner neighbour
	ready bool   // to be told tuples
	sent  uint64 // it was told the log up to here
	stuck bool   // it does not read: it is in loop.stuck

	// What it is known to have although it did not tell first, and up to which
	// seq that matters.
	has      map[*tuple]uint64
	hasUntil uint64

	fresh      bool // it cannot know yet what this node holds
	greeted    bool // it was told that our ttls are meant
	complained bool // what it does wrong was logged
}

// knows notes that the neighbour has told a tuple that is the same here.
func (k *link) knows(t *tuple) {
	if k.has == nil {
		k.has = make(map[*tuple]uint64)
	}
	k.has[t] = t.seq
}

// catchUp tells a neighbour what it was not told.
func (l *loop) catchUp(k *link) {
	if !k.ready || k.stuck {
		return
	}
	switch err := l.pump(k); err {
	case nil:
		k.owner.caughtUp()
	case errFull:
		l.wait(k)
	default:
		k.owner.lost()
	}
}

// wait has a neighbour who does not read tried later.
func (l *loop) wait(k *link) {
	if !k.stuck {
		k.stuck = true
		if len(l.stuck) == 0 && !l.retryAt.After(l.now) {
			l.retryIn, l.retryAt = leastRetry, l.now.Add(leastRetry)
		}
		l.stuck = append(l.stuck, k)
	}
}

// pump tells a neighbour the rest of the log, as far as there is room.
func (l *loop) pump(k *link) error {
	for t := range l.table.after(k.sent) {
		if t.from != k && k.has[t] != t.seq {
			if err := l.tell(k, t); err != nil {
				return err
			}
		}
		k.sent = t.seq
	}
	k.sent = l.table.last
	if k.has != nil && k.sent >= k.hasUntil {
		k.has = nil
	}
	return nil
}

// tell sends a tuple.
func (l *loop) tell(k *link, t *tuple) error {
	ttl := uint32(0)
	if t.ttl > 0 {
		left := t.expires.Sub(l.now)
		if left < leastLeft {
			return nil
		}
		ttl = uint32(min(left.Milliseconds(), math.MaxUint32))
		if k.server && !k.greeted {
			// CZMQ's servers never say this, and its clients do not mind.
			if err := l.say(k, wire.Hello); err != nil {
				return err
			}
			k.greeted = true
		}
	}
	frame, err := l.limits.Append(l.frame[:0], wire.Message{ID: wire.Publish, Key: t.key, Value: t.value, TTL: ttl})
	if err != nil {
		// What gets into the table was decoded or checked within the limits.
		l.log.Error("cannot encode a gossip tuple", "key", t.key, "error", err)
		return nil
	}
	l.frame = frame
	if err := k.put(frame); err != nil {
		return err
	}
	l.stats.Sent++
	return nil
}

// say sends a message that is its name only.
func (l *loop) say(k *link, id wire.ID) error {
	return k.put(l.brief[id])
}

// retry tries the neighbours that do not read, when it is time to.
func (l *loop) retry() {
	if len(l.stuck) == 0 || l.now.Before(l.retryAt) {
		return
	}
	waiting, moved := l.stuck, false
	l.stuck = nil
	for _, k := range waiting {
		sent := k.sent
		k.stuck = false
		l.catchUp(k)
		moved = moved || k.sent != sent || !k.stuck
	}
	l.retryIn = min(2*l.retryIn, mostRetry)
	if moved {
		l.retryIn = leastRetry
	}
	l.retryAt = l.now.Add(l.retryIn)
}

// sendError makes errFull or errGone of what libzmq says.
func sendError(err error) error {
	switch {
	case err == nil:
		return nil
	case zmq.AsErrno(err) == zmq.Errno(unix.EAGAIN):
		return errFull
	}
	return errGone
}
