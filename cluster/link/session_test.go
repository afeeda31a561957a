// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// side is one broker of a rig: a session, and what a hub does about it.
type side struct {
	rig    *rig
	name   string
	cfg    Config
	other  *side
	s      *session
	epoch  uint64
	floor  uint64
	sent   map[uint64]uint32 // by epoch: messages given to the session
	source *drip
	mute   bool // nothing that it sends arrives
	lost   []error

	// What came, by the sender's epoch.
	came map[uint64]*stream
	line []frameBytes // frames on their way to the other side
	past []frameBytes // frames that arrived there, or were lost: some come late
}

type frameBytes struct {
	bytes []byte
	due   time.Time
}

// stream is what came of one session of the other side.
type stream struct {
	next uint32 // number of the next message
	in   uint64 // this side's epoch
}

// drip is a Source of numbered messages.
type drip struct {
	side *side
	left int
}

func (d *drip) Next(limit int) (Message, bool) {
	if d.left == 0 {
		return Message{}, false
	}
	d.left--
	return d.side.numbered(min(limit, 1000)), true
}

// rig is two sides, a line between them, and time.
type rig struct {
	t      testing.TB
	rand   *rand.Rand
	now    time.Time
	a, b   *side
	cut    bool
	delay  time.Duration
	pool   pipe.Pool
	given  map[*pipe.Buffer]bool // segments that were taken from the pool
	frames int
}

func newRig(t testing.TB, random *rand.Rand, shape ...func(*Config)) *rig {
	r := &rig{t: t, rand: random, now: time.Unix(1000, 0), given: make(map[*pipe.Buffer]bool), delay: 5 * time.Millisecond}
	make := func(name string, boot uint64) *side {
		cfg := Config{ID: peer.ID{Node: name, Boot: boot}, Handler: newRecorder(), FailureTimeout: time.Second}
		for _, s := range shape {
			s(&cfg)
		}
		must(t, cfg.fill())
		d := &side{rig: r, name: name, cfg: cfg, sent: make(map[uint64]uint32), came: make(map[uint64]*stream)}
		d.source = &drip{side: d}
		return d
	}
	r.a, r.b = make("a", 11), make("b", 22)
	r.a.other, r.b.other = r.b, r.a
	r.a.begin()
	r.b.begin()
	return r
}

func (d *side) begin() {
	d.epoch++
	d.s = newSession(&d.cfg, d.other.cfg.ID, d.epoch, d.floor, d.rig.now)
}

// lose ends the session, as a hub does.
func (d *side) lose(why error) {
	d.lost = append(d.lost, why)
	d.floor = max(d.floor, d.s.yours)
	d.s.release()
	d.source.left = 0
	d.begin()
}

// numbered makes the next message of the session: its epoch and number, and a body
// that follows from them.
func (d *side) numbered(size int) Message {
	n := d.sent[d.s.mine]
	d.sent[d.s.mine]++
	head := binary.BigEndian.AppendUint64(nil, d.s.mine)
	head = binary.BigEndian.AppendUint32(head, n)
	m := Message{Head: head}
	for size > 0 {
		buf := d.rig.pool.Segment()
		d.rig.given[buf] = true
		k := min(size, pipe.SegmentSize)
		for i := range k {
			buf.Bytes()[i] = byte(n) + byte(i)
		}
		m.Body = append(m.Body, buf.Chunk(0, k))
		buf.Release()
		size -= k
	}
	return m
}

func (d *side) send(size int) {
	if err := d.s.out.put([]Message{d.numbered(size)}); err != nil {
		d.lose(err)
	}
}

// flush puts the frames that are due on the line.
func (d *side) flush() {
	for {
		if err := d.s.failed(d.rig.now); err != nil {
			d.lose(err)
		}
		f, messages, ok := d.s.frame(d.rig.now)
		if !ok {
			return
		}
		if d.rig.rand.IntN(20) == 0 { // no room for it
			d.s.unsend(&f)
			return
		}
		d.rig.frames++
		b := make([]byte, packedLen(messages))
		pack(b, &f, messages)
		d.line = append(d.line, frameBytes{b, d.rig.now.Add(d.rig.delay)})
		if d.rig.cut || d.mute {
			d.drop()
		}
	}
}

