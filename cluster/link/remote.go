// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// remote is what a broker keeps of a peer that is up.
type remote struct {
	id peer.ID
	in intake

	poked   atomic.Bool // the sending side has been told to look
	blocked atomic.Bool // the link takes nothing now; the sending side's to set

	mu    sync.Mutex // guards below; a Source's locks, then the intake's, are taken under it
	at    Peer
	s     *session // nil: lost, or down
	floor uint64
	down  bool
	bye   *peer.Frame // tells the peer that the session is lost; to be sent once
	stat  PeerStat    // counters only
}

// intake is what was given to be sent and not yet reached the session.
type intake struct {
	mu      sync.Mutex // guards below
	open    bool       // there is a session
	queue   []Message
	bytes   int
	sources []Source
	fault   error // the session is to be ended: not by who found out, for it may hold a Source's lock
}

// put takes over a message, if it returns true.
func (q *intake) put(m Message, cfg *Config) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open || q.fault != nil {
		return false
	}
	if n := m.Len(); n > cfg.MaxMessage {
		q.fault = fmt.Errorf("%w: %d bytes to be sent; the limit is %d", ErrTooLong, n, cfg.MaxMessage)
		return false
	}
	m.Head = slices.Clone(m.Head)
	q.queue = append(q.queue, m)
	q.bytes += cost(m)
	if q.bytes > cfg.MaxQueue {
		q.fault = fmt.Errorf("%w: more than %d bytes", ErrOverflow, cfg.MaxQueue)
	}
	return true
}

func (q *intake) wake(s Source) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open {
		q.sources = append(q.sources, s)
	}
	return q.open
}

// take returns what there is, and gives spare memory to be used again.
func (q *intake) take(queue []Message, sources []Source) ([]Message, []Source, error) {
	clear(queue)
	clear(sources)
	q.mu.Lock()
	defer q.mu.Unlock()
	queue, q.queue = q.queue, queue[:0]
	sources, q.sources = q.sources, sources[:0]
	q.bytes = 0
	return queue, sources, q.fault
}

// set opens or closes the intake and drops what is in it.
func (q *intake) set(open bool) {
	q.mu.Lock()
	dropped := q.queue
	q.queue, q.sources, q.bytes, q.fault, q.open = nil, nil, 0, nil, open
	q.mu.Unlock()
	releaseAll(dropped)
}

// look is the usual poke: it hands a peer over unless that was done already.
func (r *remote) look(to func(*remote)) {
	if !r.poked.Swap(true) {
		to(r)
	}
}

func (r *remote) stats() PeerStat {
	r.in.mu.Lock()
	waiting := r.in.bytes
	r.in.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.stat
	st.Peer, st.Queued = r.at, waiting
	if s := r.s; s != nil {
		st.Standing, st.Since, st.RTT = s.standing(), s.began, s.rtt
		st.Queued += s.out.queueBytes
		st.Unacked = s.out.flightBytes
		st.Resent += s.out.resent
	}
	return st
}
