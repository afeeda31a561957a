// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
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
	gaps     [2]uint64          // the pipe's when it was told
	unmet    map[peer.ID]bool   // those with whom a talk or a stream failed
	partner  regKey             // exclusive: the last to have a stream from or to here
	waiting  []*broker.Entering // opens that need a round
	round    *round             // under way; nil: none

	// Streams, also those that have ended and whose bytes are not all read: another may
	// have taken their place.
	ins  map[uint64]*inflow  // bring bytes
	outs map[outKey]*outflow // take bytes away

	voices    map[uint64]*pipe.Voice // fanout: our writers, also those that are about to open
	lastVoice uint64
}

// round is one talk with the home and with those whom it names.
type round struct {
	entries []*broker.Entering
	before  peer.Ends // what the home was told before
	left    int       // talks that are not over
	lost    bool      // one of them has failed
}

// Ends is the pipe's to call.
func (t *tie) Ends() { t.c.events.post(t.settle) }

// Starved is the pipe's to call.
func (t *tie) Starved() { t.c.events.post(t.look) }

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

// oneByOne reports that an open needs a round of its own: it may fail for itself, or
// its writer has to be offered.
func (t *tie) oneByOne() bool {
	return t.pipe.Mode() == pipe.Exclusive || t.pipe.Mode() == pipe.Fanout && t.entering[1] > 0
}

// alone reports that the pipe meets nobody new: its name is gone, or stands for
// another pipe.
func (t *tie) alone() bool {
	_, spent := t.pipe.Busy()
	return t.adrift || spent
}

// step begins a round if one is needed and none is under way: opens wait for it, the
// pipe has another home than the one that was told, or somebody was not met.
func (t *tie) step() {
	if t.round != nil {
		return
	}
	if t.alone() {
		t.admit(t.next(len(t.waiting)), nil)
		return
	}
	for len(t.waiting) > 0 && t.pipe.Taken(t.waiting[0].Read, t.waiting[0].Write) {
		t.admit(t.next(1), nil) // it fails, and must not claim a place for as long
	}
	home, n := t.c.homeOf(t.path), len(t.waiting)
	switch {
	case t.pipe.Mode() == pipe.Exclusive && t.home != home && t.opened()&t.told != 0:
		n = 0 // those who are in keep their place, whether or not others may enter
	case t.oneByOne():
		n = min(n, 1)
	}
	want := t.opened()
	for _, e := range t.waiting[:n] {
		want |= endsOf(e)
	}
	stale := t.home != home || t.told&want != want || t.misses()
	switch {
	case want == 0 || n == 0 && !stale:
	case n > 0 && !stale && !t.oneByOne() && t.keepAll(want):
		t.admit(t.next(n), nil)
	default:
		t.round = &round{entries: t.next(n)}
		t.register(home, want)
	}
}

// next takes n opens off those that wait.
func (t *tie) next(n int) []*broker.Entering {
	entries := t.waiting[:n:n]
	t.waiting = t.waiting[n:]
	return entries
}

// opened is which ends this broker has open.
func (t *tie) opened() (ends peer.Ends) {
	r, w := t.pipe.Ends()
	if r > 0 {
		ends |= peer.Reads
	}
	if w > 0 {
		ends |= peer.Writes
	}
	return ends
}

// misses reports that a broker which is there now was not met when it should have been.
func (t *tie) misses() bool {
	for id := range t.unmet {
		if t.c.live[id.Node] == id {
			return true
		}
	}
	return false
}

// keepAll has all streams wait for a writer that is about to open. It returns false if
// some may not stand any more: those who open meet the others anew. An end that is
// open keeps streams; when all of a kind have closed, they end, and the home may be
// about to be told.
func (t *tie) keepAll(want peer.Ends) bool {
	if want&peer.Writes == 0 {
		return t.pipe.Gaps() == t.gaps
	}
	kept := make(map[streamKey]bool)
	for _, o := range t.outs {
		kept[o.key] = o.keep() || kept[o.key]
	}
	for _, k := range kept {
		if !k {
			return false
		}
	}
	return t.pipe.Gaps() == t.gaps
}

func (t *tie) register(home peer.ID, want peer.Ends) {
	first := t.told == 0
	if t.home != home && t.home != (peer.ID{}) {
		t.tell(t.home, 0)
	}
	t.round.before = t.told
	t.home, t.told, t.gaps = home, want, t.pipe.Gaps()
	clear(t.unmet)
	m := &peer.Message{Kind: peer.Register, Name: t.path, Reg: t.reg, Ends: want, Mode: uint8(t.pipe.Mode()), First: first}
	if home == t.c.cfg.Self {
		status, mode, regs := t.c.registry.register(t.path, regKey{home, t.reg}, want, t.pipe.Mode(), first)
		t.registered(&peer.Message{Status: status, Mode: uint8(mode), Regs: regs}, nil)
		return
	}
	t.c.ask(home, m, func(m *peer.Message, err error) {
		if err != nil {
			t.tell(home, 0) // the next session may have begun, and have carried our request
		}
		t.registered(m, err)
	})
}

