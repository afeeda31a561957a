// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

var _ broker.Names = (*Service)(nil)

// Find is broker.Names'. It costs a request and an answer.
func (s *Service) Find(ctx context.Context, path string) error {
	_, err := s.ask(ctx, peer.NamesMessage{Op: peer.NamesFind, Entry: Entry{Path: path}})
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, fs.ErrNotExist) {
		s.names.reshow(path)
		return wrap("find", path, err)
	}
	if n := s.names.at(path); n != nil && n.alive() && n.entry.Transient && s.home(path) != s.self {
		s.names.forget(n)
	}
	return wrap("find", path, err)
}

// List is broker.Names'. It asks every live broker what has changed.
func (s *Service) List(ctx context.Context, dir string) error {
	s.mu.Lock()
	s.flushDrops()
	s.mu.Unlock()
	s.pullAll(ctx)
	if ctx.Err() != nil {
		return wrap("list", dir, context.Cause(ctx))
	}
	if s.life.Err() != nil {
		return wrap("list", dir, ErrClosed)
	}
	return nil
}

// Make is broker.Names'. It costs a request and an answer, however many brokers
// there are, and that again for each directory above that is not known here. If the
// name exists it is in the tree when fs.ErrExist is returned.
func (s *Service) Make(ctx context.Context, e broker.Entry) error {
	if err := s.findAbove(ctx, e.Path); err != nil {
		return wrap("make", e.Path, err)
	}
	if !e.Transient {
		if err := s.makeReal(ctx, e.Path); err != nil {
			return wrap("make", e.Path, err)
		}
	}
	_, err := s.ask(ctx, peer.NamesMessage{Op: peer.NamesMake, Entry: Entry{
		Path: e.Path, Dir: e.Kind == broker.Dir, Transient: e.Transient, Mode: uint8(e.Mode),
		Perm: e.Owner.Perm, UID: e.Owner.UID, GID: e.Owner.GID,
	}})
	if err == nil || errors.Is(err, fs.ErrExist) {
		s.mu.Lock()
		s.names.reshow(e.Path)
		s.mu.Unlock()
	}
	return wrap("make", e.Path, err)
}

