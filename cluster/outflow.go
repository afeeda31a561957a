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
	number uint64 // in the order in which streams began
	key    streamKey
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
	parted  bool         // this broker ends: no End any more

	contended bool   // others want the bytes, too: send only what is asked for
	asked     uint64 // contended: bytes that are waited for there
	wanted    bool   // bytes are to be recalled
	recalling bool   // they are: nothing is sent until they have come

	awake bool // the link will ask for more
}

func (c *Cluster) serveSubscribe(from peer.ID, m *peer.Message) {
	if c.leaving.parted {
		return // the other learns that we have gone, which is the answer
	}
	t := c.byReg[m.To]
	answer := &peer.Message{Kind: peer.Subscribed, Req: m.Req, Status: peer.Unknown}
	if t == nil || t.adrift || !t.writes(m.Writer) {
		c.send(from, answer)
		return
	}
	c.lastOut++
	o := &outflow{t: t, number: c.lastOut, key: streamKey{regKey{from, m.Reg}, m.Writer}, to: from, stream: m.Stream, limit: m.Limit}
	var err error
	o.reader, err = t.pipe.AttachReader(pipe.Info{Door: "peer", Host: from.Node}, t.voices[m.Writer])
	if err != nil {
		c.log.Debug("stream not attached", "pipe", t.path, "peer", from, "error", err)
		c.send(from, answer)
		return
	}
	c.outs[outKey{from, o.stream}] = o
	t.outs[outKey{from, o.stream}] = o
	t.partner = o.key.regKey
	answer.Status = peer.OK
	c.send(from, answer) // before the first byte
	t.contend()
	if t.entering[1] == 0 || o.key.writer != 0 {
		o.begin()
	}
}

// writes reports that there is something to stream: a writer, or what one has left.
func (t *tie) writes(writer uint64) bool {
	if t.pipe.Mode() == pipe.Fanout {
		return t.voices[writer] != nil
	}
	return t.ends()&peer.Writes != 0 || t.pipe.Unlent() > 0
}

// begin lets the stream flow: its writers are there, or have been. Until then it
// would find that there are none, and end. One of a fanout pipe has a voice, which tells.
func (o *outflow) begin() {
	o.mu.Lock()
	wake := !o.flowing || o.held
	o.flowing, o.held = true, false
	o.mu.Unlock()
	if wake {
		o.wake()
	}
}

// keep holds back the stream's End, for a writer is about to open: one of its writers,
// so not in a fanout pipe. It returns false if the stream has ended.
func (o *outflow) keep() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = !o.ended && o.key.writer == 0
	return !o.ended
}

func (o *outflow) part() {
	o.mu.Lock()
	o.parted = true
	o.mu.Unlock()
}

func (o *outflow) wake() {
	o.mu.Lock()
	o.awake = true
	o.mu.Unlock()
	o.t.c.links.Wake(o.to, o)
}

func (o *outflow) isAwake() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.awake
}

// Next is the link's to call.
func (o *outflow) Next(most int) (lm link.Message, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lm, ok = o.next(most)
	o.awake = ok
	switch {
	case ok:
		o.t.c.moved.Add(1)
	case o.parted:
		o.t.c.events.post(o.t.c.checkLeaving)
	}
	return lm, ok
}

// next is called with the lock held.
func (o *outflow) next(most int) (lm link.Message, ok bool) {
	if o.wanted && !o.ended { // behind the bytes that it is about
		o.wanted, o.recalling = false, true
		m := peer.Message{Kind: peer.Recall, Stream: o.stream}
		return link.Message{Head: m.Append(nil)}, true
	}
	if !o.flowing || o.ended || o.recalling {
		return lm, false
	}
	m := peer.Message{Kind: peer.Data, Stream: o.stream}
	// Without room there may still be an End: a full pipe hangs up, too.
	room := min(max(most, pipe.SegmentSize), int(o.limit-min(o.sent, o.limit)))
	want := room
	if o.contended {
		want = min(int(o.asked), room)
	}
	chunks, n, end := o.reader.Lend(nil, want, room, o.wake)
	switch {
	case n > 0:
		o.sent += uint64(n)
		o.asked = 0
		for _, c := range chunks {
			o.kept = append(o.kept, c.Retain())
		}
		lm.Body = chunks
	case end && !o.held && !o.parted && !(o.contended && o.sent > o.settled): // else they may be recalled
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
		if o.t.contended {
			o.t.onward()
		}
	case peer.Unsubscribe:
		o.consumed(m.Count)
		o.finish(o.rest())
	case peer.Starved:
		o.t.ask(o, m.Need)
	case peer.Returned:
		o.consumed(m.Count)
		o.reader.Return(o.returned())
		o.wake()
		o.t.onward()
	}
}

// contend says whether others want the stream's bytes, too; true: that is new.
func (o *outflow) contend(contended bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	news := o.contended != contended
	o.contended = contended
	return news
}

// over reports that the stream takes no more bytes.
func (o *outflow) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// ask notes how many bytes are waited for.
func (o *outflow) ask(n uint64) {
	o.mu.Lock()
	o.asked = n
	o.mu.Unlock()
	o.wake()
}

// waits reports that bytes are waited for.
func (o *outflow) waits() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked > 0
}

// holds reports that bytes were sent and, as far as is known, not consumed.
func (o *outflow) holds() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent > o.settled
}

// recall asks for what was sent and not consumed, unless readers wait there: then
// there is nothing.
func (o *outflow) recall() {
	o.mu.Lock()
	idle := o.sent == o.settled || o.asked > 0 || o.recalling
	ended := o.ended
	o.wanted = !idle && !ended
	o.recalling = o.recalling || !idle && ended
	o.mu.Unlock()
	switch {
	case idle:
	case ended:
		o.t.c.send(o.to, &peer.Message{Kind: peer.Recall, Stream: o.stream})
	default:
		o.wake()
	}
}

// returned takes out what was recalled. The stream goes on behind what was consumed.
func (o *outflow) returned() []pipe.Chunk {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recalling = false
	o.sent = o.settled
	return o.unsettled()
}

func (o *outflow) credit(m *peer.Message) {
	o.consumed(m.Count)
	o.reader.SetWindow(int(m.Need))
	if m.First && o.t.pipe.Mode() == pipe.Fanout {
		o.reader.Desert()
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
	o.ended = true
	return o.unsettled()
}

// unsettled is called with the lock held.
func (o *outflow) unsettled() []pipe.Chunk {
	rest := o.kept
	if len(rest) > 0 && o.offset > 0 {
		rest[0] = rest[0].After(o.offset)
	}
	o.kept, o.offset = nil, 0
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
	delete(o.t.outs, outKey{o.to, o.stream})
	o.t.settle()
	o.t.c.checkLeaving()
}
