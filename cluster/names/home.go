// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"slices"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// turn lets decisions about a path that take several steps follow one another.
type turn struct {
	free  chan struct{} // holds one while nobody has it
	users int           // holding or waiting
}

// take waits for a path's turn and returns what ends it.
func (s *Service) take(ctx context.Context, path string) (func(), error) {
	s.mu.Lock()
	t := s.busy[path]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		s.busy[path] = t
	}
	t.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		if t.users--; t.users == 0 {
			delete(s.busy, path)
		}
		s.mu.Unlock()
	}
	select {
	case <-t.free:
		return func() { t.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// asked serves a peer's request: at once where that does not wait, else on a
// goroutine. One that came before is let go of: its answer is on the way, and what it
// wanted may have been changed again by now.
func (s *Service) asked(from peer.ID, m *peer.NamesMessage) {
	if err := broker.CheckName(m.Entry.Path); err != nil {
		s.log.Warn("a peer's request is left out", "peer", from, "name", m.Entry.Path, "error", err)
		return
	}
	key := request{from, m.ID}
	serve := func() { s.answer(from, m.ID, s.decide(s.life, from, m)) }
	s.mu.Lock()
	_, twice := s.served[key]
	if !twice {
		s.served[key] = s.cfg.Now()
	}
	prompt := s.prompt(m)
	if !twice && !prompt {
		s.spawn(serve)
	}
	s.mu.Unlock()
	if !twice && prompt {
		serve()
	}
}

// prompt reports that a decision does not wait for anybody.
func (s *Service) prompt(m *peer.NamesMessage) bool {
	switch m.Op {
	case peer.NamesFind, peer.NamesMake:
		return s.countStale() == 0
	case peer.NamesOpens:
		return true
	}
	return false
}

// decide decides a request as the name's home.
func (s *Service) decide(ctx context.Context, from peer.ID, m *peer.NamesMessage) peer.NamesMessage {
	path := m.Entry.Path
	s.mu.Lock()
	if !m.Force && s.home(path) != s.self && m.Op != peer.NamesOpens {
		s.mu.Unlock()
		return refuse(peer.NamesNotHome)
	}
	s.learn(m.Entries, false)
	var found bool
	if m.Op == peer.NamesFind {
		found = s.names.shows(path) != nil
	}
	s.mu.Unlock()
	if m.Op != peer.NamesOpens && !found {
		s.pullStale(ctx)
	}
	if ctx.Err() != nil {
		return refuse(peer.NamesNotHome) // nobody waits for it any more
	}
	switch m.Op {
	case peer.NamesFind:
		return s.find(path)
	case peer.NamesMake:
		return s.make(m)
	case peer.NamesOpens:
		return s.opens(m.Paths)
	case peer.NamesClaim:
		return s.claim(ctx, m)
	case peer.NamesSet, peer.NamesMode, peer.NamesRemove, peer.NamesRename:
		done, err := s.take(ctx, path)
		if err != nil {
			return refuse(peer.NamesNotHome)
		}
		defer done()
		return s.alter(ctx, from, m)
	}
	return refuse(peer.NamesUnknown)
}

// alter decides about a name that has to exist.
func (s *Service) alter(ctx context.Context, from peer.ID, m *peer.NamesMessage) peer.NamesMessage {
	switch m.Op {
	case peer.NamesSet:
		return s.setAttr(ctx, from, m)
	case peer.NamesMode:
		return s.setMode(ctx, from, m)
	case peer.NamesRemove:
		return s.remove(ctx, from, m)
	default:
		return s.rename(ctx, from, m)
	}
}

func refuse(code peer.NamesCode, known ...Entry) peer.NamesMessage {
	return peer.NamesMessage{Code: code, Entries: known}
}

// known returns the entries that make a path show as it does here.
func (s *Service) known(path string) []Entry {
	all := s.namesAbove(path)
	n := s.names.at(path)
	if n == nil {
		return all
	}
	if n.entry != nil {
		all = append(all, *n.entry)
	}
	if n.shown != nil && !n.alive() {
		n.walk(func(c *node) bool {
			if c.alive() && c.shown != nil {
				all = append(all, *c.entry)
				return false
			}
			return true
		})
	}
	return all
}

func (s *Service) find(path string) peer.NamesMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names.shows(path) == nil {
		return refuse(peer.NamesNotExist, s.known(path)...)
	}
	return peer.NamesMessage{Entries: s.known(path)}
}

func (s *Service) make(m *peer.NamesMessage) peer.NamesMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := m.Entry.Path
	if e := s.names.shows(path); e != nil {
		if e.Token == m.Token {
			return peer.NamesMessage{Entries: s.known(path)} // sent again
		}
		return refuse(peer.NamesExist, s.known(path)...)
	}
	if s.names.blocked(path) {
		return refuse(peer.NamesNotDir, s.namesAbove(path)...)
	}
	if r, ok := s.claims[path]; ok && s.cfg.Now().Before(r.until) {
		return refuse(peer.NamesExist)
	}
	e := m.Entry
	e.Token, e.Dead = m.Token, false
	n, e := s.settle(e)
	s.names.settle(n)
	s.hint(e)
	s.entrust(e)
	return peer.NamesMessage{Entries: []Entry{e}}
}

