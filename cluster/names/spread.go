// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// telling is news that other brokers are hearing.
type telling struct {
	left  map[peer.ID]bool // who has not said so
	timer *time.Timer
	done  func()
}

// spread tells brokers of entries, but this one and who asked, and calls done when
// all have heard, have gone, or had their time. It is called with the lock held, and
// so is done.
func (s *Service) spread(news []peer.Entry, to []peer.ID, asker peer.ID, done func()) {
	left := make(map[peer.ID]bool)
	if len(news) > 0 {
		for _, id := range to {
			if id != s.self && id != asker {
				left[id] = true
			}
		}
	}
	if len(left) == 0 {
		done()
		return
	}
	s.lastReq++
	req := s.lastReq
	t := &telling{left: left, done: done}
	s.tells[req] = t
	t.timer = time.AfterFunc(s.cfg.AckTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.tells[req] == t {
			s.log.Warn("brokers have not heard of a change in time", "name", news[0].Path, "brokers", len(t.left))
			delete(s.tells, req)
			done()
		}
	})
	b := (&peer.NamesMessage{Kind: peer.Tell, Req: req, Entries: news}).Append(nil)
	for id := range left {
		s.cfg.Net.Send(id, b)
	}
}

// heard notes that a broker knows, or has gone. Called with the lock held.
func (s *Service) heard(req uint64, id peer.ID) {
	t := s.tells[req]
	if t == nil || !t.left[id] {
		return
	}
	if delete(t.left, id); len(t.left) == 0 {
		t.timer.Stop()
		delete(s.tells, req)
		t.done()
	}
}

