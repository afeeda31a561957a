// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
	"strings"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// How connections are made and watched.
const (
	leastSilence = 3 * time.Second // without a word, and the connection is made anew
	leastBackoff = 20 * time.Millisecond
	mostBackoff  = 5 * time.Second
	steady       = 5 * time.Second // a connection that lasted so long was a good one
	maxPings     = 64              // that are not answered
	redialIvl    = 100 * time.Millisecond
	redialMax    = 2 * time.Second
	drainMost    = 4096 // messages of a server that has gone
)

// What a remote is about.
type phase uint8

const (
	down     phase = iota // no socket: waiting to open one
	dialling              // libzmq tries to connect
	greeting              // said HELLO, hearing what the server has
	synced                // told the server what it lacks
)

// remote is a server that this node connects to. Each connection has a socket of
// its own: so nothing that was meant for one reaches the next before its HELLO.
type remote struct {
	*link
	endpoint, serverKey string

	loop    *loop
	socket  *zmq.Socket
	monitor *zmq.Socket // nil on inproc, where libzmq has no events
	phase   phase
	timer   timer

	opened  time.Time
	backoff time.Duration
	heard   time.Time
	spoke   time.Time // when this node last sent something
	pings   []ping    // not answered, oldest first
	acked   uint64    // the server has handled the log up to here
	warned  bool      // that it cannot be reached
}

type ping struct {
	at  time.Time
	seq uint64 // the log was told up to here
}

// connect adds a remote. Its connection is made in the background, and again
// whenever it breaks.
func (l *loop) connect(endpoint, serverKey string) error {
	if old := l.remotes[endpoint]; old != nil {
		return nil
	}
	if err := checkConnect(endpoint); err != nil {
		return err
	}
	r := &remote{loop: l, endpoint: endpoint, serverKey: serverKey, link: &link{}}
	r.timer.fire = r.tick
	if err := r.open(); err != nil {
		r.close()
		return err
	}
	l.remotes[endpoint] = r
	l.stats.Remotes++
	return nil
}

// open makes the socket and lets libzmq connect.
func (r *remote) open() error {
	l := r.loop
	var err error
	if r.socket, err = mailbox.Socket(l.context, zmq.DEALER); err != nil {
		return err
	}
	err = errors.Join(
		r.socket.SetSndhwm(sendHWM), r.socket.SetRcvhwm(recvHWM),
		r.socket.SetMaxmsgsize(l.limits.MaxFrame()),
		r.socket.SetReconnectIvl(redialIvl), r.socket.SetReconnectIvlMax(redialMax),
		r.socket.SetIpv6(true),
		l.secureClient(r.socket, r.serverKey),
	)
	if err != nil {
		return fmt.Errorf("set up DEALER socket: %w", err)
	}
	inproc := strings.HasPrefix(r.endpoint, "inproc://")
	if !inproc {
		if err := r.watch(); err != nil {
			return err
		}
	}
	if err := r.socket.Connect(r.endpoint); err != nil {
		return fmt.Errorf("connect %s: %w", r.endpoint, err)
	}
	l.poller.Add(r.socket, zmq.POLLIN)
	l.bySocket[r.socket] = r
	r.phase, r.opened = dialling, l.now
	r.link = &link{name: r.endpoint, owner: r, put: r.put, fresh: true}
	l.timers.set(&r.timer, l.now.Add(l.heartbeat()))
	if inproc {
		r.greet()
	}
	return nil
}

