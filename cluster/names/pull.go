// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// remote is what this broker knows of a peer's map.
type remote struct {
	met    bool        // the maps were compared once; cursor is valid
	cursor peer.Cursor // up to where its changes are known
	stale  bool        // it may know names that this broker has to decide about
	lost   bool        // its session was lost, and it has not spoken since
	round  int         // counts what made it stale

	running, queued *pull
}

// pull asks one peer what has changed. Who needs to know joins one that has not begun.
type pull struct{ done chan struct{} }

func newPull() *pull { return &pull{done: make(chan struct{})} }

// countStale returns how many peers have to be heard.
func (s *Service) countStale() (n int) {
	for _, r := range s.peers {
		if r.stale && !r.lost {
			n++
		}
	}
	return n
}

// pullAll brings the map up to date with all that live brokers know now. A peer that
// does not answer is waited for AckTimeout.
func (s *Service) pullAll(ctx context.Context) { s.pull(ctx, func(*remote) bool { return true }) }

// pullStale does that with those who may know what this broker, as a home, does not:
// they have just come, or somebody has gone whose names this broker has to decide
// about now.
func (s *Service) pullStale(ctx context.Context) {
	s.pull(ctx, func(r *remote) bool { return r.stale && !r.lost })
}

func (s *Service) pull(ctx context.Context, which func(*remote) bool) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	var pulls []*pull
	s.mu.Lock()
	for id, r := range s.peers {
		if which(r) && !s.closed {
			pulls = append(pulls, s.enlist(id, r))
		}
	}
	s.mu.Unlock()
	for _, p := range pulls {
		select {
		case <-p.done:
		case <-ctx.Done():
			return
		}
	}
}

// enlist returns a pull that begins after this call.
func (s *Service) enlist(id peer.ID, r *remote) *pull {
	if r.running == nil {
		r.running = newPull()
		s.spawn(func() { s.runPulls(id, r) })
		return r.running
	}
	if r.queued == nil {
		r.queued = newPull()
	}
	return r.queued
}

func (s *Service) runPulls(id peer.ID, r *remote) {
	for {
		s.pullFrom(id, r)
		s.mu.Lock()
		close(r.running.done)
		r.running, r.queued = r.queued, nil
		more := r.running != nil
		s.mu.Unlock()
		if !more {
			return
		}
	}
}

func (s *Service) pullFrom(id peer.ID, r *remote) {
	ctx, cancel := context.WithTimeout(s.life, s.cfg.AckTimeout)
	defer cancel()
	s.mu.Lock()
	met, round := r.met, r.round
	s.mu.Unlock()
	var err error
	if met {
		err = s.since(ctx, id, r)
	} else {
		err = s.compare(ctx, id, r)
	}
	if err != nil && s.life.Err() == nil {
		s.log.Debug("a peer does not tell of its names", "peer", id, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.round == round && !r.lost {
		r.stale = false // also if it was silent: nobody is held up by it twice
	}
}

// since asks a peer for its changes.
func (s *Service) since(ctx context.Context, id peer.ID, r *remote) error {
	s.mu.Lock()
	cursor := r.cursor
	s.mu.Unlock()
	parts, err := s.call(ctx, id, peer.NamesMessage{Kind: peer.NamesSince, Cursor: cursor}, false)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learn(entriesOf(parts), false)
	r.cursor = parts[0].Cursor
	return nil
}

// compare finds where a peer's map differs, from the whole down to its leaves, and
// takes over what the peer has there. It sets the cursor if there was none.
func (s *Service) compare(ctx context.Context, id peer.ID, r *remote) error {
	s.mu.Lock()
	first := !r.met
	ask := []peer.Digest{s.names.digest(wholePart)}
	s.mu.Unlock()
	var cursor peer.Cursor
	for round := 0; len(ask) > 0; round++ {
		parts, err := s.call(ctx, id, peer.NamesMessage{Kind: peer.NamesCompare, Digests: ask, Force: first && round == 0}, false)
		if err != nil {
			return err
		}
		if round == 0 {
			cursor = parts[0].Cursor
		}
		s.mu.Lock()
		s.learn(entriesOf(parts), false)
		ask = nil
		if round < levels {
			ask = s.names.unlike(parts[0].Digests)
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.met {
		r.met, r.cursor = true, cursor
	}
	return nil
}

// levels is how often a comparison goes down, at most.
const levels = 2

// compared answers a comparison; who compares for the first time is told of the
// transient names of this home, too, which no digest covers.
func (s *Service) compared(m *peer.NamesMessage) (a peer.NamesMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Cursor = s.names.log.cursor()
	a.Digests, a.Entries = s.names.differ(m.Digests)
	if m.Force {
		for n := range s.names.transients {
			if n.seq != 0 {
				a.Entries = append(a.Entries, *n.entry)
			}
		}
	}
	return a
}
