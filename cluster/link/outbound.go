// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"sync"
	"sync/atomic"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// outbound is the goroutine that sends. It owns the DEALER sockets.
type outbound struct {
	*sockets
	waiter  *waiter
	stopped atomic.Bool

	mu    sync.Mutex // guards dirty
	dirty []*remote

	agenda   agenda
	conns    map[*remote]*conn
	monitors map[int]*conn // by descriptor
	blocked  map[int]*conn
	todo     []*remote // its memory is used again
}

func newOutbound(s *sockets) (*outbound, error) {
	w, err := newWaiter()
	if err != nil {
		return nil, err
	}
	return &outbound{
		sockets: s, waiter: w, agenda: newAgenda(),
		conns: make(map[*remote]*conn), monitors: make(map[int]*conn), blocked: make(map[int]*conn),
	}, nil
}

func (o *outbound) stop() {
	o.stopped.Store(true)
	o.waiter.wake()
}

// look has a peer looked at; any goroutine calls it.
func (o *outbound) look(r *remote) {
	o.mu.Lock()
	o.dirty = append(o.dirty, r)
	o.mu.Unlock()
	o.waiter.wake()
}

func (o *outbound) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.dirty) == 0 && !o.stopped.Load()
}

func (o *outbound) run() {
	defer o.close()
	for !o.stopped.Load() {
		if err := o.turn(); err != nil {
			o.cfg.Log.Error("no more is sent to peers", "error", err)
			return
		}
	}
}

func (o *outbound) close() {
	for _, c := range o.conns {
		o.hangUp(c, 0)
	}
	o.waiter.close()
}

// turn waits until there is something to do and does it.
func (o *outbound) turn() error {
	fds, err := o.waiter.wait(o.agenda.next, o.idle)
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if c := o.monitors[fd]; c != nil {
			c.monitor.drain(func(event zmq.Event, detail int) { o.shook(c, event, detail) })
			if c.failing {
				o.rest(c)
			}
		}
		if c := o.blocked[fd]; c != nil {
			o.unblock(c)
		}
	}
	clear(o.todo)
	o.mu.Lock()
	o.todo, o.dirty = o.dirty, o.todo[:0]
	o.mu.Unlock()
	o.todo = o.agenda.due(time.Now(), o.todo)
	for _, r := range o.todo {
		o.agenda.set(r, o.serve(r))
	}
	return nil
}

// serve sends what is due to a peer and returns when it is to be served again.
func (o *outbound) serve(r *remote) time.Time {
	c := o.connect(r)
	blocked := c == nil || c.closed() || o.blocked[c.fd] == c
	next := o.flush(r, blocked, func(f *peer.Frame, messages []*Message) bool { return o.transmit(c, f, messages) })
	if o.gone(r) {
		if c != nil {
			o.hangUp(c, lingerBye)
			delete(o.conns, r)
		}
		return time.Time{}
	}
	if c != nil && c.closed() && c.retry.Before(next) {
		next = c.retry
	}
	return next
}

// gone reports that a peer will not be up again.
func (o *outbound) gone(r *remote) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down
}

// transmit sends one frame. It returns false if libzmq has no room: then the
// peer is served again when there is some.
func (o *outbound) transmit(c *conn, f *peer.Frame, messages []*Message) bool {
	sent, err := c.raw.send(packedLen(messages), func(dst []byte) { pack(dst, f, messages) })
	if err != nil {
		o.cfg.Log.Error("cannot send to a peer", "peer", c.id, "error", err)
	}
	if !sent {
		o.block(c)
	}
	return sent
}

func (o *outbound) block(c *conn) {
	if o.blocked[c.fd] == nil && o.waiter.add(c.fd) == nil {
		o.blocked[c.fd] = c
	}
}

// unblock looks whether a socket takes frames again.
func (o *outbound) unblock(c *conn) {
	if events, err := c.socket.GetEvents(); err == nil && events&zmq.POLLOUT == 0 {
		return
	}
	delete(o.blocked, c.fd)
	o.waiter.remove(c.fd)
	o.again(c.r)
}
