// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// node is a broker in a Network: its Links, with one goroutine.
type node struct {
	*hub
	net     *Network
	traffic traffic
	running sync.WaitGroup
	wake    chan struct{} // holds one
	quit    chan struct{}

	mu    sync.Mutex // guards below
	sky   sky
	count uint64
	dirty []*remote

	agenda   agenda // the loop's own
	unpacker unpacker
}

type traffic struct{ frames, messages, bytes atomic.Uint64 }

func (t *traffic) load() Traffic {
	return Traffic{t.frames.Load(), t.messages.Load(), t.bytes.Load()}
}

// flying is a frame on its way.
type flying struct {
	from  peer.ID
	to    uint64 // boot
	bytes []byte
	due   time.Time
	order uint64
	wire  *wire
}

// sky is a heap of frames, the first to arrive on top.
type sky []flying

func (s sky) Len() int      { return len(s) }
func (s sky) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s sky) Less(i, j int) bool {
	if s[i].due.Equal(s[j].due) {
		return s[i].order < s[j].order
	}
	return s[i].due.Before(s[j].due)
}
func (s *sky) Push(v any) { *s = append(*s, v.(flying)) }
func (s *sky) Pop() any {
	last := len(*s) - 1
	v := (*s)[last]
	(*s)[last] = flying{}
	*s = (*s)[:last]
	return v
}

// busy is how much is done in one turn, before the loop sees that it must end.
const busy = 256

func newNode(n *Network, cfg Config) *node {
	d := &node{
		hub: newHub(cfg), net: n,
		wake: make(chan struct{}, 1), quit: make(chan struct{}),
		agenda: newAgenda(), unpacker: unpacker{pool: cfg.Pool, limit: cfg.MaxMessage},
	}
	d.hub.poke, d.hub.rouse = d.mark, d.kick
	return d
}

// Endpoint is described at Links.
func (d *node) Endpoint() string { return "inproc://" + d.cfg.ID.String() }

// Close is described at Links.
func (d *node) Close() error {
	if !d.shut() {
		return ErrClosed
	}
	d.net.leave(d)
	close(d.quit)
	d.running.Wait()
	d.forget()
	return nil
}

func (d *node) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *node) mark(r *remote) {
	d.mu.Lock()
	d.dirty = append(d.dirty, r)
	d.mu.Unlock()
	d.kick()
}

func (d *node) deliver(f flying) {
	d.mu.Lock()
	f.order = d.count
	d.count++
	heap.Push(&d.sky, f)
	first := d.sky[0].order == f.order
	d.mu.Unlock()
	if first {
		d.kick()
	}
}

func (d *node) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.quit:
			return
		case <-d.wake:
		case <-timer.C:
		}
		timer.Reset(time.Until(d.turn()))
	}
}

// turn does what is to be done now and returns when the next turn is due.
func (d *node) turn() time.Time {
	for range busy {
		d.tell()
		if f, ok := d.landing(); ok {
			d.land(f)
			continue
		}
		if !d.sendAll() {
			return d.idle()
		}
	}
	return time.Now()
}

// idle returns when something is due.
func (d *node) idle() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.agenda.next
	if len(d.sky) > 0 && d.sky[0].due.Before(at) {
		at = d.sky[0].due
	}
	return at
}

// landing returns the next frame that has arrived.
func (d *node) landing() (flying, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sky) == 0 || d.sky[0].due.After(time.Now()) {
		return flying{}, false
	}
	return heap.Pop(&d.sky).(flying), true
}

func (d *node) land(f flying) {
	d.net.landed(f)
	r := d.find(f.from)
	if r == nil || f.to != d.cfg.ID.Boot {
		return
	}
	frame, rest, err := peer.ParseFrame(f.bytes)
	var messages []Message
	if err == nil {
		messages, err = d.unpacker.unpack(&frame, rest)
	}
	if err != nil {
		d.fail(r, err)
		return
	}
	d.arrive(r, &frame, messages)
	d.due(r)
}

// due has flush called when the session wants it, as what arrived may be owed an
// acknowledgement.
func (d *node) due(r *remote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s != nil {
		d.agenda.set(r, r.s.deadline(r.blocked.Load()))
	}
}

// sendAll sends to peers that were poked or are due, and returns whether there
// were any.
func (d *node) sendAll() bool {
	d.mu.Lock()
	todo := d.dirty
	d.dirty = nil
	d.mu.Unlock()
	todo = d.agenda.due(time.Now(), todo)
	for _, r := range todo {
		d.agenda.set(r, d.flush(r, r.blocked.Load(), func(f *peer.Frame, messages []*Message) bool { return d.transmit(r, f, messages) }))
	}
	return len(todo) > 0
}

func (d *node) transmit(r *remote, frame *peer.Frame, messages []*Message) bool {
	f := flying{from: d.cfg.ID, to: frame.To, bytes: make([]byte, packedLen(messages))}
	pack(f.bytes, frame, messages)
	if !d.net.carry(d, r, f) {
		return false
	}
	d.traffic.frames.Add(1)
	d.traffic.messages.Add(uint64(frame.Count))
	d.traffic.bytes.Add(uint64(len(f.bytes)))
	return true
}
