// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"sync"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// outflow is a stream that takes bytes of the writers here to another broker's
// readers, for whom it is one reader. It is a link.Source: the link takes bytes
// when it has room for them, so short writes gather while it has none.
type outflow struct {
	t      *tie
	key    regKey
	to     peer.ID
	stream uint64
	reader *pipe.Reader

	mu      sync.Mutex   // guards below; not held when the pipe is told something
	kept    []pipe.Chunk // sent and not consumed: they may have to go elsewhere
	offset  int          // bytes of kept[0] that were consumed
	sent    uint64       // bytes ever
	settled uint64       // bytes of them consumed, ever
	limit   uint64       // bytes that may be sent, ever
	flowing bool         // its writers are there
	ended   bool         // End was sent
	held    bool         // a writer is about to open: no End meanwhile
}

func (c *Cluster) serveSubscribe(from peer.ID, m *peer.Message) {
	t := c.byReg[m.To]
	answer := &peer.Message{Kind: peer.Subscribed, Req: m.Req, Status: peer.Unknown}
	if t == nil || t.ends()&peer.Writes == 0 && t.pipe.Stat().Buffered == 0 {
		c.send(from, answer)
		return
	}
	o := &outflow{t: t, key: regKey{from, m.Reg}, to: from, stream: m.Stream, limit: m.Limit}
	var err error
	o.reader, err = t.pipe.AttachReader(pipe.Info{Door: "peer", Host: from.Node}, 0, nil)
	if err != nil {
		c.log.Debug("stream not attached", "pipe", t.path, "peer", from, "error", err)
		c.send(from, answer)
		return
	}
	c.outs[outKey{from, o.stream}] = o
	t.outs[o.key] = o
	answer.Status = peer.OK
	c.send(from, answer) // before the first byte
	if t.entering[1] == 0 {
		o.begin()
	}
}

// begin lets the stream flow: its writers are there, or have been. Until then it
// would find that there are none, and end.
func (o *outflow) begin() {
	o.mu.Lock()
	wake := !o.flowing || o.held
	o.flowing, o.held = true, false
	o.mu.Unlock()
	if wake {
		o.wake()
	}
}

// keep holds back the stream's End, for a writer is about to open. It returns false
// if the stream has ended, or there is none.
func (o *outflow) keep() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = !o.ended
	return o.held
}

func (o *outflow) wake() { o.t.c.links.Wake(o.to, o) }

// Next is the link's to call.
func (o *outflow) Next(most int) (lm link.Message, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.flowing || o.ended || o.sent >= o.limit {
		return lm, false
	}
	m := peer.Message{Kind: peer.Data, Stream: o.stream}
	chunks, n, end := o.reader.Lend(nil, min(max(most, pipe.SegmentSize), int(o.limit-o.sent)), o.wake)
	switch {
	case n > 0:
		o.sent += uint64(n)
		for _, c := range chunks {
			o.kept = append(o.kept, c.Retain())
		}
		lm.Body = chunks
	case end && !o.held:
		o.ended = true
		m.Kind = peer.End
	default:
		return lm, false
	}
	lm.Head = m.Append(nil)
	return lm, true
}

// toOutflow serves what a reading broker says.
func (c *Cluster) toOutflow(from peer.ID, m *peer.Message) {
	o := c.outs[outKey{from, m.Stream}]
	if o == nil {
		return // it has crossed our End, or a loss
	}
	switch m.Kind {
	case peer.Credit:
		o.credit(m)
	case peer.Unsubscribe:
		o.consumed(m.Count)
		o.finish(o.rest())
	}
}

func (o *outflow) credit(m *peer.Message) {
	o.consumed(m.Count)
	if m.Need > 0 {
		o.reader.SetWindow(int(m.Need))
	}
	o.mu.Lock()
	o.limit = max(o.limit, m.Limit)
	o.mu.Unlock()
	o.wake()
}

// consumed lets go of all bytes up to count.
func (o *outflow) consumed(count uint64) {
	o.mu.Lock()
	n := int(min(count, o.sent) - min(o.settled, count))
	o.settled += uint64(n)
	var gone []pipe.Chunk
	for left := n; left > 0; {
		have := o.kept[0].Len() - o.offset
		if have > left {
			o.offset += left
			break
		}
		left -= have
		gone = append(gone, o.kept[0])
		o.kept, o.offset = o.kept[1:], 0
	}
	o.mu.Unlock()
	for _, c := range gone {
		c.Release()
	}
	if n > 0 {
		o.reader.Settle(n)
	}
}

// rest takes what was sent and not consumed out of the stream, which sends nothing
// more.
func (o *outflow) rest() []pipe.Chunk {
	o.mu.Lock()
	defer o.mu.Unlock()
	rest := o.kept
	if len(rest) > 0 && o.offset > 0 {
		rest[0] = rest[0].After(o.offset)
	}
	o.kept, o.offset = nil, 0
	o.ended = true
	return rest
}

// finish ends the stream: rest goes to the pipe's other readers. With nil it is all
// that was not consumed.
func (o *outflow) finish(rest []pipe.Chunk) {
	if rest == nil {
		rest = o.rest()
	}
	o.reader.Return(rest)
	o.reader.Close()
	delete(o.t.c.outs, outKey{o.to, o.stream})
	if o.t.outs[o.key] == o {
		delete(o.t.outs, o.key)
	}
	o.t.settle()
}
