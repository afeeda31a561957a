// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"fmt"
	"slices"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// tie is what binds a pipe of this broker to its ends on other hosts. It lives
// while the pipe has ends here, or bytes under way. The core's alone.
type tie struct {
	c    *Cluster
	pipe *pipe.Pipe
	path string
	reg  uint64

	adrift   bool               // its name is gone: it meets nobody new
	entering [2]int             // opens under way: for reading, for writing
	home     peer.ID            // the broker that was told; zero: none
	told     peer.Ends          // what it was told
	waiting  []*broker.Entering // opens that need a round
	round    *round             // under way; nil: none

	ins  map[regKey]*inflow  // streams that bring bytes, by who writes them
	outs map[regKey]*outflow // streams that take bytes away, by who reads them
}

// round is one talk with the home and with those whom it names.
type round struct {
	entries []*broker.Entering
	left    int // talks that are not over
}

// Enter is broker.Peers'.
func (c *Cluster) Enter(p *pipe.Pipe, path string, e *broker.Entering) {
	c.events.post(func() { c.enter(p, path, e) })
}

// Leave is broker.Peers'. The round that e may be in goes on.
func (c *Cluster) Leave(p *pipe.Pipe, e *broker.Entering) {
	c.events.post(func() {
		if t := c.ties[p]; t != nil {
			t.count(e, -1)
			t.waiting = slices.DeleteFunc(t.waiting, func(x *broker.Entering) bool { return x == e })
			t.settle()
		}
	})
}

func (c *Cluster) enter(p *pipe.Pipe, path string, e *broker.Entering) {
	t := c.ties[p]
	if t == nil {
		c.lastReg++
		t = &tie{c: c, pipe: p, path: path, reg: c.lastReg, ins: make(map[regKey]*inflow), outs: make(map[regKey]*outflow)}
		c.ties[p], c.byReg[t.reg] = t, t
		p.Join(t)
	}
	t.count(e, +1)
	t.waiting = append(t.waiting, e)
	t.step()
}

func (t *tie) count(e *broker.Entering, n int) {
	if e.Read {
		t.entering[0] += n
	}
	if e.Write {
		t.entering[1] += n
	}
}

// Ends is the pipe's to call.
func (t *tie) Ends() { t.c.events.post(t.settle) }

// Starved is the pipe's to call.
func (t *tie) Starved() { t.c.events.post(t.starved) }

// ends is what this broker has of the pipe, opens under way included.
func (t *tie) ends() (ends peer.Ends) {
	r, w := t.pipe.Ends()
	if r+t.entering[0] > 0 {
		ends |= peer.Reads
	}
	if w+t.entering[1] > 0 {
		ends |= peer.Writes
	}
	return ends
}

func (t *tie) exclusive() bool { return t.pipe.Mode() == pipe.Exclusive }

// step begins a round if one is needed and none is under way: opens wait for it, or
// the pipe has another home than the one that was told.
func (t *tie) step() {
	if t.round != nil {
		return
	}
	want, home := t.ends(), t.c.homeOf(t.path)
	known := t.home == home && t.told&want == want
	if t.adrift || known && !t.exclusive() {
		t.admit(t.waiting, nil)
		t.waiting = nil
		return
	}
	if want == 0 || known && len(t.waiting) == 0 {
		return
	}
	r := &round{entries: t.waiting}
	t.waiting = nil
	if t.exclusive() && len(r.entries) > 1 { // each may fail for itself
		r.entries, t.waiting = r.entries[:1], r.entries[1:]
	}
	t.round = r
	t.register(home, want)
}

func (t *tie) register(home peer.ID, want peer.Ends) {
	first := t.told == 0
	if t.home != home && t.home != (peer.ID{}) {
		t.tell(t.home, 0)
	}
	before := t.told
	t.home, t.told = home, want
	m := &peer.Message{Kind: peer.Register, Name: t.path, Reg: t.reg, Ends: want, Mode: uint8(t.pipe.Mode()), First: first}
	if home == t.c.cfg.Self {
		status, mode, regs := t.c.registry.register(t.path, regKey{home, t.reg}, want, t.pipe.Mode(), first)
		t.registered(&peer.Message{Status: status, Mode: uint8(mode), Regs: regs}, nil, before)
		return
	}
	t.c.ask(home, m, func(m *peer.Message, err error) { t.registered(m, err, before) })
}

