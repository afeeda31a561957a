// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// call is a request of this broker that waits for its answer.
type call struct {
	to    peer.ID
	parts []peer.NamesMessage
	err   error
	done  chan struct{} // closed when the answer is whole, or err set
}

// entriesSize bounds the entries of one message, in octets, so that others fit in
// between.
const entriesSize = 64 << 10

// call sends a request and returns the answer's parts. A peer whose session was lost,
// or that is not alive, ends it with errLost. With again set the request is sent
// once more from time to time: it may have fallen between two sessions.
func (s *Service) call(ctx context.Context, to peer.ID, m peer.NamesMessage, again bool) ([]peer.NamesMessage, error) {
	s.mu.Lock()
	r := s.peers[to]
	if r == nil {
		s.mu.Unlock()
		return nil, errLost
	}
	s.lastID++
	m.ID = s.lastID
	c := &call{to: to, done: make(chan struct{})}
	lost := r.lost
	s.calls[m.ID] = c
	s.mu.Unlock()
	defer s.forgetCall(m.ID)
	payload := m.Append(nil)
	s.net.Send(to, payload)
	if lost && !again {
		return nil, errLost // this was to find out whether the peer is back
	}
	resend := time.NewTicker(s.cfg.AckTimeout)
	defer resend.Stop()
	for {
		select {
		case <-c.done:
			return c.parts, c.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-s.life.Done():
			return nil, ErrClosed
		case <-resend.C:
			if again {
				s.net.Send(to, payload)
			}
		}
	}
}

func (s *Service) forgetCall(id uint64) {
	s.mu.Lock()
	delete(s.calls, id)
	s.mu.Unlock()
}

// answered takes a part of an answer.
func (s *Service) answered(from peer.ID, m *peer.NamesMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[m.ID]
	if c == nil || c.to != from {
		return
	}
	c.parts = append(c.parts, *m)
	if !m.More {
		delete(s.calls, m.ID)
		close(c.done)
	}
}

// answer sends an answer, in parts if it is long.
func (s *Service) answer(to peer.ID, id uint64, m peer.NamesMessage) {
	m.Kind, m.ID = peer.NamesAnswer, id
	rest := m.Entries
	for {
		var n int
		m.Entries, n = rest[:0], 0
		for len(rest) > len(m.Entries) && n < entriesSize {
			n += len(rest[len(m.Entries)].Path) + 64
			m.Entries = rest[:len(m.Entries)+1]
		}
		rest = rest[len(m.Entries):]
		m.More = len(rest) > 0
		s.net.Send(to, m.Append(nil))
		if !m.More {
			return
		}
		m.Digests, m.Paths = nil, nil
	}
}

// entriesOf returns what all parts of an answer bring.
func entriesOf(parts []peer.NamesMessage) (all []Entry) {
	for i := range parts {
		all = append(all, parts[i].Entries...)
	}
	return all
}

// tell is an announcement that waits to be acknowledged.
type tell struct {
	missing map[peer.ID]struct{}
	done    chan struct{} // closed when nobody is missing
}

func (t *tell) acked(from peer.ID) {
	if _, ok := t.missing[from]; !ok {
		return
	}
	if delete(t.missing, from); len(t.missing) == 0 {
		close(t.done)
	}
}

// tell tells all live brokers but one what was decided, and waits until they have
// applied it, have gone, or the limit has passed. A context that ends ends the
// waiting; the decision stands.
func (s *Service) tell(ctx context.Context, except peer.ID, m peer.NamesMessage) {
	t := &tell{missing: make(map[peer.ID]struct{}), done: make(chan struct{})}
	s.mu.Lock()
	s.lastID++
	m.Kind, m.ID = peer.NamesTell, s.lastID
	var targets []peer.ID
	for id, r := range s.peers {
		if id == except {
			continue
		}
		targets = append(targets, id)
		if !r.lost {
			t.missing[id] = struct{}{}
		}
	}
	wait := len(t.missing) > 0
	s.tells[m.ID] = t
	s.mu.Unlock()
	payload := m.Append(nil)
	for _, id := range targets {
		s.net.Send(id, payload)
	}
	if wait {
		s.await(ctx, t)
	}
	s.mu.Lock()
	missing := slices.Collect(maps.Keys(t.missing))
	delete(s.tells, m.ID)
	s.mu.Unlock()
	if len(missing) > 0 && s.life.Err() == nil {
		s.log.Warn("not all hosts have confirmed a change of a name; they will learn of it when they compare",
			"name", m.Entries[0].Path, "peers", fmt.Sprint(missing))
	}
}

func (s *Service) await(ctx context.Context, t *tell) {
	limit := time.NewTimer(s.cfg.AckTimeout)
	defer limit.Stop()
	select {
	case <-t.done:
	case <-limit.C:
	case <-ctx.Done():
	case <-s.life.Done():
	}
}

// told takes over what a home has decided.
func (s *Service) told(from peer.ID, m *peer.NamesMessage) {
	s.mu.Lock()
	if m.To != "" {
		s.learnMove(m.Entry.Path, m.To, m.Entries, false)
	} else {
		s.learn(m.Entries, false)
	}
	s.mu.Unlock()
	ack := peer.NamesMessage{Kind: peer.NamesAck, ID: m.ID}
	s.net.Send(from, ack.Append(nil))
}

// Receive takes a message of a peer's map. It does not wait.
func (s *Service) Receive(from peer.ID, payload []byte) {
	m, err := peer.DecodeNames(payload)
	if err != nil {
		s.log.Warn("a peer's message about names is left out", "peer", from, "size", len(payload), "error", err)
		return
	}
	s.mu.Lock()
	started := s.started
	if r := s.peers[from]; r != nil {
		r.lost = false
	}
	s.mu.Unlock()
	if !started {
		return // to this peer we are one that does not answer yet
	}
	switch m.Kind {
	case peer.NamesAsk:
		s.asked(from, &m)
	case peer.NamesAnswer:
		s.answered(from, &m)
	case peer.NamesTell:
		s.told(from, &m)
	case peer.NamesAck:
		s.mu.Lock()
		if t := s.tells[m.ID]; t != nil {
			t.acked(from)
		}
		s.mu.Unlock()
	case peer.NamesSince:
		s.mu.Lock()
		entries, cursor := s.names.since(m.Cursor)
		s.mu.Unlock()
		s.answer(from, m.ID, peer.NamesMessage{Cursor: cursor, Entries: entries})
	case peer.NamesCompare:
		s.answer(from, m.ID, s.compared(&m))
	case peer.NamesPropose:
		s.mu.Lock()
		s.learn(m.Entries, false)
		s.mu.Unlock()
	case peer.NamesDrop:
		s.dropped(m.Entry.Path)
	}
}
