// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package link moves messages between brokers. Two lives of brokers that know
// of each other have a session: each message arrives once and in order, or the
// session is lost and both are told. A connection that breaks and returns
// within the failure timeout costs time, not messages. See DESIGN.md.
package link

import (
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Message is one message of a session. Where one chunk of the body ends and the
// next begins is not kept.
type Message struct {
	Head []byte
	Body []pipe.Chunk
}

// Len returns the octets of the head and the body.
func (m Message) Len() int {
	n := len(m.Head)
	for _, c := range m.Body {
		n += c.Len()
	}
	return n
}

// Release gives back the references to the body.
func (m Message) Release() {
	for _, c := range m.Body {
		c.Release()
	}
}

// Source has bulk data for a peer. Its type is comparable, and two that are
// equal are the same Source.
type Source interface {
	// Next gives a message with about max octets at most, which may have one head
	// more. It gives false if there is nothing now, and is not called again then
	// until Wake. It is called on the link's sending goroutine, must not block, and
	// may call Send and Wake only. The link takes over Head and the references of
	// Body.
	Next(max int) (m Message, ok bool)
}

// Handler is told what links bring. Calls come one at a time on a goroutine of
// the link, those of a peer in order, and none after Close has returned. They must
// not block; they may call Send, Wake, Up and Down.
type Handler interface {
	// Receive takes over the references of m.Body. m.Head is never used again by
	// the link, but it may share memory with the body: it is read-only.
	Receive(from peer.ID, m Message)
	// Lost tells that the session with a peer has ended, also if it never stood.
	// Messages sent before, and not known to have arrived, may have arrived or not;
	// Sources are forgotten. Nothing comes from that session any more. What is sent
	// from now on, also during the call, belongs to the next session, which has
	// begun already unless the peer is down. err says why.
	Lost(id peer.ID, err error)
}

// Peer is another broker and how to reach it.
type Peer struct {
	peer.ID
	Endpoint string // "tcp://address:port"
	Key      string // its public key for CURVE, in Z85; empty: plain text
}

// Links are the sessions of one broker with all others. All methods may be
// called from any goroutine; Send and Wake with any lock held, the others with
// none that a Source's Next takes.
type Links interface {
	// Up tells that membership sees p alive: connect, and let it in. Another life
	// of the same node ends by it. Up with a new Endpoint or Key moves the session.
	Up(p Peer)
	// Down tells that membership declared a peer dead or that it left. The session
	// ends and Handler.Lost will be called with err, unless the peer is not up.
	Down(id peer.ID, err error)
	// Send queues a message. Head is copied; the references of Body are taken over.
	// It is dropped if there is no session: Lost has been or will be told.
	Send(to peer.ID, m Message)
	// Wake tells that s has something for a peer. It is asked behind the messages
	// that are queued, in turn with other sources, as often as there is room, until
	// it has nothing; it is forgotten when the session is lost.
	Wake(to peer.ID, s Source)
	// Endpoint returns where peers connect to.
	Endpoint() string
	// PublicKey returns this life's key for CURVE, in Z85; empty: plain text.
	PublicKey() string
	// Stats returns what is known of each peer that is up.
	Stats() []PeerStat
	// Close ends all sessions without a call of Lost and waits until nothing of
	// the links is left. ErrClosed if it was closed before.
	Close() error
}

// PeerStat is the state of the session with one peer.
type PeerStat struct {
	Peer
	Standing    bool          // the peer has answered
	Since       time.Time     // when the session began
	RTT         time.Duration // of the last heartbeats, smoothed; 0: not known
	BytesIn     uint64        // of messages, since Up
	BytesOut    uint64
	MessagesIn  uint64
	MessagesOut uint64
	Resent      uint64 // messages sent again
	Lost        uint64 // sessions lost since Up
	Queued      int    // bytes that wait to be sent
	Unacked     int    // bytes sent that are kept until the peer has them
}
