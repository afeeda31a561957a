// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// Reasons that go with a *-FAILED.
var (
	errClosing = errors.New("the client closed the pipe meanwhile")
	errFlood   = errors.New("too many requests are unanswered")

	errMultipart = errors.New("more than one frame")
)

// request takes a frame from a client.
func (l *loop) request(c *client, frame []byte) {
	m, err := l.limits.Decode(frame)
	if err == nil {
		err = isRequest(m.ID)
	}
	if err != nil {
		l.malformed(c, err)
		return
	}
	l.stats.requests.Add(1)
	if m.ID == zpipes.Ping {
		// At once, in every state and whatever waits.
		c.heard = l.now
		c.aside(zpipes.PingOK)
		return
	}
	c.take(request{
		id: m.ID, name: m.Name, size: m.Size, timeout: m.Timeout,
		chunk: m.Chunk, cost: len(frame),
	})
}

func isRequest(id zpipes.ID) error {
	switch id {
	case zpipes.Input, zpipes.Output, zpipes.Read, zpipes.Write, zpipes.Close, zpipes.Ping:
		return nil
	}
	return fmt.Errorf("%v is not for clients to send", id)
}

// malformed notes a message that is no request; INVALID is its answer, in turn.
func (l *loop) malformed(c *client, err error) {
	l.stats.malformed.Add(1)
	level := slog.LevelWarn
	if c.babbles {
		level = slog.LevelDebug // once is enough to tell
	}
	c.babbles = true
	l.log.Log(noContext, level, "a ZPIPES client sent a malformed message", append(c.attributes(), "error", err)...)
	c.take(request{})
}

// take puts a request in line unless that is too long.
func (c *client) take(r request) {
	l := c.loop
	c.heard = l.now
	if c.waiting.len() >= l.cfg.MaxRequests || c.held()+r.cost > l.cfg.MaxQueue {
		if c.closes > 0 {
			// It has not even read what became of those before.
			l.stats.flooded.Add(1)
			c.aside(zpipes.Invalid)
			return
		}
		l.stats.flooded.Add(1)
		l.log.Warn("closed a ZPIPES client's end: too many requests are unanswered", c.attributes()...)
		r = request{flood: true}
	}
	l.makeRoom(r.cost)
	c.push(r)
}

// push puts a request in line and serves what can be served.
func (c *client) push(r request) {
	c.waiting.push(r)
	c.loop.stats.queued.Add(int64(r.cost))
	if r.id == zpipes.Close || r.flood {
		c.closes++
		if c.busy && c.doing.id != zpipes.Input && c.doing.id != zpipes.Output {
			c.shut() // what is under way completes with pipe.ErrClosed
		}
	}
	c.serve()
}

// serve begins requests until one has to wait.
func (c *client) serve() {
	for !c.busy && c.unsent == nil && c.waiting.len() > 0 {
		r := c.waiting.pop()
		c.loop.stats.queued.Add(-int64(r.cost))
		c.begin(r)
	}
}

func (c *client) begin(r request) {
	switch {
	case r.id == zpipes.Input || r.id == zpipes.Output:
		c.open(r)
	case r.id == zpipes.Read && c.end == reader:
		c.read(r)
	case r.id == zpipes.Write && c.end == writer:
		c.write(r)
	case r.id == zpipes.Close || r.flood:
		c.close(r)
	default:
		c.answer(zpipes.Message{ID: zpipes.Invalid})
	}
}

func (c *client) open(r request) {
	fail := zpipes.InputFailed
	if r.id == zpipes.Output {
		fail = zpipes.OutputFailed
	}
	if c.end != none {
		c.fail(fail, fmt.Errorf("this client has %q open", c.name))
		return
	}
	if err := broker.CheckName(r.name); err != nil {
		c.fail(fail, err)
		return
	}
	c.start(r)
	op := &c.openOp
	op.Reset()
	op.Read, op.Write, op.Patient = r.id == zpipes.Input, r.id == zpipes.Output, true
	op.Info = pipe.Info{Door: "zpipes", PID: c.pid}
	c.loop.broker.OpenName(r.name, op)
}

// start notes a request that the engine works on; its timeout begins here.
func (c *client) start(r request) {
	c.busy, c.doing, c.deadline = true, r, time.Time{}
	c.loop.stats.queued.Add(int64(r.cost))
	if r.timeout > 0 && r.id != zpipes.Input && r.id != zpipes.Output {
		c.deadline = c.loop.now.Add(time.Duration(r.timeout) * time.Millisecond)
		c.loop.schedule(c, c.deadline)
	}
}

func (c *client) read(r request) {
	switch {
	case r.size == 0:
		c.answer(zpipes.Message{ID: zpipes.ReadEnd})
	case int64(r.size) > int64(c.loop.cfg.MaxChunk):
		c.fail(zpipes.ReadFailed, fmt.Errorf("READ of %d octets: at most %d are allowed", r.size, c.loop.cfg.MaxChunk))
	case c.reader == nil && c.closes > 0 && !c.ended:
		c.fail(zpipes.ReadFailed, c.closingReason())
	case c.reader == nil:
		c.answer(zpipes.Message{ID: zpipes.ReadEnd})
	default:
		c.start(r)
		// Before a CLOSE only what need not wait is done.
		c.readOp.Min, c.readOp.Max, c.readOp.NonBlock = int(r.size), int(r.size), c.closes > 0
		c.reader.Start(&c.readOp)
	}
}