// land takes frames off the line to the other side, those that have arrived.
func (d *side) land() {
	for len(d.line) > 0 && !d.line[0].due.After(d.rig.now) {
		f := d.line[0]
		d.line = d.line[1:]
		d.remember(f)
		d.other.take(f.bytes)
	}
}

func (d *side) remember(frames ...frameBytes) {
	d.past = append(d.past, frames...)
	if n := len(d.past) - 100; n > 0 {
		d.past = d.past[n:]
	}
}

// drop loses all that is on the line.
func (d *side) drop() {
	d.remember(d.line...)
	d.line = nil
}

func (d *side) take(b []byte) {
	t := d.rig.t
	t.Helper()
	f, rest, err := peer.ParseFrame(b)
	must(t, err)
	if f.To != d.cfg.ID.Boot {
		t.Fatalf("a frame to %s is for boot %d", d.name, f.To)
	}
	u := unpacker{pool: new(pipe.Pool), limit: d.cfg.MaxMessage}
	messages, err := u.unpack(&f, rest)
	must(t, err)
	in, err := d.s.receive(&f, messages, d.rig.now)
	for _, m := range in {
		d.came1(m)
	}
	if err != nil {
		d.lose(err)
		if f.Kind == peer.FrameHello {
			_, err := d.s.receive(&f, nil, d.rig.now)
			must(t, err)
		}
	}
}

// came1 checks one message that was delivered.
func (d *side) came1(m Message) {
	t := d.rig.t
	t.Helper()
	epoch, n := binary.BigEndian.Uint64(m.Head), binary.BigEndian.Uint32(m.Head[8:])
	s := d.came[epoch]
	if s == nil {
		s = &stream{in: d.s.mine}
		d.came[epoch] = s
	}
	if s.in != d.s.mine {
		t.Fatalf("%s has messages of session %d in its sessions %d and %d", d.name, epoch, s.in, d.s.mine)
	}
	if n != s.next {
		t.Fatalf("%s got message %d of session %d, not %d", d.name, n, epoch, s.next)
	}
	s.next++
	i := 0
	for _, c := range m.Body {
		for _, b := range c.Bytes() {
			if b != byte(n)+byte(i%pipe.SegmentSize) {
				t.Fatalf("%s: octet %d of message %d is wrong", d.name, i, n)
			}
			i++
		}
	}
	m.Release()
}

func (r *rig) both(do func(d *side)) { do(r.a); do(r.b) }

// pass lets time pass, in small steps.
func (r *rig) pass(d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(time.Millisecond)
		r.both((*side).land)
		r.both((*side).flush)
	}
}

// settled heals all and checks that everything is as promised.
func (r *rig) settled() {
	r.t.Helper()
	r.cut = false
	r.both(func(d *side) { d.past = nil })
	r.pass(4 * r.a.cfg.FailureTimeout)
	r.both(func(d *side) {
		if d.s.yours != d.other.s.mine {
			r.t.Errorf("%s is in a session with %d; the other side's is %d", d.name, d.s.yours, d.other.s.mine)
		}
		if n := d.s.out.flight.len() + d.s.out.queue.len() + d.source.left; n > 0 {
			r.t.Errorf("%s has %d messages left", d.name, n)
		}
		for epoch, n := range d.sent {
			got := uint32(0)
			if s := d.other.came[epoch]; s != nil {
				got = s.next
			}
			if epoch == d.s.mine && got != n {
				r.t.Errorf("%s sent %d messages in session %d, which stands; %d came", d.name, n, epoch, got)
			}
		}
		// What a lost session of one side brought was, on the other, in a session
		// that is lost as well.
		for epoch, s := range d.came {
			if epoch != d.other.s.mine && s.in == d.s.mine {
				r.t.Errorf("%s is still in the session %d, of which the other side lost its %d", d.name, s.in, epoch)
			}
		}
	})
	r.leaks()
}

