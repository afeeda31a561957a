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
	// redialAfter is how long after a failed handshake another is tried: libzmq
	// gives up after some.
	redialAfter = 500 * time.Millisecond
	// sendHWM is how many frames wait in libzmq for a connection. What waits there
	// cannot be overtaken by what is urgent, nor gathered.
	sendHWM = 2
	// lingerBye is how long the last frame to a peer that went down may take.
	lingerBye = 200 * time.Millisecond
	// heartbeatPatience is by how many failure timeouts libzmq's own heartbeats
	// outlast the session's: they only clean up.
	heartbeatPatience = 4
)

// conn is the connection to a peer: a DEALER socket.
type conn struct {
	r       *remote
	id      peer.ID
	at      Peer
	epoch   uint64 // of the session it was made for
	socket  *zmq.Socket
	raw     *rawSocket
	monitor monitor
	fd      int
	retry   time.Time // when to dial again; zero: no need
	told    throttle
}

// connect returns the connection to be used for a peer: c, or another if c is
// missing, has failed, or was made for a session that is lost, whose frames may
// still be in it. It returns nil if there is none.
func (o *outbound) connect(r *remote, c *conn) *conn {
	r.mu.Lock()
	at, live := r.at, r.s != nil
	var epoch uint64
	if live {
		epoch = r.s.mine
	}
	r.mu.Unlock()
	if !live {
		return c
	}
	now := time.Now()
	if c != nil {
		if c.at == at && c.epoch == epoch && (c.retry.IsZero() || now.Before(c.retry)) {
			return c
		}
		o.hangUp(c, 0)
		delete(o.conns, r)
	}
	d, err := o.dial(r, at, epoch)
	if err != nil {
		o.cfg.Log.Error("cannot connect to a peer", "peer", r.id, "endpoint", at.Endpoint, "error", err)
		return nil
	}
	if c != nil {
		d.told = c.told
	}
	o.conns[r] = d
	r.blocked.Store(false)
	return d
}

func (o *outbound) dial(r *remote, at Peer, epoch uint64) (*conn, error) {
	c := &conn{r: r, id: r.id, at: at, epoch: epoch}
	var err error
	if c.socket, err = mailbox.Socket(o.context, zmq.DEALER); err != nil {
		return nil, err
	}
	if err = o.setUp(c); err != nil {
		o.hangUp(c, 0)
		return nil, err
	}
	return c, nil
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

// hangUp closes a connection.
func (o *outbound) hangUp(c *conn, linger time.Duration) {
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
}

// shook is told of handshakes on a connection.
func (o *outbound) shook(c *conn, event zmq.Event, detail int) {
	if event&failures == 0 {
		c.retry = time.Time{}
		o.announce(c.r) // the peer sees what it has missed
		return
	}
	now := time.Now()
	if n, ok := c.told.pass(now); ok {
		o.cfg.Log.Warn("a connection to a peer failed: "+why(event, detail), "peer", c.id, "endpoint", c.at.Endpoint, "unlogged", n)
	}
	if c.retry.IsZero() {
		c.retry = now.Add(redialAfter)
		c.r.look(o.poke)
	}
}
