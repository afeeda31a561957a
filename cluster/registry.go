// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"slices"
	"strings"
	"sync"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// regKey is a registration in the whole cluster.
type regKey struct {
	id  peer.ID
	reg uint64
}

// streamKey is the other side of a stream: a registration, and in a fanout pipe one
// of its writers.
type streamKey struct {
	regKey
	writer uint64 // 0: not fanout
}

// registry is what a home knows: for each pipe that has its home here, which
// brokers have ends of it.
type registry struct {
	mu    sync.Mutex // guards below
	names map[string]*meeting
}

func newRegistry() *registry { return &registry{names: make(map[string]*meeting)} }

// meeting is where the ends of a pipe find each other.
type meeting struct {
	mode pipe.Mode
	regs map[regKey]*registration
}

type registration struct {
	ends peer.Ends
	// Exclusive: its partner has parted from it. It meets nobody any more.
	spent bool
}

// register notes that key has ends now, none: nothing. It returns who else has
// some, in a fixed order. first: no home has known this registration.
//
// Status Busy, Spent and Clash leave all as it was; for Clash the mode is that in
// which the pipe is open.
func (r *registry) register(name string, key regKey, ends peer.Ends, mode pipe.Mode, first bool) (peer.Status, pipe.Mode, []peer.Reg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.names[name]
	if m == nil {
		if ends == 0 {
			return peer.OK, mode, nil
		}
		m = &meeting{mode: mode, regs: make(map[regKey]*registration)}
		r.names[name] = m
	}
	if m.mode != mode && ends != 0 {
		if len(m.regs) > 0 && m.regs[key] == nil {
			return peer.Clash, m.mode, nil
		}
		m.mode = mode
	}
	if status := m.set(key, ends, first); status != peer.OK {
		return status, m.mode, nil
	}
	if len(m.regs) == 0 {
		delete(r.names, name)
	}
	return peer.OK, m.mode, m.others(key)
}

func (m *meeting) set(key regKey, ends peer.Ends, first bool) peer.Status {
	have := m.regs[key]
	if m.mode == pipe.Exclusive && ends != 0 {
		switch {
		case have != nil && have.spent:
			return peer.Spent
		case m.taken(key)&ends != 0 && !first && have == nil:
			return peer.Spent // its place was taken while no home knew of it
		case m.taken(key)&ends != 0:
			return peer.Busy
		}
	}
	switch {
	case ends == 0:
		delete(m.regs, key)
	case have == nil:
		m.regs[key] = &registration{ends: ends}
	default:
		have.ends = ends
	}
	return peer.OK
}

// taken is which ends others than key have.
func (m *meeting) taken(key regKey) (ends peer.Ends) {
	for k, have := range m.regs {
		if k != key && !have.spent {
			ends |= have.ends
		}
	}
	return ends
}

func (m *meeting) others(key regKey) (regs []peer.Reg) {
	if have := m.regs[key]; have == nil || have.spent {
		return nil
	}
	for k, have := range m.regs {
		if k != key && !have.spent {
			regs = append(regs, peer.Reg{ID: k.id, Number: k.reg, Ends: have.ends})
		}
	}
	slices.SortFunc(regs, func(a, b peer.Reg) int { return strings.Compare(a.Node, b.Node) })
	return regs
}

// part notes that the partner of an end of an exclusive pipe has parted from it: the name
// is a new pipe.
func (r *registry) part(name string, partner regKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.names[name]; m != nil && m.mode == pipe.Exclusive && m.regs[partner] != nil {
		m.regs[partner].spent = true
	}
}

// lose forgets all that a broker had. Its partners part from it for themselves: it may
// be only this broker that has lost it.
func (r *registry) lose(id peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, m := range r.names {
		for key := range m.regs {
			if key.id == id {
				delete(m.regs, key)
			}
		}
		if len(m.regs) == 0 {
			delete(r.names, name)
		}
	}
}

// retire forgets a name.
func (r *registry) retire(name string) {
	r.mu.Lock()
	delete(r.names, name)
	r.mu.Unlock()
}

// open reports whether anybody has an end of a pipe.
func (r *registry) open(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[name] != nil
}
