// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"time"

	zmq "github.com/pebbe/zmq4"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

const (
	maxPongs  = 64   // that are owed to a client which is behind
	maxLapsed = 4096 // silent clients that are remembered
)

// client is a neighbour who has connected to this node and said HELLO.
type client struct {
	*link
	loop  *loop
	id    string // the routing id
	heard time.Time
	timer timer

	pongs  int    // that are owed
	pongAt uint64 // once it was told the log up to here
}

// lapsed is a client that was dropped because it was silent. CZMQ's nodes never
// say PING, so it may well be there: it is told so when there is news for it.
type lapsed struct {
	client *client
	told   bool // INVALID was sent
}

// fromClient handles a message that came by the ROUTER socket.
func (l *loop) fromClient(id string, m wire.Message, err error) {
	if c := l.clients[id]; c != nil {
		c.heard = l.now
		c.handle(l, m, err)
		return
	}
	old := l.lapsed[id]
	switch {
	case err != nil:
		l.reject(id, "malformed message", err)
	case m.ID == wire.Hello:
		delete(l.lapsed, id)
		l.welcome(id)
	case m.ID == wire.Ping:
		if old != nil && !old.told {
			l.readmit(old)
		}
		_ = l.reply([]byte(id), l.brief[wire.Pong])
	case m.ID == wire.Publish && old != nil:
		// It does not know yet that it was dropped. What it tells now it will not
		// tell again.
		l.told(old.client.link, m)
		_ = l.disown(old) // or at the next news
	default:
		l.reject(id, "out of turn", nil)
	}
}

func (c *client) handle(l *loop, m wire.Message, err error) {
	switch {
	case err != nil:
		l.drop(c)
		l.reject(c.id, "malformed message", err)
	case m.ID == wire.Publish:
		l.told(c.link, m)
	case m.ID == wire.Ping:
		// A PONG tells that what came before the PING is done: it must not
		// overtake tuples.
		c.pongs = min(c.pongs+1, maxPongs)
		c.pongAt = l.table.last
		l.catchUp(c.link)
	default:
		l.drop(c)
		l.reject(c.id, "out of turn", nil)
	}
}

// grace is how long after its HELLO a client is told the tuples. CZMQ's clients
// tell theirs along with it: so what they hold from before is known to be older
// than what they are told, and what is newer is not contradicted.
const grace = 20 * time.Millisecond

// welcome makes a client.
func (l *loop) welcome(id string) {
	c := &client{loop: l, id: id, heard: l.now}
	rid := []byte(id)
	c.link = &link{
		name: "client", owner: c, server: true, ttls: true, fresh: true,
		put: func(frame []byte) error { return l.reply(rid, frame) },
	}
	c.timer.fire = c.begin
	l.admit(c)
	l.timers.set(&c.timer, l.now.Add(grace))
	l.trace("a gossip client said HELLO")
}

func (l *loop) admit(c *client) {
	l.clients[c.id] = c
	l.stats.Clients++
}

// begin tells the client the tuples, after grace.
func (c *client) begin() {
	c.fresh, c.ready = false, true
	c.timer.fire = c.expire
	c.loop.watch(c)
	c.loop.catchUp(c.link)
}

// watch sets when the client is looked at.
func (l *loop) watch(c *client) {
	if c.fresh {
		return // begin will
	}
	if l.timeout > 0 {
		l.timers.set(&c.timer, c.heard.Add(l.timeout))
	} else {
		l.timers.unset(&c.timer)
	}
}

// expire drops a client that was silent for server/timeout.
func (c *client) expire() {
	l := c.loop
	if l.now.Sub(c.heard) < l.timeout || l.timeout == 0 {
		l.watch(c)
		return
	}
	l.drop(c)
	l.stats.Silent++
	l.trace("dropped a silent gossip client")
	old := &lapsed{client: c}
	if len(l.lapsed) == maxLapsed {
		l.disown(old) // told at once, since it cannot be when there is news
		return
	}
	l.lapsed[c.id] = old
	l.untold = append(l.untold, c.id)
}

// readmit takes up a dropped client where it was left, before it was told.
func (l *loop) readmit(old *lapsed) {
	c := old.client
	delete(l.lapsed, c.id)
	c.heard, c.ready = l.now, true
	l.admit(c)
	l.watch(c)
	l.news = true
}

// disown tells a dropped client that it was, so that it says HELLO. It returns
// errFull if that is to be tried again.
func (l *loop) disown(old *lapsed) error {
	if old.told {
		return nil
	}
	switch err := l.reply([]byte(old.client.id), l.brief[wire.Invalid]); err {
	case nil:
		old.told = true
		l.stats.Invalid++
	case errFull:
		return err
	default:
		delete(l.lapsed, old.client.id)
	}
	return nil
}

// drop forgets a client.
func (l *loop) drop(c *client) {
	c.ready = false
	delete(l.clients, c.id)
	l.timers.unset(&c.timer)
	l.stats.Clients--
}

// reject answers INVALID.
func (l *loop) reject(id, why string, err error) {
	delete(l.lapsed, id)
	l.stats.Invalid++
	if err != nil {
		l.stats.Malformed++
	}
	l.trace("answered a gossip client INVALID", "why", why, "error", err)
	// Lost on one that does not read.
	_ = l.reply([]byte(id), l.brief[wire.Invalid])
}

// reply sends a frame to whoever has the routing id.
func (l *loop) reply(id, frame []byte) error {
	_, err := l.router.SendBytes(id, zmq.SNDMORE|zmq.DONTWAIT)
	if err == nil {
		_, err = l.router.SendBytes(frame, zmq.DONTWAIT)
	}
	return sendError(err)
}

// caughtUp sends the PONGs that are owed.
func (c *client) caughtUp() {
	for c.pongs > 0 && c.sent >= c.pongAt {
		switch c.loop.say(c.link, wire.Pong) {
		case nil:
			c.pongs--
		case errFull:
			c.loop.wait(c.link)
			return
		default:
			c.lost()
			return
		}
	}
}

// lost drops a client whose connection is gone.
func (c *client) lost() {
	c.loop.drop(c)
	c.loop.trace("a gossip client has gone")
}