// Receive is cluster.Passenger's.
func (s *Service) Receive(from peer.ID, payload []byte) {
	m, err := peer.DecodeNames(payload)
	if err != nil {
		s.log.Error("message of the map of names not understood", "peer", from, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Kind {
	case peer.Decided, peer.Changes:
		if q := s.asked[m.Req]; q != nil && q.to == from {
			s.answered(q, m)
		}
	case peer.Tell:
		s.hear(from, &m)
	case peer.Heard:
		s.heard(m.Req, from)
	case peer.Pull:
		s.servePull(from, &m)
	case peer.Drop:
		for _, e := range m.Entries {
			s.drop(e.Path)
		}
	default:
		s.serveQuestion(from, &m)
	}
}

func (s *Service) answered(q *question, m peer.NamesMessage) {
	if m.Kind == peer.Decided {
		s.settled(q, m)
		return
	}
	for _, e := range m.Entries {
		if !e.Transient {
			s.accept(e)
		} else if s.table.visible(e.Path) == nil && !s.table.hidden(e.Path) {
			s.tree.Apply(entryOf(&e))
		}
	}
	s.cursors[q.to] = m.Cursor
	select {
	case q.done <- m:
	default:
	}
}

func (s *Service) hear(from peer.ID, m *peer.NamesMessage) {
	for _, e := range m.Entries {
		switch {
		case !e.Transient:
			s.accept(e)
		case e.Dead && s.table.visible(e.Path) == nil:
			s.cfg.Arbiter.Retire(e.Path)
			s.tree.Erase(e.Path)
		}
	}
	if m.Req != 0 {
		s.cfg.Net.Send(from, (&peer.NamesMessage{Kind: peer.Heard, Req: m.Req}).Append(nil))
	}
}

func (s *Service) serveQuestion(from peer.ID, m *peer.NamesMessage) {
	key := asker{from, m.Req}
	if answer, ok := s.answers.by[key]; ok {
		s.cfg.Net.Send(from, answer.Append(nil))
		return
	}
	s.resolve(m, from, func(answer peer.NamesMessage) {
		s.answers.keep(key, answer)
		s.cfg.Net.Send(from, answer.Append(nil))
	})
}

// pullSize is how many entries a message of changes has.
const pullSize = 512

func (s *Service) servePull(from peer.ID, m *peer.NamesMessage) {
	answer := peer.NamesMessage{Kind: peer.Changes, Req: m.Req}
	answer.Entries, answer.Cursor, answer.More = s.table.since(m.Cursor, pullSize)
	if m.List && !answer.More {
		for path, p := range s.transient {
			if s.passes(p) && inside(path, m.Dir) {
				answer.Entries = append(answer.Entries, p.Entry)
			}
		}
	}
	s.cfg.Net.Send(from, answer.Append(nil))
}

// inside reports that a path lies in a directory, or below it.
func inside(path, dir string) bool { return dir == "" || strings.HasPrefix(path, dir+"/") }

// pull asks brokers for what has changed there, and waits until all have answered or
// the context ends.
func (s *Service) pull(ctx context.Context, from []peer.ID, dir string, list bool) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	s.mu.Lock()
	var asked []*question
	for _, id := range from {
		s.lastReq++
		q := &question{to: id, done: make(chan peer.NamesMessage, 1)}
		q.m = peer.NamesMessage{Kind: peer.Pull, Req: s.lastReq, Cursor: s.cursors[id], Dir: dir, List: list}
		s.asked[q.m.Req] = q
		asked = append(asked, q)
		s.cfg.Net.Send(id, q.m.Append(nil))
	}
	s.mu.Unlock()
	var rest []peer.ID
	for _, q := range asked {
		select {
		case m := <-q.done:
			if m.More {
				rest = append(rest, q.to)
			}
		case <-ctx.Done():
		}
		s.mu.Lock()
		delete(s.asked, q.m.Req)
		s.mu.Unlock()
	}
	if len(rest) > 0 && ctx.Err() == nil {
		s.pull(ctx, rest, dir, list)
	}
}

// Lost is cluster.Passenger's.
func (s *Service) Lost(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for req := range s.tells {
		s.heard(req, id)
	}
	s.reroute(id)
}

// reroute asks again what a lost broker was asked. Called with the lock held.
func (s *Service) reroute(id peer.ID) {
	for _, q := range s.asked {
		if q.to != id {
			continue
		}
		if q.m.Kind == peer.Pull {
			select {
			case q.done <- peer.NamesMessage{}:
			default:
			}
			continue
		}
		q.again = true
		s.route(q)
	}
}

// ViewChanged is cluster.Passenger's.
func (s *Service) ViewChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.nodes
	s.live = s.cfg.Net.Live()
	s.nodes = nil
	alive := make(map[peer.ID]bool)
	for _, id := range s.live {
		s.nodes = append(s.nodes, id.Node)
		alive[id] = true
	}
	for id := range s.cursors {
		if !alive[id] {
			delete(s.cursors, id)
		}
	}
	for _, q := range s.asked {
		if q.to != s.self && !alive[q.to] {
			s.reroute(q.to)
		}
	}
	s.handOver(before)
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// handOver makes entries known to their new homes: those that were made here, and
// those that this broker is to look after since who decided them has gone. Called
// with the lock held.
func (s *Service) handOver(before []string) {
	if len(before) == 0 {
		return
	}
	alive := make(map[string]bool)
	for _, node := range s.nodes {
		alive[node] = true
	}
	batches := make(map[string][]peer.Entry)
	for path, r := range s.table.entries {
		home := peer.Home(path, s.nodes)
		if home == s.self.Node || home == peer.Home(path, before) {
			continue
		}
		mine := s.homes[path] != "" || r.Node == s.self.Node
		if !mine && !alive[r.Node] {
			mine = s.next(path, home) == s.self.Node
		}
		if mine {
			batches[home] = append(batches[home], r.Entry)
		}
	}
	for _, id := range s.live {
		for list := batches[id.Node]; len(list) > 0; {
			n := min(len(list), pullSize)
			s.cfg.Net.Send(id, (&peer.NamesMessage{Kind: peer.Tell, Entries: list[:n]}).Append(nil))
			list = list[n:]
		}
	}
}

// next is who would be the home of a path without one node.
func (s *Service) next(path, without string) string {
	var rest []string
	for _, node := range s.nodes {
		if node != without {
			rest = append(rest, node)
		}
	}
	return peer.Home(path, rest)
}
