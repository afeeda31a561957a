// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"maps"
	"slices"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// ViewChanged tells that Net.Live has changed. It does not wait.
//
// Homes change with it. Each broker tells the new homes what it has decided or asked
// for lately, and those who have become the home of anything hear the others out
// before they decide.
func (s *Service) ViewChanged() {
	live := s.net.Live()
	s.mu.Lock()
	if !s.started {
		s.mu.Unlock()
		return // Start looks itself
	}
	old, oldNodes := s.lives, s.nodes
	s.lives, s.nodes = map[string]peer.ID{s.self.Node: s.self}, nil
	for _, id := range live {
		if id.Node != s.self.Node {
			s.lives[id.Node] = id
		}
	}
	s.nodes = slices.Sorted(maps.Keys(s.lives))
	s.changePeers()
	close(s.moved)
	s.moved = make(chan struct{})
	proposals := s.propose(func(path string) peer.ID { return old[peer.Home(path, oldNodes)] })
	s.mu.Unlock()
	for home, entries := range proposals {
		for batch := range slices.Chunk(entries, proposalSize) {
			m := peer.NamesMessage{Kind: peer.NamesPropose, Entries: batch}
			s.net.Send(home, m.Append(nil))
		}
	}
	s.rouse()
}

// proposalSize bounds the entries of one message.
const proposalSize = 500

// changePeers makes s.peers agree with the view.
func (s *Service) changePeers() {
	gone := false
	for id := range s.peers {
		if s.lives[id.Node] != id {
			gone = true
			delete(s.peers, id)
			s.fail(id)
		}
	}
	for _, id := range s.lives {
		if id != s.self && s.peers[id] == nil {
			s.peers[id] = &remote{stale: true}
		}
	}
	if !gone {
		return
	}
	for _, r := range s.peers {
		r.stale = true
		r.round++
	}
}

// propose returns, by home, what new homes should know, and records what this broker
// is the new home of. Transient names are nobody else's to tell of, however old.
func (s *Service) propose(oldHome func(string) peer.ID) map[peer.ID][]Entry {
	proposals := make(map[peer.ID][]Entry)
	seen := make(map[*node]bool)
	add := func(n *node) {
		if n.entry == nil || seen[n] {
			return
		}
		seen[n] = true
		home := s.home(n.path)
		switch {
		case home == s.self && n.seq == 0:
			s.names.record(n)
		case home != s.self && (n.mine || n.entry.Transient) && home != oldHome(n.path):
			proposals[home] = append(proposals[home], *n.entry)
		}
	}
	s.trim()
	for _, c := range s.recent {
		add(c.n)
	}
	for n := range s.names.transients {
		add(n)
	}
	return proposals
}

// trim lets go of changes that are not recent any more.
func (s *Service) trim() {
	now := s.cfg.Now()
	i := 0
	for i < len(s.recent) && now.Sub(s.recent[i].at) > s.cfg.Recent {
		i++
	}
	s.recent = slices.Delete(s.recent, 0, i)
}

// Lost tells that the session with a peer has ended: what was sent may not have
// arrived. It does not wait.
func (s *Service) Lost(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.peers[id]; r != nil {
		r.lost, r.stale = true, true
		r.round++
	}
	s.fail(id)
}

// fail ends all that waits for a peer.
func (s *Service) fail(id peer.ID) {
	for n, c := range s.calls {
		if c.to == id {
			delete(s.calls, n)
			c.err = errLost
			close(c.done)
		}
	}
	for _, t := range s.tells {
		t.acked(id)
	}
}
