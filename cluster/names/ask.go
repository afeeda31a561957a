// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// question is a request that waits for the home's decision.
type question struct {
	m     peer.NamesMessage
	to    peer.ID
	again bool // it was sent before, to a broker that was lost
	done  chan peer.NamesMessage
}

// ask puts a question to the home of the name that it is about, and to the next one
// if that is lost.
func (s *Service) ask(ctx context.Context, m peer.NamesMessage) (peer.NamesMessage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.AskTimeout,
		fmt.Errorf("the broker that decides about %q does not answer: %w", m.Entries[0].Path, context.DeadlineExceeded))
	defer cancel()
	s.mu.Lock()
	s.lastReq++
	m.Req = s.lastReq
	q := &question{m: m, done: make(chan peer.NamesMessage, 1)}
	s.asked[m.Req] = q
	s.route(q)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.asked, m.Req)
		s.mu.Unlock()
	}()
	select {
	case answer := <-q.done:
		return answer, nil
	case <-ctx.Done():
		return m, context.Cause(ctx)
	case <-s.ctx.Done():
		return m, ErrClosed
	}
}

// route sends a question to its home, or decides it here. Called with the lock held.
func (s *Service) route(q *question) {
	q.to = s.homeOf(q.m.Entries[0].Path)
	if q.to != s.self {
		s.cfg.Net.Send(q.to, q.m.Append(nil))
		return
	}
	s.resolve(&q.m, s.self, func(answer peer.NamesMessage) { s.settled(q, answer) })
}

// settled gives a question its answer. What was decided is known here by then.
// Called with the lock held.
func (s *Service) settled(q *question, answer peer.NamesMessage) {
	for _, e := range answer.Entries {
		switch {
		case !e.Transient:
			s.accept(e)
		case e.Dead:
			s.cfg.Arbiter.Retire(e.Path)
			s.tree.Erase(e.Path)
		case s.table.visible(e.Path) == nil && !s.table.hidden(e.Path):
			s.tree.Apply(entryOf(&e))
		}
	}
	if q.m.Kind == peer.Make && answer.Status == peer.NameOK && !q.m.Entries[0].Transient {
		s.homes[q.m.Entries[0].Path] = q.to.Node
	}
	// A home that has died may have told its successor of what was asked before.
	if q.again && q.m.Kind == peer.Make && answer.Status == peer.NameExists && sameName(&q.m.Entries[0], answer.Entries) {
		answer.Status = peer.NameOK
	}
	if q.again && q.m.Kind == peer.Remove && answer.Status == peer.NameMissing {
		answer.Status = peer.NameOK
	}
	select {
	case q.done <- answer:
	default:
	}
}

func sameName(want *peer.Entry, have []peer.Entry) bool {
	if len(have) != 1 {
		return false
	}
	e := have[0]
	e.Time, e.Node = want.Time, want.Node
	return e == *want
}

// Find is broker.Names'.
func (s *Service) Find(ctx context.Context, name string) error {
	answer, err := s.ask(ctx, peer.NamesMessage{Kind: peer.Find, Entries: []peer.Entry{{Path: name}}})
	if err != nil {
		return err
	}
	return errOf(answer.Status, name)
}

// Make is broker.Names'.
func (s *Service) Make(ctx context.Context, e broker.Entry) error {
	answer, err := s.ask(ctx, peer.NamesMessage{Kind: peer.Make, Entries: []peer.Entry{entryFrom(e)}})
	if err == nil {
		err = errOf(answer.Status, e.Path)
	}
	if err == nil && !e.Transient {
		s.keepDirs(ctx, e.Path)
	}
	return err
}

// keepDirs makes the directories that a client's open had made, and that hold
// something of their own now, known to all. It is no failure if that fails: the
// living keep their directories.
func (s *Service) keepDirs(ctx context.Context, name string) {
	for dir := range above(name) {
		s.mu.Lock()
		known := s.table.get(dir) != nil
		s.mu.Unlock()
		if known {
			return
		}
		e := peer.Entry{Path: dir, Perm: 0o755}
		if _, err := s.ask(ctx, peer.NamesMessage{Kind: peer.Make, Entries: []peer.Entry{e}}); err != nil {
			s.log.Warn("directory not told", "name", dir, "error", err)
			return
		}
	}
}