// registered goes on with a round when the home has answered.
func (t *tie) registered(m *peer.Message, err error, before peer.Ends) {
	r := t.round
	if err != nil { // the home was lost: ask the next
		t.home, t.round = peer.ID{}, nil
		t.waiting = append(r.entries, t.waiting...)
		t.step()
		return
	}
	switch m.Status {
	case peer.OK:
	case peer.Spent:
		t.pipe.Spend()
		t.told = before
		t.conclude(pipe.ErrSpent)
		return
	case peer.Clash:
		t.told = before
		t.conclude(fmt.Errorf("%w: it is open elsewhere as %v", pipe.ErrBusy, pipe.Mode(m.Mode)))
		return
	default:
		t.told = before
		t.conclude(pipe.ErrBusy)
		return
	}
	r.left = 1 // this call itself
	for _, other := range m.Regs {
		t.meet(other)
	}
	t.talked()
}

// meet sees to it that there are the streams which another broker's ends and ours
// want.
func (t *tie) meet(other peer.Reg) {
	key := regKey{other.ID, other.Number}
	if t.told&peer.Reads != 0 && other.Ends&peer.Writes != 0 && t.wantsIn(key) {
		t.round.left++
		t.c.subscribe(t, key, false, t.talked)
	}
	if t.told&peer.Writes != 0 && other.Ends&peer.Reads != 0 && !t.outs[key].keep() {
		t.round.left++
		m := &peer.Message{Kind: peer.Offer, Reg: t.reg, To: key.reg}
		t.c.ask(key.id, m, func(*peer.Message, error) { t.talked() })
	}
}

// wantsIn reports that no stream stands that brings key's bytes.
func (t *tie) wantsIn(key regKey) bool {
	f := t.ins[key]
	return f == nil || f.ended
}

// talked counts that one of the round's talks is over.
func (t *tie) talked() {
	if t.round.left--; t.round.left == 0 {
		t.conclude(nil)
	}
}

// conclude ends the round: its opens may go on, or fail.
func (t *tie) conclude(err error) {
	r := t.round
	t.round = nil
	t.admit(r.entries, err)
	t.step()
	t.settle()
}

func (t *tie) admit(entries []*broker.Entering, err error) {
	for _, e := range entries {
		if e.Decide() {
			e.Done(err)
			t.count(e, -1)
		}
	}
	if len(entries) > 0 {
		t.settle()
	}
}

// settle makes the cluster agree with what the pipe has: it tells the home of ends
// that have gone, ends streams that nobody reads, and lets those flow that waited
// for their writer.
func (t *tie) settle() {
	want := t.ends()
	if want&peer.Reads == 0 {
		for _, f := range t.ins {
			f.finish()
		}
	}
	if gone := t.told &^ want; gone != 0 && t.round == nil {
		t.told = want
		if t.home != (peer.ID{}) {
			t.tell(t.home, want)
		}
		if want == 0 {
			t.home = peer.ID{}
		}
	}
	if t.entering[1] == 0 {
		for _, o := range t.outs {
			o.begin()
		}
	}
	if want == 0 && len(t.ins)+len(t.outs)+len(t.waiting) == 0 && t.round == nil {
		delete(t.c.ties, t.pipe)
		delete(t.c.byReg, t.reg)
	}
}

// tell is a registration that wants no answer.
func (t *tie) tell(home peer.ID, ends peer.Ends) {
	if home == t.c.cfg.Self {
		t.c.registry.register(t.path, regKey{home, t.reg}, ends, t.pipe.Mode(), false)
		return
	}
	t.c.send(home, &peer.Message{Kind: peer.Register, Name: t.path, Reg: t.reg, Ends: ends, Mode: uint8(t.pipe.Mode())})
}

func (c *Cluster) serveOffer(from peer.ID, m *peer.Message) {
	answer := func() { c.send(from, &peer.Message{Kind: peer.Offered, Req: m.Req}) }
	t, key := c.byReg[m.To], regKey{from, m.Reg}
	if t == nil || t.ends()&peer.Reads == 0 || !t.wantsIn(key) {
		answer()
		return
	}
	c.subscribe(t, key, true, func() {})
	answer()
}
