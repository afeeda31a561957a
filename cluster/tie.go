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

	contended bool // several sets of readers want what is written here

	adrift   bool               // its name is gone: it meets nobody new
	entering [2]int             // opens under way: for reading, for writing
	home     peer.ID            // the broker that was told; zero: none
	told     peer.Ends          // what it was told
	waiting  []*broker.Entering // opens that need a round
	round    *round             // under way; nil: none

	ins  map[streamKey]*inflow  // streams that bring bytes, by who writes them
	outs map[streamKey]*outflow // streams that take bytes away, by who reads them, and our writer

	voices    map[uint64]*pipe.Voice // fanout: our writers, also those that are about to open
	lastVoice uint64
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
			t.mute(e)
			t.waiting = slices.DeleteFunc(t.waiting, func(x *broker.Entering) bool { return x == e })
			t.settle()
		}
	})
}

func (c *Cluster) enter(p *pipe.Pipe, path string, e *broker.Entering) {
	t := c.ties[p]
	if t == nil {
		c.lastReg++
		t = &tie{c: c, pipe: p, path: path, reg: c.lastReg, ins: make(map[streamKey]*inflow), outs: make(map[streamKey]*outflow), voices: make(map[uint64]*pipe.Voice)}
		c.ties[p], c.byReg[t.reg] = t, t
		p.Join(t)
	}
	t.count(e, +1)
	if e.Write && p.Mode() == pipe.Fanout {
		t.lastVoice++
		e.Voice = new(pipe.Voice)
		t.voices[t.lastVoice] = e.Voice
	}
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

// mute says that e's writer, if it has one, has not opened.
func (t *tie) mute(e *broker.Entering) {
	if e.Voice != nil {
		t.pipe.Mute(e.Voice)
	}
}

// oneByOne reports that an open needs a round of its own: it may fail for itself, or
// its writer has to be offered.
func (t *tie) oneByOne() bool {
	return t.pipe.Mode() == pipe.Exclusive || t.pipe.Mode() == pipe.Fanout && t.entering[1] > 0
}

// step begins a round if one is needed and none is under way: opens wait for it, or
// the pipe has another home than the one that was told.
func (t *tie) step() {
	if t.round != nil {
		return
	}
	want, home := t.ends(), t.c.homeOf(t.path)
	known := t.home == home && t.told&want == want
	if t.adrift || known && !t.oneByOne() {
		t.admit(t.waiting, nil)
		t.waiting = nil
		return
	}
	if want == 0 || known && len(t.waiting) == 0 {
		return
	}
	r := &round{entries: t.waiting}
	t.waiting = nil
	if t.oneByOne() && len(r.entries) > 1 {
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
	if t.told&peer.Reads != 0 && other.Ends&peer.Writes != 0 {
		t.want(key)
	}
	if t.told&peer.Writes != 0 && other.Ends&peer.Reads != 0 {
		t.offerAll(key, &t.round.left, t.talked)
	}
}

// want asks another broker for what its writers write.
func (t *tie) want(key regKey) {
	switch {
	case t.pipe.Mode() == pipe.Fanout:
		t.round.left++
		t.c.ask(key.id, &peer.Message{Kind: peer.Want, Reg: t.reg, To: key.reg}, func(*peer.Message, error) { t.talked() })
	case t.wantsIn(streamKey{key, 0}):
		t.round.left++
		t.c.subscribe(t, streamKey{key, 0}, false, t.talked)
	}
}

// offerAll offers what is written here to another broker's readers: the writers
// together, or in a fanout pipe each by itself. It adds to left what over is called
// for.
func (t *tie) offerAll(key regKey, left *int, over func()) {
	if t.pipe.Mode() != pipe.Fanout {
		t.offer(streamKey{key, 0}, left, over)
		return
	}
	for writer := range t.voices {
		t.offer(streamKey{key, writer}, left, over)
	}
}

func (t *tie) offer(key streamKey, left *int, over func()) {
	if t.outs[key].keep() {
		return // it stands
	}
	*left++
	m := &peer.Message{Kind: peer.Offer, Reg: t.reg, To: key.reg, Writer: key.writer}
	t.c.ask(key.id, m, func(*peer.Message, error) { over() })
}

// wantsIn reports that no stream stands that brings key's bytes.
func (t *tie) wantsIn(key streamKey) bool {
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
			if err != nil {
				t.mute(e)
			}
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
	for writer, v := range t.voices {
		if t.pipe.Gone(v) {
			delete(t.voices, writer)
		}
	}
	if len(t.outs) > 0 || t.contended {
		t.contend()
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
	t, key := c.byReg[m.To], streamKey{regKey{from, m.Reg}, m.Writer}
	if t == nil || t.ends()&peer.Reads == 0 || !t.wantsIn(key) {
		answer()
		return
	}
	c.subscribe(t, key, true, func() {})
	answer()
}

// serveWant offers each writer of a fanout pipe to a broker that has readers now.
func (c *Cluster) serveWant(from peer.ID, m *peer.Message) {
	left := 1
	over := func() {
		if left--; left == 0 {
			c.send(from, &peer.Message{Kind: peer.Wanted, Req: m.Req})
		}
	}
	if t := c.byReg[m.To]; t != nil {
		t.offerAll(regKey{from, m.Reg}, &left, over)
	}
	over()
}
