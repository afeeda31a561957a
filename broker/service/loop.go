// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"container/heap"
	"fmt"
	"log/slog"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

const (
	// batch bounds the messages handled before timers and connections get their turn.
	batch = 64
	// retryEvery is how often a client that does not read its answers is tried.
	retryEvery = 2 * time.Millisecond
)

// loop is the service's one goroutine: it owns every socket and every client.
type loop struct {
	cfg    Config
	broker *broker.Broker
	limits zpipes.Limits
	log    *slog.Logger
	stats  counters

	box     *mailbox.Box[event] // what other goroutines, and the engine, tell
	door    door
	porter  porter
	monitor monitor
	poller  *zmq.Poller

	clients map[string]*client // by routing id
	timers  timers
	stuck   []*client // their last answer could not be sent
	now     time.Time // of this turn
	events  []event   // being handled; its memory is used again
	frame   []byte    // the answer being assembled; its memory is used again
	stopped bool
	err     error // why the loop ended by itself
}

// event is what the loop is told.
type event struct {
	kind   kind
	client *client
}

type kind uint8

const (
	opened kind = iota
	read
	wrote
	stop
)

func newLoop(cfg Config) *loop {
	return &loop{
		cfg: cfg, broker: cfg.Broker, log: cfg.Log,
		limits:  zpipes.Limits{MaxChunk: cfg.MaxChunk},
		clients: make(map[string]*client),
		poller:  zmq.NewPoller(),
	}
}

// run makes the sockets, says on ready how that went, and serves until it is
// told to stop.
func (l *loop) run(ctx *zmq.Context, ready chan<- error) {
	err := l.open(ctx)
	if err != nil {
		l.close()
		ready <- err
		return
	}
	defer l.close()
	close(ready)
	for !l.stopped {
		if err := l.turn(); err != nil {
			l.log.Error("the ZPIPES service ends", "error", err)
			l.err = err
			return
		}
	}
}

func (l *loop) open(ctx *zmq.Context) error {
	var err error
	if l.box, err = mailbox.New[event](ctx, "zpipes.wake"); err != nil {
		return err
	}
	if err := l.porter.open(ctx, l.cfg, &l.stats); err != nil {
		return err
	}
	if err := l.door.open(ctx, l.cfg); err != nil {
		return err
	}
	if err := l.monitor.open(ctx, l.door.router); err != nil {
		return err
	}
	for _, s := range []*zmq.Socket{l.door.router, l.box.Poll(), l.porter.socket, l.monitor.socket} {
		l.poller.Add(s, zmq.POLLIN)
	}
	return nil
}

// close drops all clients and closes the sockets that are open.
func (l *loop) close() {
	for _, c := range l.clients {
		l.drop(c)
	}
	if l.box != nil {
		for _, e := range l.box.Close() {
			if e.kind != stop {
				e.client.discard(e.kind)
			}
		}
	}
	l.monitor.close(l.door.router)
	if err := l.door.close(); err != nil && l.err == nil {
		l.err = fmt.Errorf("close ROUTER socket: %w", err)
	}
	l.porter.close()
}

// turn waits until there is something to do and does it.
func (l *loop) turn() error {
	var wait time.Duration
	if !l.monitor.pending() && l.box.Sleep() {
		wait = l.timers.wait(time.Now())
		if len(l.stuck) > 0 {
			wait = min(wait, retryEvery)
		}
	}
	polled, err := l.poller.Poll(wait)
	l.box.Awake()
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	l.now = time.Now()
	var arrived bool
	for _, p := range polled {
		switch p.Socket {
		case l.door.router:
			arrived = true
		case l.box.Poll():
			l.box.Drain()
		case l.porter.socket:
			l.porter.answer()
		case l.monitor.socket:
			l.monitor.drain()
		}
	}
	l.settle()
	// Clients whose connection has ended are dropped after all they sent.
	if empty, err := l.receive(arrived); err != nil {
		return err
	} else if empty {
		l.dropGone()
	}
	l.retry()
	l.expire()
	l.settle()
	return nil
}

// receive handles some messages; empty tells that no more are there.
func (l *loop) receive(arrived bool) (empty bool, err error) {
	if !arrived && !l.monitor.pending() {
		return true, nil
	}
	for range batch {
		id, err := l.door.router.RecvBytes(zmq.DONTWAIT)
		if err != nil {
			if zmq.AsErrno(err) == zmq.Errno(eagain) {
				return true, nil
			}
			return false, fmt.Errorf("receive: %w", err)
		}
		if err := l.message(id); err != nil {
			return false, fmt.Errorf("receive: %w", err)
		}
		l.settle()
	}
	return false, nil
}

// message reads what follows a routing id and gives it to the client.
func (l *loop) message(id []byte) error {
	// A client that chose its id, whatever that looks like, may have come back on
	// another connection.
	frame, properties, err := l.door.router.RecvBytesWithMetadata(0, propertyFD, propertyPeer)
	if err != nil {
		return err
	}
	c := l.recognise(l.clients[string(id)], id, properties)
	more, err := l.door.router.GetRcvmore()
	if err != nil {
		return err
	}
	if more {
		if err := l.skip(); err != nil {
			return err
		}
		l.malformed(c, errMultipart)
		return nil
	}
	l.request(c, frame)
	return nil
}

// recognise returns the client that a connection belongs to.
func (l *loop) recognise(c *client, id []byte, properties map[string]string) *client {
	// libzmq lets nobody have an id before all is received that came from who had
	// it; the ids it chooses itself, zero and four octets, it never gives again.
	fd, own := properties[propertyFD], len(id) == 5 && id[0] == 0
	if c != nil && c.fd == fd && own {
		return c
	}
	// A descriptor's number is used again once a connection has ended; that it
	// ended is then known here already.
	l.monitor.drain()
	if c != nil && c.fd == fd && !c.reused {
		return c
	}
	if c != nil {
		l.stats.gone.Add(1)
		l.drop(c)
	}
	c = newClient(l, string(id), fd)
	if who, ok := parsePeer(properties[propertyPeer]); ok {
		c.pid = who.pid
	}
	l.clients[c.id] = c
	l.monitor.watch(c)
	l.stats.clients.Add(1)
	l.schedule(c, l.now.Add(l.cfg.ClientTimeout))
	return c
}

// skip reads the rest of a message of several frames.
func (l *loop) skip() error {
	for {
		if _, err := l.door.router.RecvBytes(0); err != nil {
			return err
		}
		if more, err := l.door.router.GetRcvmore(); err != nil || !more {
			return err
		}
	}
}

// settle handles events until there are none.
func (l *loop) settle() {
	for {
		l.events = l.box.Take(l.events)
		if len(l.events) == 0 {
			return
		}
		for _, e := range l.events {
			if e.kind == stop {
				l.stopped = true
				continue
			}
			e.client.completed(e.kind)
		}
	}
}

func (l *loop) dropGone() {
	for _, c := range l.monitor.gone() {
		if l.clients[c.id] == c {
			l.stats.gone.Add(1)
			l.debug(c, "connection ended")
			l.drop(c)
		}
	}
}

// drop forgets a client and closes its end.
func (l *loop) drop(c *client) {
	delete(l.clients, c.id)
	l.monitor.forget(c)
	l.stats.clients.Add(-1)
	if c.timer >= 0 {
		heap.Remove(&l.timers, c.timer)
	}
	c.abandon()
}