// watch has libzmq tell of the connection.
func (r *remote) watch() error {
	l := r.loop
	l.monitors++
	address := fmt.Sprintf("inproc://zgossip.%p.%d", l, l.monitors)
	err := r.socket.Monitor(address, zmq.EVENT_HANDSHAKE_SUCCEEDED|zmq.EVENT_DISCONNECTED|
		zmq.EVENT_HANDSHAKE_FAILED_AUTH|zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL|zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
	if err != nil {
		return fmt.Errorf("monitor connection: %w", err)
	}
	if r.monitor, err = mailbox.Socket(l.context, zmq.PAIR); err != nil {
		return err
	}
	if err := r.monitor.Connect(address); err != nil {
		return fmt.Errorf("connect %s: %w", address, err)
	}
	l.poller.Add(r.monitor, zmq.POLLIN)
	l.bySocket[r.monitor] = r
	return nil
}

// close ends the connection. The monitored socket goes last, as the monitor has
// to be stopped before.
func (r *remote) close() {
	l := r.loop
	l.timers.unset(&r.timer)
	r.ready = false
	if r.monitor != nil {
		_ = r.socket.Monitor("", 0)
		l.release(r.monitor)
		r.monitor = nil
	}
	if r.socket != nil {
		l.release(r.socket)
		r.socket = nil
	}
	r.phase, r.pings, r.acked = down, nil, 0
}

// reopen ends the connection and makes another, the later the less steady they
// are.
func (r *remote) reopen(why string) {
	l := r.loop
	if r.phase == synced && l.now.Sub(r.opened) > steady {
		r.backoff = 0
	}
	r.backoff = min(max(2*r.backoff, leastBackoff), mostBackoff)
	l.stats.Reopened++
	l.trace("gossip connection is made anew", "peer", r.endpoint, "why", why)
	r.close()
	l.timers.set(&r.timer, l.now.Add(r.backoff))
}

// greet begins the conversation. The PONG comes behind all that the server has,
// which lets this node know what is older than its own tuples.
func (r *remote) greet() {
	r.phase, r.heard = greeting, r.loop.now
	if r.loop.say(r.link, wire.Hello) == nil {
		r.ping()
	}
}

func (r *remote) ping() {
	if len(r.pings) == maxPings {
		r.reopen("PINGs are not answered")
		return
	}
	if r.loop.say(r.link, wire.Ping) == nil {
		r.pings = append(r.pings, ping{r.loop.now, r.sent})
	}
}

func (r *remote) put(frame []byte) error {
	_, err := r.socket.SendBytes(frame, zmq.DONTWAIT)
	if err == nil {
		r.spoke = r.loop.now
	}
	return sendError(err)
}

// readable takes what has come by one of the remote's sockets.
func (r *remote) readable(s *zmq.Socket) {
	if s == r.monitor {
		r.events()
	} else if s == r.socket {
		r.receive(batch)
	}
}

// receive handles up to most messages. The remote may be closed by it.
func (r *remote) receive(most int) {
	for s := r.socket; most > 0 && s == r.socket; most-- {
		frame, multipart, err := recvFrame(s)
		if err != nil {
			return // EAGAIN
		}
		m, err := r.loop.decode(frame, multipart)
		r.handle(m, err)
	}
}

func (r *remote) handle(m wire.Message, err error) {
	l := r.loop
	if r.phase == dialling {
		return // not yet told that it is connected, so it was not for this link
	}
	r.heard = l.now
	switch {
	case err != nil:
		l.stats.Malformed++
		if !r.complained {
			r.complained = true
			l.log.Warn("gossip server sends malformed messages", "peer", r.endpoint, "error", err)
		}
	case m.ID == wire.Publish:
		l.told(r.link, m)
		if t := l.table.tuples[m.Key]; r.phase == greeting && t != nil && t.value == m.Value {
			r.knows(t)
		}
	case m.ID == wire.Pong:
		r.pong()
	case m.ID == wire.Invalid:
		// It forgot this client, with whatever was told it since.
		r.reopen("the server answered INVALID")
	case m.ID == wire.Hello:
		r.ttls = true
	}
}

func (r *remote) pong() {
	if len(r.pings) == 0 {
		return
	}
	l := r.loop
	p := r.pings[0]
	r.pings = r.pings[1:]
	if r.phase == greeting {
		r.phase, r.fresh, r.ready, r.warned = synced, false, true, false
		r.hasUntil = l.table.last
		l.catchUp(r.link)
		return
	}
	r.acked = max(r.acked, p.seq)
	if l.timeout > 0 && l.now.Sub(p.at) > l.timeout*3/4 {
		r.reopen("it may have taken this node for silent")
	}
}

// events handles what libzmq tells of the connection.
func (r *remote) events() {
	for s := r.monitor; s != nil && s == r.monitor; {
		kind, _, _, err := s.RecvEvent(zmq.DONTWAIT)
		if err != nil {
			return // EAGAIN
		}
		switch {
		case kind == zmq.EVENT_HANDSHAKE_SUCCEEDED && r.phase == dialling:
			r.greet()
		case kind == zmq.EVENT_DISCONNECTED && r.phase > dialling:
			r.receive(drainMost)
			if r.monitor == s {
				r.reopen("disconnected")
			}
		case kind != zmq.EVENT_DISCONNECTED && kind != zmq.EVENT_HANDSHAKE_SUCCEEDED && !r.warned:
			r.warned = true
			r.loop.log.Warn("gossip server refuses this node: are the CURVE keys right?", "peer", r.endpoint)
		}
	}
}

// tick looks after the connection, every heartbeat.
func (r *remote) tick() {
	l := r.loop
	if r.phase == down {
		if err := r.open(); err != nil {
			l.log.Error("cannot make a gossip connection", "peer", r.endpoint, "error", err)
			r.reopen("failed")
		}
		return
	}
	l.timers.set(&r.timer, l.now.Add(l.heartbeat()))
	silence := max(leastSilence, 3*l.timeout)
	switch {
	case r.phase == dialling:
		if !r.warned && l.now.Sub(r.opened) > silence {
			r.warned = true
			l.log.Warn("gossip server cannot be reached; still trying", "peer", r.endpoint)
		}
	case l.now.Sub(r.heard) > silence:
		r.reopen("the server is silent")
	case r.phase == synced && l.timeout > 0 && l.now.Sub(r.spoke) > l.timeout*3/4:
		// This process did not run, or could not send: the server may have dropped
		// it, and says so of a PUBLISH only.
		r.reopen("it may have taken this node for silent")
	case r.phase == synced:
		r.ping()
	}
}

// settled tells whether the server has handled the log up to seq, and asks it if
// that is not known.
func (r *remote) settled(seq uint64) bool {
	switch {
	case r.phase != synced || r.sent < seq:
		return false
	case r.acked >= seq:
		return true
	}
	if n := len(r.pings); n == 0 || r.pings[n-1].seq < seq {
		r.ping()
	}
	return false
}

func (r *remote) caughtUp() {}

// lost makes the connection anew.
func (r *remote) lost() { r.reopen("cannot send") }
