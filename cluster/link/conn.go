// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"fmt"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

const (
	reconnectMin = 25 * time.Millisecond
	reconnectMax = 500 * time.Millisecond
	// quickTries is how many handshakes may fail before that is worth telling: a
	// peer may not know of this broker yet, for a moment.
	quickTries = 5
	// sendHWM is how many frames wait in libzmq for a connection. What waits there
	// cannot be overtaken by what is urgent, nor gathered.
	sendHWM = 2
	// lingerBye is how long the last frame to a peer that went down may take.
	lingerBye = 200 * time.Millisecond
	// heartbeatPatience is by how many failure timeouts libzmq's own heartbeats
	// outlast the session's: they only clean up.
	heartbeatPatience = 4
)

// conn is the connection to a peer: a DEALER socket, unless retry is set.
type conn struct {
	r       *remote
	id      peer.ID
	at      Peer
	epoch   uint64 // of the session it was made for
	socket  *zmq.Socket
	raw     *rawSocket
	monitor monitor
	fd      int
	failed  int       // handshakes since one succeeded
	failing bool      // it is to be closed, and dialled again
	retry   time.Time // it is closed, and when to dial again
	told    throttle
}

func (c *conn) closed() bool { return !c.retry.IsZero() }

// connect sees to it that a peer has the right connection: another one if that
// it has was made for a session that is lost, whose frames may still be in it.
func (o *outbound) connect(r *remote) *conn {
	c := o.conns[r]
	r.mu.Lock()
	at, live := r.at, r.s != nil
	var epoch uint64
	if live {
		epoch = r.s.mine
	}
	r.mu.Unlock()
	if !live || c != nil && c.at == at && (c.closed() && time.Now().Before(c.retry) || !c.closed() && c.epoch == epoch) {
		return c
	}
	next := &conn{r: r, id: r.id, at: at, epoch: epoch}
	if c != nil {
		if c.at == at {
			next.told, next.failed = c.told, c.failed
		}
		o.hangUp(c, 0)
	}
	o.conns[r] = next
	if err := o.dial(next); err != nil {
		if n, ok := next.told.pass(time.Now()); ok {
			o.cfg.Log.Error("cannot connect to a peer", "peer", r.id, "endpoint", at.Endpoint, "error", err, "unlogged", n)
		}
		next.failed++
		o.rest(next)
	}
	return next
}

// errMixed is when a connection would be plain text at one end.
var errMixed = errors.New("one host has a cluster key and the other has none: give all the same")

func (o *outbound) dial(c *conn) error {
	if o.cfg.Curve != (c.at.Key != "") {
		return errMixed
	}
	var err error
	if c.socket, err = mailbox.Socket(o.context, zmq.DEALER); err != nil {
		return err
	}
	return o.setUp(c)
}

func (o *outbound) setUp(c *conn) error {
	if err := o.shape(c.socket, c.at.Key); err != nil {
		return fmt.Errorf("set up DEALER socket: %w", err)
	}
	var err error
	if c.raw, err = raw(c.socket); err != nil {
		return err
	}
	name := fmt.Sprintf("link.dealer.%d", o.epoch.Add(1))
	if err := c.monitor.open(o.context, c.socket, name); err != nil {
		return err
	}
	if err := o.waiter.add(c.monitor.fd); err != nil {
		return err
	}
	o.monitors[c.monitor.fd] = c
	if c.fd, err = c.socket.GetFd(); err != nil {
		return fmt.Errorf("look up descriptor: %w", err)
	}
	if err := c.socket.Connect(c.at.Endpoint); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

func (o *outbound) shape(s *zmq.Socket, key string) error {
	timeout := o.cfg.FailureTimeout
	err := errors.Join(
		s.SetIdentity(routingID(o.cfg.ID)),
		s.SetSndhwm(sendHWM),
		s.SetIpv6(true),
		s.SetReconnectIvl(reconnectMin),
		s.SetReconnectIvlMax(reconnectMax),
		s.SetConnectTimeout(min(reconnectMax, timeout/4)),
		s.SetHandshakeIvl(timeout/2),
		// When the other host has not acknowledged octets for so long, the connection
		// is made anew: a packet then comes as soon as the link is back, not when
		// TCP, which waits ever longer, sends the next one.
		s.SetTcpMaxrt(max(timeout/4, 100*time.Millisecond)),
		s.SetHeartbeatIvl(timeout),
		s.SetHeartbeatTimeout(heartbeatPatience*timeout),
	)
	if key == "" {
		return err
	}
	return errors.Join(err, s.SetCurveServerkey(key), s.SetCurvePublickey(o.keys.public), s.SetCurveSecretkey(o.keys.secret))
}

// hangUp closes a connection, if it is not closed.
func (o *outbound) hangUp(c *conn, linger time.Duration) {
	if c.socket == nil {
		return
	}
	if c.monitor.fd != 0 {
		o.waiter.remove(c.monitor.fd)
		delete(o.monitors, c.monitor.fd)
	}
	c.monitor.close()
	if o.blocked[c.fd] == c {
		o.waiter.remove(c.fd)
		delete(o.blocked, c.fd)
	}
	c.raw.free()
	if linger > 0 {
		// Without it only the last frame is lost, which nobody relies on.
		_ = c.socket.SetLinger(linger)
	}
	c.socket.Close()
	c.socket = nil
}

// rest closes a connection, to be dialled again after a while, which is longer
// each time.
func (o *outbound) rest(c *conn) {
	o.hangUp(c, 0)
	c.retry = time.Now().Add(min(reconnectMin<<min(c.failed, quickTries), reconnectMax))
	c.r.look(o.poke)
}

// shook is told of handshakes on a connection.
func (o *outbound) shook(c *conn, event zmq.Event, detail int) {
	if event&failures == 0 {
		c.failed = 0
		o.announce(c.r) // the peer sees what it has missed
		return
	}
	c.failed++
	// libzmq itself tries again after those without detail, and those only: it would
	// do so at once, for ever.
	again := event&zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL != 0
	c.failing = !again || c.failed > quickTries
	if c.failed < quickTries && event&zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL == 0 {
		return
	}
	if n, ok := c.told.pass(time.Now()); ok {
		o.cfg.Log.Warn("a connection to a peer failed: "+why(event, detail), "peer", c.id, "endpoint", c.at.Endpoint, "unlogged", n)
	}
}