// pooled is how many idle segments a pool keeps.
const pooled = 256

// leaks checks that every segment is back in the pool, as far as that keeps them.
func (r *rig) leaks() {
	r.t.Helper()
	want := len(r.given)
	for range min(want, pooled) {
		buf := r.pool.Segment()
		if !r.given[buf] {
			r.t.Errorf("%d of %d segments were not released", len(r.given), want)
			return
		}
		delete(r.given, buf)
	}
}

// mishap does something to the rig that one of so many choices says.
func (r *rig) mishap(choice int) {
	d := r.a
	if r.rand.IntN(2) == 0 {
		d = r.b
	}
	switch choice {
	case 0, 1, 2, 3, 4, 5:
		d.send(r.rand.IntN(3) * r.rand.IntN(2000))
	case 6:
		d.source.left += r.rand.IntN(50)
		d.s.out.wake(d.source)
	case 7, 8, 9, 10:
		r.pass(time.Duration(r.rand.IntN(30)) * time.Millisecond)
	case 11: // a connection breaks and returns: what was on its way is gone
		d.drop()
	case 12: // one frame is gone
		if n := len(d.line); n > 0 {
			i := r.rand.IntN(n)
			d.remember(d.line[i])
			d.line = append(d.line[:i:i], d.line[i+1:]...)
		}
	case 13: // a frame comes twice
		if n := len(d.line); n > 0 {
			d.line = append(d.line, frameBytes{d.line[r.rand.IntN(n)].bytes, r.now.Add(r.delay)})
		}
	case 14: // one comes that was late
		if n := len(d.past); n > 0 {
			d.line = append(d.line, frameBytes{d.past[r.rand.IntN(n)].bytes, r.now})
		}
	case 15: // the link is cut for less than the failure timeout, mostly
		r.cut = true
		r.both((*side).drop)
		r.pass(time.Duration(r.rand.IntN(700)) * time.Millisecond)
		r.cut = false
	case 16: // one direction is cut for long
		d.mute = true
		d.drop()
		r.pass(time.Duration(600+r.rand.IntN(1000)) * time.Millisecond)
		d.mute = false
	case 17:
		d.lose(errors.New("declared"))
	}
}

const mishaps = 18

func TestSessionKeepsItsPromise(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t, random)
			rare := 14 + random.IntN(mishaps-14+1) // some runs have no losses
			for range 200 {
				r.mishap(random.IntN(rare))
			}
			r.settled()
		})
	}
}

// A cut that is shorter than the failure timeout costs time, not the session.
func TestSessionOutlivesShortCuts(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 2))
		r := newRig(t, random)
		r.pass(100 * time.Millisecond)
		for range 20 {
			r.both(func(d *side) {
				for range random.IntN(20) {
					d.send(random.IntN(100))
				}
				d.source.left += random.IntN(100)
				d.s.out.wake(d.source)
			})
			r.pass(time.Duration(random.IntN(20)) * time.Millisecond)
			r.cut = true
			r.both((*side).drop)
			r.pass(time.Duration(random.IntN(700)) * time.Millisecond) // and two heartbeats, which may be lost at its edges
			r.cut = false
			r.pass(200 * time.Millisecond)
		}
		r.settled()
		r.both(func(d *side) {
			if len(d.lost) > 0 {
				t.Fatalf("seed %d: %s lost %v", seed, d.name, d.lost)
			}
		})
	}
}

// FuzzSession lets the input choose what happens.
func FuzzSession(f *testing.F) {
	f.Add(uint64(1), []byte{0, 1, 6, 11, 7, 15, 17, 3, 14})
	f.Fuzz(func(t *testing.T, seed uint64, choices []byte) {
		if len(choices) > 300 {
			return
		}
		r := newRig(t, rand.New(rand.NewPCG(seed, 3)))
		for _, c := range choices {
			r.mishap(int(c) % mishaps)
		}
		r.settled()
	})
}