// registered goes on with a round when the home has answered.
func (t *tie) registered(m *peer.Message, err error) {
	r := t.round
	if err != nil { // the home was lost: ask the next
		t.home, t.told, t.round = peer.ID{}, r.before, nil
		t.waiting = append(r.entries, t.waiting...)
		t.step()
		return
	}
	switch m.Status {
	case peer.OK:
	case peer.Spent:
		t.pipe.Spend()
		t.told = r.before
		t.conclude(pipe.ErrSpent)
		return
	case peer.Clash:
		t.told = r.before
		t.conclude(fmt.Errorf("%w: it is open elsewhere as %v", pipe.ErrBusy, pipe.Mode(m.Mode)))
		return
	default:
		t.told = r.before
		t.conclude(pipe.ErrBusy)
		return
	}
	r.left = 1     // this call itself
	if !t.adrift { // else those have what the name stands for now
		for _, other := range m.Regs {
			t.meet(other)
		}
	}
	t.talked()
}

// meet sees to it that there are the streams which another broker's ends and ours
// want.
func (t *tie) meet(other peer.Reg) {
	key := regKey{other.ID, other.Number}
	if other.ID == t.c.cfg.Self {
		return // another pipe of this broker that had the name
	}
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
		t.talk(key.id, &peer.Message{Kind: peer.Want, Reg: t.reg, To: key.reg}, t.talked)
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
	for _, o := range t.outs {
		if o.key == key && o.keep() {
			return // it stands
		}
	}
	*left++
	m := &peer.Message{Kind: peer.Offer, Reg: t.reg, To: key.reg, Writer: key.writer}
	t.talk(key.id, m, over)
}

// talk asks another broker and notes if it was not to be reached.
func (t *tie) talk(to peer.ID, m *peer.Message, over func()) {
	t.c.ask(to, m, func(_ *peer.Message, err error) {
		if err != nil {
			t.failed(to, err)
		}
		over()
	})
}

// wantsIn reports that no stream stands that brings key's bytes.
func (t *tie) wantsIn(key streamKey) bool {
	for _, f := range t.ins {
		if f.key == key && !f.ended {
			return false
		}
	}
	return true
}

// talked counts that one of the round's talks is over.
func (t *tie) talked() {
	t.round.left--
	switch {
	case t.round.left > 0:
	case t.round.lost && t.pipe.Mode() == pipe.Exclusive:
		// It may have met us, and have parted from us: the home knows.
		t.round = &round{entries: t.round.entries}
		t.register(t.c.homeOf(t.path), t.told)
	default:
		t.conclude(nil)
	}
}

// failed notes that a broker was not to be talked to.
func (t *tie) failed(id peer.ID, err error) {
	t.unmet[id] = true
	if t.round != nil && errors.Is(err, ErrLost) {
		t.round.lost = true
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
	if t.c.byReg[t.reg] != t {
		return // it was over, and the pipe may have another tie
	}
	want := t.ends()
	if want&peer.Reads == 0 {
		for _, f := range slices.SortedFunc(maps.Values(t.ins), func(a, b *inflow) int { return cmp.Compare(b.stream, a.stream) }) {
			f.finish() // the newest first, as their bytes go before what is there
		}
	}
	known := want
	if t.alone() {
		known = 0
	}
	if gone := t.told &^ known; gone != 0 && t.round == nil {
		t.told &= known
		if t.home != (peer.ID{}) {
			t.tell(t.home, t.told)
		}
		if t.told == 0 {
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

// tell is a registration that wants no answer. One of a pair names the other.
func (t *tie) tell(home peer.ID, ends peer.Ends) {
	m := &peer.Message{Kind: peer.Register, Name: t.path, Reg: t.reg, Ends: ends, Mode: uint8(t.pipe.Mode())}
	if _, spent := t.pipe.Busy(); spent && t.partner != (regKey{}) {
		m.Regs = []peer.Reg{{ID: t.partner.id, Number: t.partner.reg}}
	}
	if home == t.c.cfg.Self {
		t.c.serveRegister(home, m)
		return
	}
	t.c.send(home, m)
}

func (c *Cluster) serveOffer(from peer.ID, m *peer.Message) {
	answer := func() { c.send(from, &peer.Message{Kind: peer.Offered, Req: m.Req}) }
	t, key := c.byReg[m.To], streamKey{regKey{from, m.Reg}, m.Writer}
	if t == nil || t.adrift || t.ends()&peer.Reads == 0 || !t.wantsIn(key) {
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
	if t := c.byReg[m.To]; t != nil && !t.adrift {
		t.offerAll(regKey{from, m.Reg}, &left, over)
	}
	over()
}
