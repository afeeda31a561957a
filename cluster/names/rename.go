// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"errors"
	"strings"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// maxMove bounds the announcement of a rename, in octets: it is one message, so that
// a directory moves in one step on each host.
const maxMove = 8 << 20

// entrySize is an entry's size in a message, at most, without its path and node.
const entrySize = 64

// rename moves a name, as the old path's home.
func (s *Service) rename(ctx context.Context, from peer.ID, m *peer.NamesMessage) peer.NamesMessage {
	src, dst := m.Entry.Path, m.To
	s.mu.Lock()
	if n := s.names.at(src); n != nil && n.entry != nil && n.entry.Dead && n.entry.Token == m.Token {
		defer s.mu.Unlock()
		return peer.NamesMessage{Entries: s.movedBy(m.Token, src, dst)} // sent again
	}
	e, ok := s.existing(src)
	s.mu.Unlock()
	switch {
	case !ok:
		return refuse(peer.NamesNotExist)
	case src == dst:
		return peer.NamesMessage{}
	case e.Dir:
		s.pullAll(ctx)
	}
	if ctx.Err() != nil {
		return refuse(peer.NamesNotHome)
	}
	pipes, code := s.movable(src, dst)
	if code != peer.NamesOK {
		return refuse(code)
	}
	if code := s.anyOpen(ctx, pipes); code != peer.NamesOK {
		return refuse(code)
	}
	claim := peer.NamesMessage{Op: peer.NamesClaim, Entry: Entry{Path: dst, Dir: e.Dir}, Keep: m.Keep, Token: m.Token}
	if a := s.askFor(ctx, claim); a.Code != peer.NamesOK {
		return a
	}
	s.mu.Lock()
	entries := s.moveHere(src, dst, m.Token)
	s.mu.Unlock()
	if entries == nil {
		return refuse(peer.NamesNotExist)
	}
	s.tell(ctx, from, peer.NamesMessage{Entry: Entry{Path: src}, To: dst, Entries: entries})
	return peer.NamesMessage{Entries: entries}
}

// movable returns the pipes at src and below, and whether all can have their new
// paths.
func (s *Service) movable(src, dst string) (pipes []string, code peer.NamesCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.names.at(src)
	if n == nil || n.shown == nil {
		return nil, peer.NamesNotExist
	}
	size := 0
	n.walk(func(n *node) bool {
		if n.shown == nil {
			return true
		}
		if !n.shown.Dir {
			pipes = append(pipes, n.path)
		}
		to := len(dst) + len(n.path) - len(src)
		if to > broker.MaxPath {
			code = peer.NamesTooLong
		}
		size += to + len(n.path) + 2*(entrySize+len(s.self.Node))
		return true
	})
	if code == peer.NamesOK && size > maxMove {
		code = peer.NamesTooMany
	}
	return pipes, code
}

// anyOpen asks the homes of pipes whether one of them is open.
func (s *Service) anyOpen(ctx context.Context, pipes []string) peer.NamesCode {
	byHome := make(map[peer.ID][]string)
	s.mu.Lock()
	for _, path := range pipes {
		h := s.home(path)
		byHome[h] = append(byHome[h], path)
	}
	s.mu.Unlock()
	answers := make(chan peer.NamesCode, len(byHome))
	for home, paths := range byHome {
		ask := func() {
			m := peer.NamesMessage{Kind: peer.NamesAsk, Op: peer.NamesOpens, Entry: Entry{Path: paths[0]}, Paths: paths}
			ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
			defer cancel()
			parts, err := s.askHome(ctx, home, m)
			if err != nil {
				// Its registry has gone, and the ends that it had are on their way to
				// another: rather refuse than tear an open pipe apart.
				answers <- peer.NamesOpen
				return
			}
			answers <- parts[0].Code
		}
		s.mu.Lock()
		started := s.spawn(ask)
		s.mu.Unlock()
		if !started {
			return peer.NamesNotHome
		}
	}
	code := peer.NamesOK
	for range byHome {
		if c := <-answers; c != peer.NamesOK {
			code = c
		}
	}
	return code
}

// askFor asks a home on behalf of a request that this home decides.
func (s *Service) askFor(ctx context.Context, m peer.NamesMessage) peer.NamesMessage {
	m.Kind = peer.NamesAsk
	ctx, cancel := context.WithTimeout(ctx, 2*s.cfg.AckTimeout)
	defer cancel()
	for pause := firstPause; ; pause *= 2 {
		s.mu.Lock()
		home, moved := s.home(m.Entry.Path), s.moved
		m.Entries = s.namesAbove(m.Entry.Path)
		s.mu.Unlock()
		parts, err := s.askHome(ctx, home, m)
		switch {
		case err == nil && parts[0].Code != peer.NamesNotHome:
			return peer.NamesMessage{Code: parts[0].Code, Entries: entriesOf(parts)}
		case err != nil && !errors.Is(err, errLost), s.pause(ctx, moved, pause) != nil:
			return refuse(peer.NamesNotHome) // the one who asks tries again
		}
	}
}

// moveHere decides a rename and shows it. It returns what it consists of: each name
// at its new path, then that the old ones have gone. Nil: nothing is there any more.
func (s *Service) moveHere(src, dst string, token uint64) (entries []Entry) {
	n := s.names.at(src)
	if n == nil || n.shown == nil {
		return nil
	}
	var moved, left []Entry
	n.walk(func(n *node) bool {
		if n.shown != nil {
			e := *n.shown
			e.Path = dst + strings.TrimPrefix(n.path, src)
			e.Transient, e.Token = false, token
			moved = append(moved, e)
		}
		if n.alive() || n.path == src {
			e := *n.shownOr(n.entry)
			e.Path, e.Dead, e.Token = n.path, true, token
			left = append(left, e)
		}
		return true
	})
	s.names.move(src, dst)
	for _, e := range append(moved, left...) {
		_, e = s.settle(e)
		entries = append(entries, e)
	}
	s.names.moveDone(src, dst)
	return entries
}

// shownOr returns how n shows, or else e.
func (n *node) shownOr(e *Entry) *Entry {
	if n.shown != nil {
		return n.shown
	}
	return e
}

// movedBy returns what a rename that was decided before consisted of.
func (s *Service) movedBy(token uint64, src, dst string) (entries []Entry) {
	for _, path := range []string{dst, src} {
		n := s.names.at(path)
		if n == nil {
			continue
		}
		n.walk(func(n *node) bool {
			if n.entry != nil && n.entry.Token == token {
				entries = append(entries, *n.entry)
			}
			return true
		})
	}
	return entries
}
