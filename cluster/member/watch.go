// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"cmp"
	"slices"
	"sync"

	"github.com/hashicorp/serf/serf"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// departures are the brokers that have said goodbye since the last view. Status
// alone would not do: one that is back already is alive again.
type departures struct {
	mu  sync.Mutex
	ids map[peer.ID]bool // guarded by mu
}

func (d *departures) add(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = make(map[peer.ID]bool)
	}
	d.ids[id] = true
}

func (d *departures) take() map[peer.ID]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := d.ids
	d.ids = nil
	return ids
}

// drain takes serf's events at once: while it cannot deliver one it holds its
// locks. An event only says that something has changed; what is so is what
// serf.Members says.
func (m *Membership) drain() {
	for {
		select {
		case e := <-m.events:
			me, ok := e.(serf.MemberEvent)
			if !ok {
				continue
			}
			if me.Type == serf.EventMemberLeave {
				for _, s := range me.Members {
					if b, ok := m.broker(s); ok {
						m.left.add(b.ID)
					}
				}
			}
			m.kick()
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *Membership) kick() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// watch hands over views until the membership ends.
func (m *Membership) watch() {
	m.hand(m.reconcile())
	for {
		select {
		case <-m.changed:
			if v, changed := m.reconcileChange(); changed {
				m.hand(v)
			}
		case <-m.serf.ShutdownCh():
			if m.ctx.Err() == nil {
				m.cfg.Log.Error("membership ended by itself: restart this broker")
				m.mu.Lock()
				m.err = ErrEnded
				m.mu.Unlock()
				m.ended()
			}
			return
		case <-m.ctx.Done():
			return
		}
	}
}

// broker is a serf member as a Member; false if it is none that counts.
func (m *Membership) broker(s serf.Member) (Member, bool) {
	b, err := memberOf(s.Name, ipPort(s.Addr, s.Port).String(), s.Tags)
	return b, err == nil && b.Version == m.cfg.Version
}

// reconcile makes the view of what serf says now, whatever the events were.
func (m *Membership) reconcile() View {
	left := m.left.take()
	var v View
	for _, s := range m.serf.Members() {
		b, ok := m.broker(s)
		switch {
		case !ok || s.Name == m.cfg.Node:
		case isLive(s.Status):
			v.Members = append(v.Members, b)
		case s.Status == serf.StatusLeft:
			if left == nil {
				left = make(map[peer.ID]bool)
			}
			left[b.ID] = true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v.Members = append(v.Members, m.self)
	slices.SortFunc(v.Members, func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
	for _, was := range m.members {
		if has(v.Members, was.ID) {
			continue
		}
		reason := Failed
		if left[was.ID] {
			reason = Left
		}
		v.Gone = append(v.Gone, Departure{was, reason})
	}
	return v
}

// has reports whether members, in the order of their nodes, has id.
func has(members []Member, id peer.ID) bool {
	i, ok := slices.BinarySearchFunc(members, id.Node, func(b Member, node string) int { return cmp.Compare(b.Node, node) })
	return ok && members[i].ID == id
}

// reconcileChange is reconcile, and whether anything has changed.
func (m *Membership) reconcileChange() (View, bool) {
	v := m.reconcile()
	m.mu.Lock()
	defer m.mu.Unlock()
	return v, !slices.Equal(v.Members, m.members)
}

// hand makes v what Members returns, and hands it over.
func (m *Membership) hand(v View) {
	m.mu.Lock()
	before := m.members
	m.members = slices.Clone(v.Members)
	m.mu.Unlock()
	for _, g := range v.Gone {
		if g.Reason == Left {
			m.cfg.Log.Info("broker left", "peer", g.ID, "addr", g.Addr)
		} else {
			m.cfg.Log.Warn("broker failed: it does not answer, or was restarted", "peer", g.ID, "addr", g.Addr)
		}
	}
	for _, b := range v.Members {
		if !has(before, b.ID) {
			m.cfg.Log.Info("broker joined", "peer", b.ID, "addr", b.Addr, "endpoint", b.Endpoint)
		}
	}
	m.joiner.saw(v)
	m.cfg.Changed(v)
}