// entrust tells a new name to who becomes its home if this broker goes: a name must
// outlive the host that alone knows it. Nobody waits for that.
func (s *Service) entrust(e Entry) {
	if e.Transient || len(s.nodes) < 2 {
		return
	}
	others := slices.DeleteFunc(slices.Clone(s.nodes), func(node string) bool { return node == s.self.Node })
	m := peer.NamesMessage{Kind: peer.NamesPropose, Entries: []Entry{e}}
	s.net.Send(s.lives[peer.Home(e.Path, others)], m.Append(nil))
}

// hint tells the homes of directories that a transient name keeps what becomes of
// it: they would not know that these exist.
func (s *Service) hint(e Entry) {
	if !e.Transient {
		return
	}
	m := peer.NamesMessage{Kind: peer.NamesPropose, Entries: []Entry{e}}
	above(e.Path, func(p string) {
		home := s.home(p)
		if n := s.names.at(p); home != s.self && (n == nil || !n.alive()) {
			s.net.Send(home, m.Append(nil))
		}
	})
}

// existing returns how a path shows, to be changed, and whether it does.
func (s *Service) existing(path string) (Entry, bool) {
	if e := s.names.shows(path); e != nil {
		return *e, true
	}
	return Entry{}, false
}

func (s *Service) setAttr(ctx context.Context, from peer.ID, m *peer.NamesMessage) peer.NamesMessage {
	s.mu.Lock()
	e, ok := s.existing(m.Entry.Path)
	if !ok {
		defer s.mu.Unlock()
		return refuse(peer.NamesNotExist, s.known(m.Entry.Path)...)
	}
	old := e
	if m.Mask&peer.MaskPerm != 0 {
		e.Perm = m.Entry.Perm
	}
	if m.Mask&peer.MaskUID != 0 {
		e.UID = m.Entry.UID
	}
	if m.Mask&peer.MaskGID != 0 {
		e.GID = m.Entry.GID
	}
	return s.change(ctx, from, e, e == old)
}

func (s *Service) setMode(ctx context.Context, from peer.ID, m *peer.NamesMessage) peer.NamesMessage {
	s.mu.Lock()
	e, ok := s.existing(m.Entry.Path)
	code := peer.NamesOK
	switch {
	case !ok:
		code = peer.NamesNotExist
	case e.Dir:
		code = peer.NamesIsDir
	case e.Mode != m.Entry.Mode && s.arb.Open(e.Path):
		code = peer.NamesOpen
	}
	if code != peer.NamesOK {
		defer s.mu.Unlock()
		return refuse(code, s.known(m.Entry.Path)...)
	}
	same := e.Mode == m.Entry.Mode
	e.Mode = m.Entry.Mode
	return s.change(ctx, from, e, same)
}

