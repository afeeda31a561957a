// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// idleTransient is how long a transient name may have no end before its home takes
// it for left behind: its host has died, or its open has failed.
const idleTransient = 10 * time.Second

// joinSpread, for each peer to ask, is over how long brokers begin to ask after a view
// change.
const joinSpread = 2 * time.Millisecond

// confirmations bounds how many transient names are asked about in one round.
const confirmations = 8

func (s *Service) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// background keeps the map the same on all hosts and clears it of what has gone.
func (s *Service) background() {
	tick := time.NewTicker(s.cfg.SyncInterval)
	defer tick.Stop()
	join := time.NewTimer(0)
	defer join.Stop()
	waiting := true // join is running
	var turns []peer.ID
	for {
		select {
		case <-s.life.Done():
			return
		case <-s.wake:
			s.mu.Lock()
			s.flushDrops()
			stale := s.countStale()
			s.mu.Unlock()
			if stale > 0 && !waiting {
				// Not all at the same moment: all brokers see a view change at once.
				join.Reset(rand.N(min(time.Duration(stale)*joinSpread, s.cfg.SyncInterval)))
				waiting = true
			}
		case <-join.C:
			waiting = false
			s.pullStale(s.life)
		case <-tick.C:
			s.tidy()
			turns = s.compareNext(turns)
		}
	}
}

// compareNext compares the map with that of one peer: each in its turn, in an order
// that is new every time round, so that news spread as fast as by chance and brokers
// that started together do not all ask the same one. It returns who is left.
func (s *Service) compareNext(turns []peer.ID) []peer.ID {
	s.mu.Lock()
	turns = slices.DeleteFunc(turns, func(id peer.ID) bool { return s.peers[id] == nil })
	if len(turns) == 0 {
		turns = slices.Collect(maps.Keys(s.peers))
		rand.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	}
	if len(turns) == 0 {
		s.mu.Unlock()
		return nil
	}
	next := turns[0]
	r := s.peers[next]
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.life, s.cfg.AckTimeout)
	defer cancel()
	if err := s.compare(ctx, next, r); err != nil && s.life.Err() == nil {
		s.log.Debug("a peer does not compare names", "peer", next, "error", err)
	}
	return turns[1:]
}

// tidy clears away what has had its time.
func (s *Service) tidy() {
	s.mu.Lock()
	s.flushDrops()
	s.trim()
	now := s.cfg.Now()
	maps.DeleteFunc(s.claims, func(_ string, r reservation) bool { return now.After(r.until) })
	maps.DeleteFunc(s.served, func(_ request, at time.Time) bool { return now.Sub(at) > s.cfg.Recent })
	s.purge()
	unsure := s.sweepTransients()
	hidden := s.longHidden()
	s.mu.Unlock()
	if len(unsure) > 0 {
		s.confirm(unsure)
	}
	if len(hidden) > 0 {
		s.removeHidden(hidden)
	}
}

// purge forgets tombstones that all hosts have seen, or never will. Those of
// directories that are still there tell their owner.
func (s *Service) purge() {
	now := s.cfg.Now()
	for _, c := range s.tombs(now) {
		s.names.forget(c)
		if s.store != nil {
			s.store.mark(c.path)
		}
	}
}

// tombs returns the tombstones to be forgotten, looking at all names only so often.
func (s *Service) tombs(now time.Time) (due []*node) {
	every := min(s.cfg.TombstoneAge, s.cfg.Recent) / 8
	if now.Sub(s.purged) < every && !now.Before(s.purged) {
		return nil
	}
	s.purged = now
	s.names.root.walk(func(n *node) bool {
		if n.entry != nil && n.below == 0 && s.outlived(n.entry) {
			due = append(due, n)
		}
		return true
	})
	return due
}

// flushDrops lets go of transient names whose last end here has closed.
func (s *Service) flushDrops() {
	s.dropping.Lock()
	drops := s.drops
	s.drops = nil
	s.dropping.Unlock()
	for _, path := range drops {
		n := s.names.at(path)
		if n == nil || !n.alive() || !n.entry.Transient {
			continue
		}
		home := s.home(path)
		if home == s.self {
			s.end(n)
			continue
		}
		s.names.forget(n)
		m := peer.NamesMessage{Kind: peer.NamesDrop, Entry: Entry{Path: path}}
		s.net.Send(home, m.Append(nil))
	}
}

// dropped takes a peer's word that it has no end of a transient name any more.
func (s *Service) dropped(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.names.at(path); n != nil && n.alive() && n.entry.Transient && s.home(path) == s.self {
		s.end(n)
	}
}

// end removes a transient name if it has no ends, or else once it has none.
func (s *Service) end(n *node) {
	if s.arb.Open(n.path) {
		n.noEnds = true
		return
	}
	e := *n.entry
	e.Dead = true
	n, e = s.settle(e)
	s.names.settle(n)
	s.hint(e)
}

// sweepTransients ends those of this home that have no ends, and returns those of
// other homes that may have gone by now.
func (s *Service) sweepTransients() (unsure []string) {
	now := s.cfg.Now()
	for n := range s.names.transients {
		switch idle := now.Sub(n.idle); {
		case s.home(n.path) != s.self:
			if !n.mine && idle > s.cfg.Recent/2 && len(unsure) < confirmations {
				if !n.idle.IsZero() {
					unsure = append(unsure, n.path)
				}
				n.idle = now
			}
		case s.arb.Open(n.path):
			n.idle = time.Time{}
		case n.noEnds || !n.idle.IsZero() && idle > idleTransient:
			s.end(n)
		case n.idle.IsZero():
			n.idle = now
		}
	}
	return unsure
}

// confirm asks the homes of transient names whether they still exist.
func (s *Service) confirm(paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range paths {
		s.spawn(func() {
			ctx, cancel := context.WithTimeout(s.life, s.cfg.AckTimeout)
			defer cancel()
			if err := s.Find(ctx, path); err != nil {
				s.log.Debug("a client's pipe has gone elsewhere", "pipe", path, "error", err)
			}
		})
	}
}

// longHidden returns the names of this home that a pipe above them has hidden for a
// while.
func (s *Service) longHidden() (paths []string) {
	now := s.cfg.Now()
	for n := range s.names.hidden {
		switch {
		case s.home(n.path) != s.self:
		case n.idle.IsZero():
			n.idle = now
		case now.Sub(n.idle) > 5*s.cfg.SyncInterval:
			paths = append(paths, n.path)
		}
	}
	return paths
}

// removeHidden removes names that are hidden in truth, and not only for want of
// news.
func (s *Service) removeHidden(paths []string) {
	s.pullAll(s.life)
	slices.Sort(paths)
	var gone []Entry
	s.mu.Lock()
	for _, path := range paths {
		n := s.names.at(path)
		if n == nil || !n.alive() || !n.parent.blocks {
			continue
		}
		e := *n.entry
		e.Dead = true
		n, e = s.settle(e)
		s.names.settle(n)
		gone = append(gone, e)
		s.log.Info("removed a name: something above it is a pipe", "name", path)
	}
	s.mu.Unlock()
	for batch := range slices.Chunk(gone, proposalSize) {
		s.tell(s.life, s.self, peer.NamesMessage{Entries: batch})
	}
}

// snapshot returns what the disk should have of paths, nil for what has gone, and
// the clock.
func (s *Service) snapshot(paths []string) ([]*Entry, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Entry, len(paths))
	for i, path := range paths {
		if e := s.names.get(path); e != nil && !e.Transient {
			all[i] = e
		}
	}
	return all, s.clock.last
}
