// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// resolve decides a question and calls done with the answer once those who must know
// of it do. Called with the lock held, and so is done.
func (s *Service) resolve(m *peer.NamesMessage, asker peer.ID, done func(peer.NamesMessage)) {
	answer, news := s.decide(m)
	to := s.live
	if len(news) == 0 && m.Kind == peer.Make && answer.Status == peer.NameOK && !m.Entries[0].Transient {
		// Who does not know a new name asks. But it must outlive its home.
		news = answer.Entries
		to = s.deputy(m.Entries[0].Path)
	}
	s.spread(news, to, asker, func() { done(answer) })
}

// deputy returns the broker that becomes the home of a path if this one goes.
func (s *Service) deputy(path string) []peer.ID {
	node := s.next(path, s.self.Node)
	for i, id := range s.live {
		if id.Node == node {
			return s.live[i : i+1]
		}
	}
	return nil
}

// decide is what a home does with a question. It returns the answer, and what all
// other brokers must hear before it is given. Called with the lock held.
func (s *Service) decide(m *peer.NamesMessage) (answer peer.NamesMessage, news []peer.Entry) {
	answer = peer.NamesMessage{Kind: peer.Decided, Req: m.Req}
	if len(m.Entries) != 1 {
		answer.Status = peer.NameMissing
		return answer, nil
	}
	e := m.Entries[0]
	have := s.table.visible(e.Path)
	passing := s.transient[e.Path]
	if have == nil && s.passes(passing) {
		have = &passing.Entry
	}
	if m.Kind == peer.Make {
		return s.decideMake(answer, m, e, have)
	}
	if have == nil {
		answer.Status = peer.NameMissing
		return answer, nil
	}
	next := *have
	switch m.Kind {
	case peer.Find:
		answer.Entries = []peer.Entry{next}
		return answer, nil
	case peer.Check:
		if have.Pipe && s.cfg.Arbiter.Open(e.Path) {
			answer.Status = peer.NameOpen
		}
		answer.Entries = []peer.Entry{next}
		return answer, nil
	case peer.Remove:
		if answer.Status = s.removable(have, e.Pipe); answer.Status != peer.NameOK {
			return answer, nil
		}
		next.Dead = true
	case peer.SetMode:
		if !have.Pipe {
			answer.Status = peer.NameIsDir
			return answer, nil
		}
		if have.Mode != e.Mode && s.cfg.Arbiter.Open(e.Path) {
			answer.Status = peer.NameOpen
			return answer, nil
		}
		next.Mode = e.Mode
	case peer.Set:
		next = changed(next, &e, m.Fields)
	}
	if have.Transient {
		return s.decideTransient(answer, next)
	}
	answer.Entries = []peer.Entry{s.stamp(next)}
	return answer, answer.Entries
}

func changed(e peer.Entry, to *peer.Entry, fields uint8) peer.Entry {
	if fields&1 != 0 {
		e.Perm = to.Perm
	}
	if fields&2 != 0 {
		e.UID = to.UID
	}
	if fields&4 != 0 {
		e.GID = to.GID
	}
	return e
}

func (s *Service) removable(have *peer.Entry, pipe bool) peer.NamesStatus {
	switch {
	case pipe && !have.Pipe:
		return peer.NameIsDir
	case !pipe && have.Pipe:
		return peer.NameNotDir
	case s.table.below[have.Path] > 0:
		return peer.NameNotEmpty
	}
	return peer.NameOK
}

// decideMake makes a name. Nobody else has to hear of it: who does not know it asks.
func (s *Service) decideMake(answer peer.NamesMessage, m *peer.NamesMessage, e peer.Entry, have *peer.Entry) (peer.NamesMessage, []peer.Entry) {
	switch {
	case have != nil && !m.Replace:
		answer.Status = peer.NameExists
		answer.Entries = []peer.Entry{*have}
		return answer, nil
	case have != nil && have.Pipe && s.cfg.Arbiter.Open(e.Path):
		answer.Status = peer.NameOpen
		return answer, nil
	case have != nil && s.table.below[e.Path] > 0:
		answer.Status = peer.NameNotEmpty
		return answer, nil
	case e.Transient:
		s.transient[e.Path] = &passing{e, time.Now()}
		answer.Entries = []peer.Entry{e}
		return answer, nil
	}
	e.Dead = false
	answer.Entries = []peer.Entry{s.stamp(e)}
	if have != nil {
		return answer, answer.Entries // what others know is wrong now
	}
	return answer, nil
}

// decideTransient changes a name that only its home knows.
func (s *Service) decideTransient(answer peer.NamesMessage, next peer.Entry) (peer.NamesMessage, []peer.Entry) {
	answer.Entries = []peer.Entry{next}
	if !next.Dead {
		s.transient[next.Path].Entry = next
		return answer, nil
	}
	delete(s.transient, next.Path)
	s.cfg.Arbiter.Retire(next.Path)
	return answer, answer.Entries // whoever has it open
}

// stamp makes a decision this broker's, now, and keeps it.
func (s *Service) stamp(e peer.Entry) peer.Entry {
	e.Time, e.Node, e.Transient = s.clock.next(), s.self.Node, false
	s.accept(e)
	return e
}

// entryOf and entryFrom turn entries of the wire into the broker's and back.
func entryOf(e *peer.Entry) broker.Entry {
	b := broker.Entry{Path: e.Path, Kind: broker.Dir, Mode: pipe.Mode(e.Mode), Transient: e.Transient,
		Owner: broker.Owner{Perm: e.Perm, UID: e.UID, GID: e.GID}}
	if e.Pipe {
		b.Kind = broker.Pipe
	}
	return b
}

func entryFrom(b broker.Entry) peer.Entry {
	return peer.Entry{Path: b.Path, Pipe: b.Kind == broker.Pipe, Mode: uint8(b.Mode), Perm: b.Owner.Perm,
		UID: b.Owner.UID, GID: b.Owner.GID, Transient: b.Transient}
}

// answers remembers what was decided of late: a question that is asked again, since
// the session was lost before the answer came, gets the same.
type answers struct {
	by    map[asker]peer.NamesMessage
	order []asker
}

type asker struct {
	id  peer.ID
	req uint64
}

const keepAnswers = 1024

func (a *answers) init() { a.by = make(map[asker]peer.NamesMessage) }

func (a *answers) keep(key asker, m peer.NamesMessage) {
	if len(a.order) == keepAnswers {
		delete(a.by, a.order[0])
		a.order = a.order[1:]
	}
	a.by[key] = m
	a.order = append(a.order, key)
}