// change decides that e is the state of its name, tells everybody, and answers. It is
// called with the lock held, and gives it back. A directory that nobody has made is
// made thereby.
func (s *Service) change(ctx context.Context, from peer.ID, e Entry, same bool) peer.NamesMessage {
	n := s.names.at(e.Path)
	if same && n.alive() {
		defer s.mu.Unlock()
		return peer.NamesMessage{Entries: []Entry{e}}
	}
	if e.Dir {
		e.Transient = false
	}
	n, e = s.settle(e)
	s.names.settle(n)
	s.mu.Unlock()
	if !e.Transient {
		s.tell(ctx, from, peer.NamesMessage{Entries: []Entry{e}})
	}
	return peer.NamesMessage{Entries: []Entry{e}}
}

func (s *Service) remove(ctx context.Context, from peer.ID, m *peer.NamesMessage) peer.NamesMessage {
	path := m.Entry.Path
	if m.Entry.Dir {
		s.pullAll(ctx) // whether it is empty is known only then
	}
	if ctx.Err() != nil {
		return refuse(peer.NamesNotHome)
	}
	s.mu.Lock()
	n := s.names.at(path)
	if n != nil && n.entry != nil && n.entry.Dead && n.entry.Token == m.Token {
		defer s.mu.Unlock()
		return peer.NamesMessage{Entries: []Entry{*n.entry}} // sent again
	}
	e, ok := s.existing(path)
	code := peer.NamesOK
	switch {
	case !ok:
		code = peer.NamesNotExist
	case e.Dir && !m.Entry.Dir:
		code = peer.NamesIsDir
	case !e.Dir && m.Entry.Dir:
		code = peer.NamesNotDir
	case e.Dir && !n.empty():
		code = peer.NamesNotEmpty
	}
	if code != peer.NamesOK {
		defer s.mu.Unlock()
		return refuse(code, s.known(path)...)
	}
	e.Dead, e.Token = true, m.Token
	return s.change(ctx, from, e, false)
}

// reservation keeps a path free for a rename.
type reservation struct {
	token uint64
	until time.Time
}

// claim decides whether a rename may have a path.
func (s *Service) claim(ctx context.Context, m *peer.NamesMessage) peer.NamesMessage {
	path := m.Entry.Path
	s.mu.Lock()
	e, ok := s.existing(path)
	s.mu.Unlock()
	if ok && e.Dir {
		s.pullAll(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok = s.existing(path)
	r, reserved := s.claims[path]
	reserved = reserved && r.token != m.Token && s.cfg.Now().Before(r.until)
	code := peer.NamesOK
	switch {
	case !ok && s.names.blocked(path):
		code = peer.NamesNotDir
	case reserved && m.Keep:
		code = peer.NamesExist
	case !ok || e.Token == m.Token:
	case m.Keep:
		code = peer.NamesExist
	case e.Dir && !m.Entry.Dir:
		code = peer.NamesIsDir
	case !e.Dir && m.Entry.Dir:
		code = peer.NamesNotDir
	case !e.Dir && s.arb.Open(path):
		code = peer.NamesOpen
	case e.Dir && !s.names.at(path).empty():
		code = peer.NamesNotEmpty
	}
	if code != peer.NamesOK {
		return refuse(code, s.known(path)...)
	}
	s.claims[path] = reservation{m.Token, s.cfg.Now().Add(2 * s.cfg.AckTimeout)}
	return peer.NamesMessage{}
}

// opens answers with the first of the paths that is open.
func (s *Service) opens(paths []string) peer.NamesMessage {
	for _, path := range paths {
		if s.arb.Open(path) {
			return peer.NamesMessage{Code: peer.NamesOpen, Paths: []string{path}}
		}
	}
	return peer.NamesMessage{}
}
