// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Enter is broker.Peers'.
func (c *Cluster) Enter(p *pipe.Pipe, path string, e *broker.Entering) {
	if !c.events.post(func() { c.enter(p, path, e) }) && e.Decide() {
		e.Done(pipe.ErrClosed)
	}
}

// failEntering ends the opens that are under way when the core has ended.
func (c *Cluster) failEntering() {
	for _, t := range c.ties {
		entries := t.waiting
		if t.round != nil {
			entries = append(entries, t.round.entries...)
		}
		for _, e := range entries {
			if e.Decide() {
				e.Done(pipe.ErrClosed)
			}
		}
	}
}

// leaveLimit is how long an open that was withdrawn still waits for what comes of it: a
// process that is killed waits so long at most.
const leaveLimit = time.Second

// Leave is broker.Peers'. A partner that e has met may have opened and written already: a
// signal which that brings about, as SIGCHLD, must not undo the meeting, or what was
// written is for nobody. And where a FIFO's open does not wait, none ends it.
func (c *Cluster) Leave(p *pipe.Pipe, e *broker.Entering) {
	c.events.post(func() {
		if t := c.ties[p]; t != nil { // else it is decided, or its Enter is yet to come
			t.leave(e)
		}
	})
}

func (t *tie) leave(e *broker.Entering) {
	if t.has(e) {
		time.AfterFunc(leaveLimit, func() { t.c.events.post(func() { t.drop(e) }) })
	}
}

// has reports that an open waits for what this tie decides.
func (t *tie) has(e *broker.Entering) bool {
	return !e.Decided() && (slices.Contains(t.waiting, e) || t.round != nil && slices.Contains(t.round.entries, e))
}

// drop decides an open that was withdrawn. The round that it may be in goes on.
func (t *tie) drop(e *broker.Entering) {
	if t.has(e) && e.Decide() {
		t.waiting = slices.DeleteFunc(t.waiting, func(x *broker.Entering) bool { return x == e })
		e.Done(context.Canceled)
		t.count(e, -1)
		t.mute(e)
		t.settle()
	}
}

func (c *Cluster) enter(p *pipe.Pipe, path string, e *broker.Entering) {
	t := c.ties[p]
	if t == nil {
		c.lastReg++
		t = &tie{c: c, pipe: p, path: path, reg: c.lastReg, ins: make(map[uint64]*inflow), outs: make(map[outKey]*outflow), unmet: make(map[peer.ID]bool), voices: make(map[uint64]*pipe.Voice)}
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
	if e.Withdrawn() {
		t.leave(e)
	}
	t.step()
}

// endsOf is which ends an open wants.
func endsOf(e *broker.Entering) (ends peer.Ends) {
	if e.Read {
		ends |= peer.Reads
	}
	if e.Write {
		ends |= peer.Writes
	}
	return ends
}

func (t *tie) count(e *broker.Entering, n int) {
	if e.Read {
		t.entering[0] += n
	}
	if e.Write {
		t.entering[1] += n
	}
}

// mute says that e's writer, if it has one, has not opened.
func (t *tie) mute(e *broker.Entering) {
	if e.Voice != nil {
		t.pipe.Mute(e.Voice)
	}
}