// findAbove asks for what is above path and not known here: it might be a pipe.
func (s *Service) findAbove(ctx context.Context, path string) error {
	var unknown []string
	s.mu.Lock()
	above(path, func(p string) {
		if s.names.shows(p) == nil {
			unknown = append(unknown, p)
		}
	})
	s.mu.Unlock()
	for _, p := range unknown {
		if err := s.Find(ctx, p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names.blocked(path) {
		return broker.ErrNotDir
	}
	return nil
}

// makeReal makes directories above path that are there because of what they hold
// ones that stay: somebody puts something of his own there.
func (s *Service) makeReal(ctx context.Context, path string) error {
	var implied []string
	s.mu.Lock()
	above(path, func(p string) {
		if n := s.names.at(p); n != nil && n.shown != nil && !n.alive() {
			implied = append(implied, p)
		}
	})
	s.mu.Unlock()
	for _, p := range implied {
		if err := s.Set(ctx, p, broker.Change{}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Set is broker.Names'; times in c are not shared.
func (s *Service) Set(ctx context.Context, path string, c broker.Change) error {
	m := peer.NamesMessage{Op: peer.NamesSet, Entry: Entry{Path: path}}
	for _, f := range []struct {
		from *uint32
		to   *uint32
		mask uint8
	}{{c.Perm, &m.Entry.Perm, peer.MaskPerm}, {c.UID, &m.Entry.UID, peer.MaskUID}, {c.GID, &m.Entry.GID, peer.MaskGID}} {
		if f.from != nil {
			*f.to = *f.from
			m.Mask |= f.mask
		}
	}
	_, err := s.ask(ctx, m)
	return wrap("set attributes of", path, err)
}

// SetMode is broker.Names'.
func (s *Service) SetMode(ctx context.Context, path string, mode pipe.Mode) error {
	_, err := s.ask(ctx, peer.NamesMessage{Op: peer.NamesMode, Entry: Entry{Path: path, Mode: uint8(mode)}})
	return wrap("set mode of", path, err)
}

// Remove is broker.Names'.
func (s *Service) Remove(ctx context.Context, path string, k broker.Kind) error {
	_, err := s.ask(ctx, peer.NamesMessage{Op: peer.NamesRemove, Entry: Entry{Path: path, Dir: k == broker.Dir}})
	return wrap("remove", path, err)
}

// Rename is broker.Names'. Errors: also ErrTooMany.
func (s *Service) Rename(ctx context.Context, from, to string, keep bool) error {
	if err := broker.CheckName(to); err != nil {
		return wrap("rename to", to, err)
	}
	if strings.HasPrefix(to, from+"/") {
		return wrap("rename", from, broker.ErrLoop)
	}
	if err := s.makeReal(ctx, to); err != nil {
		return wrap("rename", from, err)
	}
	_, err := s.ask(ctx, peer.NamesMessage{Op: peer.NamesRename, Entry: Entry{Path: from}, To: to, Keep: keep})
	return wrap("rename", from, err)
}

// Drop is broker.Names'.
func (s *Service) Drop(path string) {
	s.dropping.Lock()
	s.drops = append(s.drops, path)
	s.dropping.Unlock()
	s.rouse()
}

func wrap(what, path string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %q: %w", what, path, err)
	}
	return nil
}

// ask has the home of m.Entry.Path decide, and takes over the outcome. If the home
// goes or another broker is the home by now, that one is asked; the token makes
// sure that it counts as one request.
func (s *Service) ask(ctx context.Context, m peer.NamesMessage) ([]peer.NamesMessage, error) {
	if err := broker.CheckName(m.Entry.Path); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Limit, ErrSilent)
	defer cancel()
	m.Kind = peer.NamesAsk
	m.Token = rand.Uint64() | 1
	patience := s.cfg.Now().Add(s.cfg.AckTimeout)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.flushDrops()
		home, moved := s.home(m.Entry.Path), s.moved
		m.Entries = s.asksWith(&m)
		s.mu.Unlock()
		parts, err := s.askHome(ctx, home, m)
		switch {
		case err == nil && parts[0].Code != peer.NamesNotHome:
			return s.conclude(&m, parts)
		case err == nil:
			m.Force = !s.cfg.Now().Before(patience)
		case !errors.Is(err, errLost):
			return nil, err
		}
		if err := s.pause(ctx, moved, pause); err != nil {
			return nil, err
		}
	}
}

// How long a request waits before it is sent again to a home that was lost or that
// does not see itself as the home; a new view cuts it short.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

func (s *Service) pause(ctx context.Context, moved <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-moved:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.life.Done():
		return ErrClosed
	}
	return nil
}

func (s *Service) askHome(ctx context.Context, home peer.ID, m peer.NamesMessage) ([]peer.NamesMessage, error) {
	if s.life.Err() != nil {
		return nil, ErrClosed
	}
	if home == s.self {
		return []peer.NamesMessage{s.decide(ctx, s.self, &m)}, nil
	}
	return s.call(ctx, home, m, true)
}

// asksWith returns what the home should know to decide: what is above the name, as it
// may have been made a moment ago by way of another home, and the name itself
// where it has to exist.
func (s *Service) asksWith(m *peer.NamesMessage) []Entry {
	all := s.namesAbove(m.Entry.Path)
	if m.To != "" {
		all = append(all, s.namesAbove(m.To)...)
	}
	if m.Op != peer.NamesFind && m.Op != peer.NamesMake {
		if e := s.names.get(m.Entry.Path); e != nil {
			all = append(all, *e)
		}
	}
	return all
}

func (s *Service) namesAbove(path string) (all []Entry) {
	above(path, func(p string) {
		if e := s.names.get(p); e != nil && !e.Transient {
			all = append(all, *e)
		}
	})
	return all
}

// conclude takes over an answer.
func (s *Service) conclude(m *peer.NamesMessage, parts []peer.NamesMessage) ([]peer.NamesMessage, error) {
	code := parts[0].Code
	mine := code == peer.NamesOK && m.Op != peer.NamesFind
	s.mu.Lock()
	if m.Op == peer.NamesRename && code == peer.NamesOK {
		s.learnMove(m.Entry.Path, m.To, entriesOf(parts), mine)
	} else {
		s.learn(entriesOf(parts), mine)
	}
	s.mu.Unlock()
	return parts, errorOf(code)
}