func (c *client) write(r request) {
	switch {
	case c.writer == nil || r.evicted:
		c.fail(zpipes.WriteFailed, c.closingReason())
	default:
		c.start(r)
		c.doing.chunk = nil
		c.writeOp.Chunks = c.writeOp.Chunks[:0]
		if len(r.chunk) > 0 { // without a chunk it waits or fails as others do
			c.writeOp.Chunks = append(c.writeOp.Chunks, pipe.ChunkOf(r.chunk))
		}
		c.writeOp.Whole, c.writeOp.NonBlock = true, c.closes > 0
		c.writer.Start(&c.writeOp)
	}
}

func (c *client) close(r request) {
	c.closes--
	if r.flood {
		c.closeEnd()
		c.answer(zpipes.Message{ID: zpipes.Invalid})
		return
	}
	if c.end == none {
		c.answer(zpipes.Message{ID: zpipes.Invalid})
		return
	}
	c.loop.debug(c, "CLOSE")
	c.closeEnd()
	c.answer(zpipes.Message{ID: zpipes.CloseOK})
}

// closingReason says why requests in line before a CLOSE fail.
func (c *client) closingReason() error {
	for _, r := range c.waiting.items[c.waiting.head:] {
		if r.flood {
			return errFlood
		}
		if r.id == zpipes.Close {
			break
		}
	}
	return errClosing
}

// timedOut ends the request under way for its timeout. If the engine has just
// completed it, that is what counts.
func (c *client) timedOut() {
	switch {
	case c.doing.id == zpipes.Read && c.reader != nil && c.reader.Cancel(&c.readOp):
		c.finish(zpipes.Message{ID: zpipes.ReadTimeout})
	case c.doing.id == zpipes.Write && c.writer != nil && c.writer.Cancel(&c.writeOp):
		c.finish(zpipes.Message{ID: zpipes.WriteTimeout})
	}
}

// finish answers the request under way and goes on with those behind it.
func (c *client) finish(m zpipes.Message) {
	c.done()
	c.answer(m)
	c.serve()
}

func (c *client) done() {
	c.loop.stats.queued.Add(-int64(c.doing.cost))
	c.busy, c.deadline, c.doing = false, time.Time{}, request{}
	c.heard = c.loop.now
}

// completed handles what the engine has done.
func (c *client) completed(k kind) {
	if c.gone {
		c.discard(k)
		return
	}
	switch k {
	case opened:
		c.finish(c.wasOpened())
	case read:
		c.wasRead()
	case wrote:
		c.finish(c.wasWritten())
	}
}

func (c *client) wasOpened() zpipes.Message {
	op := &c.openOp
	ok, fail := zpipes.InputOK, zpipes.InputFailed
	if op.Write {
		ok, fail = zpipes.OutputOK, zpipes.OutputFailed
	}
	if op.Err != nil {
		c.loop.debug(c, "open failed", "request", c.doing.id, "pipe", c.doing.name, "error", op.Err)
		return failed(fail, op.Err)
	}
	c.name, c.reader, c.writer, c.ended = c.doing.name, op.Reader, op.Writer, false
	c.end = reader
	count := &c.loop.stats.readers
	if op.Write {
		c.end = writer
		count = &c.loop.stats.writers
	}
	count.Add(1)
	c.loop.debug(c, "opened", "request", c.doing.id)
	return zpipes.Message{ID: ok}
}

func (c *client) wasRead() {
	op := &c.readOp
	switch {
	case op.Err == nil:
		c.done()
		c.readOK()
		c.serve()
		return
	case errors.Is(op.Err, io.EOF):
		// READ-END for ever; the end no longer counts as a reader.
		c.ended = true
		c.shut()
		c.finish(zpipes.Message{ID: zpipes.ReadEnd})
	case errors.Is(op.Err, pipe.ErrAgain), errors.Is(op.Err, pipe.ErrClosed):
		c.shut()
		c.finish(failed(zpipes.ReadFailed, c.closingReason()))
	default:
		c.finish(failed(zpipes.ReadFailed, op.Err))
	}
}

func (c *client) wasWritten() zpipes.Message {
	op := &c.writeOp
	clear(op.Chunks)
	switch {
	case op.Err == nil:
		c.loop.stats.bytesIn.Add(uint64(op.N))
		c.loop.debug(c, "WRITE", "octets", op.N, "timeout", c.doing.timeout)
		return zpipes.Message{ID: zpipes.WriteOK}
	case errors.Is(op.Err, pipe.ErrAgain), errors.Is(op.Err, pipe.ErrClosed):
		c.shut()
		return failed(zpipes.WriteFailed, c.closingReason())
	}
	return failed(zpipes.WriteFailed, op.Err)
}

func (c *client) fail(id zpipes.ID, reason error) { c.answer(failed(id, reason)) }

func failed(id zpipes.ID, reason error) zpipes.Message {
	return zpipes.Message{ID: id, Reason: zpipes.CutReason(reason.Error())}
}

// debug logs what a client does, for who wants to follow it.
func (l *loop) debug(c *client, what string, attributes ...any) {
	if !l.log.Enabled(noContext, slog.LevelDebug) {
		return
	}
	l.log.Debug(what, append(c.attributes(), attributes...)...)
}
