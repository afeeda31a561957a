// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"sync/atomic"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// minWindow is the least that a stream may send ahead: a remote reader does not
// tear short writes, which are gathered up to a segment.
const minWindow = pipe.SegmentSize

// inflow is a stream that brings the bytes of another broker's writers to the
// readers here, for whom it is one writer.
type inflow struct {
	t      *tie
	key    streamKey
	from   peer.ID
	stream uint64

	writer atomic.Pointer[pipe.Writer] // nil: not attached
	told   atomic.Int64                // bytes consumed, as last told
	window atomic.Int64                // bytes that may be under way or unread
	due    atomic.Bool                 // in Cluster.due, or about to be
	urgent atomic.Bool                 // contended, for other goroutines

	// The core's alone.
	need      int  // bytes that a reader must have at once, as last told
	ended     bool // no more bytes come: End has
	gone      bool
	contended bool // others want its bytes, too: they come when asked for
	asked     bool // contended: they are asked for
}

// subscribe asks a broker with writers for their bytes. offered: it surely has a
// writer, so ours is attached at once. done runs when the stream stands or will
// not.
func (c *Cluster) subscribe(t *tie, key streamKey, offered bool, done func()) {
	c.lastIn++
	f := &inflow{t: t, key: key, from: key.id, stream: c.lastIn}
	t.ins[f.stream], c.ins[f.stream] = f, f
	f.window.Store(int64(f.share()))
	if offered {
		if f.attach(); f.gone {
			done()
			return
		}
	}
	m := &peer.Message{Kind: peer.Subscribe, Stream: f.stream, Reg: t.reg, To: key.reg, Writer: key.writer, Limit: uint64(f.window.Load())}
	c.ask(f.from, m, func(m *peer.Message, err error) {
		if err != nil {
			t.failed(f.from, err)
			// The next session may have begun, and have carried our request.
			c.send(f.from, &peer.Message{Kind: peer.Unsubscribe, Stream: f.stream})
		}
		switch {
		case f.gone:
		case err != nil || m.Status != peer.OK:
			f.abort()
		default:
			f.attach()
			f.widen()
		}
		done()
	})
}

// attach makes the stream a writer of the pipe.
func (f *inflow) attach() {
	if f.writer.Load() != nil || f.gone {
		return
	}
	w, err := f.t.pipe.AttachWriter(pipe.Info{Door: "peer", Host: f.from.Node}, f.taken)
	if err != nil {
		f.t.c.log.Debug("stream not attached", "pipe", f.t.path, "peer", f.from, "error", err)
		f.finish()
		return
	}
	f.writer.Store(w)
	f.t.partner = f.key.regKey
}

// share is what the stream may send ahead: its part of the capacity, and never less
// than a read that waits must have at once.
func (f *inflow) share() int {
	n := max(f.t.c.cfg.Capacity/max(len(f.t.ins), 1), minWindow)
	return max(n, f.t.pipe.Need())
}

// taken runs on the goroutine of a reader that has taken bytes, or has gone.
func (f *inflow) taken() {
	w := f.writer.Load()
	if w == nil {
		return
	}
	fed, unread, alone := w.Fed()
	consumed := int64(fed - unread)
	// While others wait for what is not consumed here, each byte counts.
	big := consumed-f.told.Load() >= f.window.Load()/4 || f.urgent.Load()
	if f.due.Swap(true) && !big && !alone {
		return
	}
	c := f.t.c
	if big || alone {
		c.events.post(f.pay)
		return
	}
	c.events.post(func() { c.owe(f) })
}

func (c *Cluster) owe(f *inflow) {
	if len(c.due) == 0 {
		c.timer.Reset(creditDelay)
	}
	c.due = append(c.due, f)
}

func (c *Cluster) payDue() {
	due := c.due
	c.due = nil
	for _, f := range due {
		if f.due.Load() {
			f.pay()
		}
	}
}

// pay tells the other broker what was consumed and what it may send.
func (f *inflow) pay() {
	f.due.Store(false)
	w := f.writer.Load()
	if w == nil || f.gone {
		return
	}
	fed, unread, alone := w.Fed()
	consumed := fed - unread
	if f.ended && unread == 0 {
		f.finish()
		return
	}
	f.told.Store(int64(consumed))
	f.window.Store(int64(f.share()))
	f.need = f.t.pipe.Need()
	m := &peer.Message{
		Kind: peer.Credit, Stream: f.stream, Count: uint64(consumed), Limit: uint64(consumed) + uint64(f.window.Load()),
		Need: uint64(f.need), First: alone,
	}
	f.t.c.send(f.from, m)
}

// widen tells the other broker of a read that must have more at once than may be
// sent: it cannot take anything before that.
func (f *inflow) widen() {
	if need := f.t.pipe.Need(); need > minWindow && need > f.need && !f.ended {
		f.pay()
	}
}

// toInflow serves what a writing broker says.
func (c *Cluster) toInflow(from peer.ID, m *peer.Message, body []pipe.Chunk) {
	f := c.ins[m.Stream]
	if f == nil || f.from != from || f.writer.Load() == nil {
		for _, chunk := range body { // it has crossed our Unsubscribe
			chunk.Release()
		}
		return
	}
	w := f.writer.Load()
	switch m.Kind {
	case peer.Data:
		w.Feed(body)
		if f.contended {
			f.asked = false
			f.t.watch()
		}
	case peer.End:
		f.ended = true
		f.t.pipe.Close(nil, w, nil)
		f.pay()
	case peer.Recall:
		f.giveBack()
	case peer.Contend:
		f.contended = m.First
		f.urgent.Store(m.First)
		f.t.watch()
	}
}

// finish ends the stream: its bytes that nobody has taken go back.
func (f *inflow) finish() {
	if f.gone {
		return
	}
	var consumed int
	if w := f.writer.Load(); w != nil {
		w.Recall()
		consumed, _, _ = w.Fed()
		f.t.pipe.Close(nil, w, nil)
	}
	f.t.c.send(f.from, &peer.Message{Kind: peer.Unsubscribe, Stream: f.stream, Count: uint64(consumed)})
	f.forget()
}

// abort is for a stream that the other broker does not have.
func (f *inflow) abort() {
	if w := f.writer.Load(); w != nil {
		f.t.pipe.Close(nil, w, nil)
	}
	f.forget()
}

// lose is for a stream whose broker was lost. Unless all its bytes had come, its
// readers are told, after those that have.
func (f *inflow) lose() {
	if w := f.writer.Load(); w != nil && !f.ended {
		f.t.pipe.Close(nil, w, pipe.ErrPeerLost)
	}
	f.forget()
}

func (f *inflow) forget() {
	f.gone = true
	delete(f.t.c.ins, f.stream)
	delete(f.t.ins, f.stream)
	f.t.settle()
}

// giveBack answers a Recall.
func (f *inflow) giveBack() {
	w := f.writer.Load()
	w.Recall()
	fed, _, _ := w.Fed()
	f.told.Store(int64(fed))
	f.t.c.send(f.from, &peer.Message{Kind: peer.Returned, Stream: f.stream, Count: uint64(fed)})
	if f.ended {
		f.finish()
		return
	}
	f.asked = false
	f.t.watch()
}