// Set is broker.Names'.
func (s *Service) Set(ctx context.Context, name string, c broker.Change) error {
	m := peer.NamesMessage{Kind: peer.Set, Entries: []peer.Entry{{Path: name}}}
	for i, f := range []struct{ from, to *uint32 }{{c.Perm, &m.Entries[0].Perm}, {c.UID, &m.Entries[0].UID}, {c.GID, &m.Entries[0].GID}} {
		if f.from != nil {
			*f.to = *f.from
			m.Fields |= 1 << i
		}
	}
	answer, err := s.ask(ctx, m)
	if err != nil {
		return err
	}
	return errOf(answer.Status, name)
}

// SetMode is broker.Names'.
func (s *Service) SetMode(ctx context.Context, name string, m pipe.Mode) error {
	answer, err := s.ask(ctx, peer.NamesMessage{Kind: peer.SetMode, Entries: []peer.Entry{{Path: name, Mode: uint8(m)}}})
	if err != nil {
		return err
	}
	return errOf(answer.Status, name)
}

// Remove is broker.Names'. A directory is looked at first: what others have made in
// it may not be known here.
func (s *Service) Remove(ctx context.Context, name string, k broker.Kind) error {
	if k == broker.Dir {
		if err := s.List(ctx, name); err != nil {
			return err
		}
		s.mu.Lock()
		full := s.table.below[name] > 0
		s.mu.Unlock()
		if full {
			return broker.ErrNotEmpty
		}
	}
	return s.remove(ctx, name, k == broker.Pipe)
}

func (s *Service) remove(ctx context.Context, name string, pipe bool) error {
	answer, err := s.ask(ctx, peer.NamesMessage{Kind: peer.Remove, Entries: []peer.Entry{{Path: name, Pipe: pipe}}})
	if err != nil {
		return err
	}
	return errOf(answer.Status, name)
}

// Rename is broker.Names'. A name's home decides about it alone, so a rename is the
// making of one name and the removal of another: who looks between the two sees
// both. A directory moves entry by entry, from the top.
func (s *Service) Rename(ctx context.Context, from, to string, keep bool) error {
	entries, err := s.moving(ctx, from)
	if err != nil {
		return err
	}
	for i, e := range entries {
		e.Path = path.Join(to, strings.TrimPrefix(e.Path, from))
		m := peer.NamesMessage{Kind: peer.Make, Replace: !keep && i == 0, Entries: []peer.Entry{e}}
		answer, err := s.ask(ctx, m)
		if err == nil {
			err = errOf(answer.Status, e.Path)
		}
		if err != nil && !(i > 0 && errors.Is(err, fs.ErrExist)) {
			return err
		}
	}
	for _, e := range slices.Backward(entries) {
		if err := s.remove(ctx, e.Path, e.Pipe); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// moving returns what a rename moves: a name and all below it, none of it open.
func (s *Service) moving(ctx context.Context, from string) (entries []peer.Entry, err error) {
	if err := s.List(ctx, from); err != nil {
		return nil, err
	}
	s.mu.Lock()
	below := s.table.under(from)
	s.mu.Unlock()
	for _, e := range append([]peer.Entry{{Path: from}}, below...) {
		answer, err := s.ask(ctx, peer.NamesMessage{Kind: peer.Check, Entries: []peer.Entry{{Path: e.Path}}})
		if err == nil {
			err = errOf(answer.Status, e.Path)
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, answer.Entries...)
	}
	return entries, nil
}

// List is broker.Names'. A broker that does not answer in time is left out: what it
// has decided of late will come.
func (s *Service) List(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	s.pull(ctx, s.others(), dir, true)
	s.mu.Lock()
	for path, p := range s.transient {
		if inside(path, dir) && s.passes(p) && !s.table.hidden(path) {
			s.tree.Apply(entryOf(&p.Entry))
		}
	}
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// Drop is broker.Names'.
func (s *Service) Drop(name string) {
	s.dropping.Lock()
	s.dropped = append(s.dropped, name)
	s.dropping.Unlock()
	select {
	case s.drops <- struct{}{}:
	default:
	}
}

func (s *Service) sendDrops() {
	s.dropping.Lock()
	dropped := s.dropped
	s.dropped = nil
	s.dropping.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range dropped {
		m := peer.NamesMessage{Kind: peer.Drop, Entries: []peer.Entry{{Path: name}}}
		if home := s.homeOf(name); home == s.self {
			s.drop(name)
		} else {
			s.cfg.Net.Send(home, m.Append(nil))
		}
	}
}

// drop forgets a transient name of which this broker is the home, unless others have
// it open. Called with the lock held.
func (s *Service) drop(name string) {
	if p := s.transient[name]; p != nil && !s.cfg.Arbiter.Open(name) {
		p.made = time.Time{}
		if !s.passes(p) {
			delete(s.transient, name)
		}
	}
}
