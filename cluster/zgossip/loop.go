// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
	"github.com/zpipesfs/zpipesfs/wire/zpl"
)

const (
	// batch bounds the messages of one socket that are handled before others get
	// their turn.
	batch = 256
	// frameSlack is by how much a client's frame may be too long and still be
	// answered INVALID; libzmq cuts off who sends more, before it takes memory.
	frameSlack = 4096
	// longest is how long a poll lasts at most.
	longest = time.Minute

	leastHeartbeat = 20 * time.Millisecond
	mostHeartbeat  = 5 * time.Second
)

var errMultipart = errors.New("message of several frames")

// loop is a node's one goroutine: it owns every socket, tuple and neighbour.
type loop struct {
	cfg     Config
	context *zmq.Context
	limits  wire.Limits
	log     *slog.Logger
	events  *stream
	stats   Stats
	seed    maphash.Seed

	config   *zpl.Item
	timeout  time.Duration // server/timeout; 0: none
	verbose  bool
	security security

	box    *mailbox.Box[command]
	router *zmq.Socket
	zap    *zmq.Socket // nil in a context that others share
	poller *zmq.Poller
	port   int // of the last TCP endpoint

	table    table
	timers   timers
	clients  map[string]*client // by routing id
	lapsed   map[string]*lapsed
	untold   []string // routing ids of lapsed clients
	remotes  map[string]*remote
	bySocket map[*zmq.Socket]*remote
	stuck    []*link // that do not read
	retryAt  time.Time
	retryIn  time.Duration
	waiters  []waiter
	disputes time.Time // when the next may be logged
	monitors int       // names of monitors

	now      time.Time // of this turn
	news     bool      // the log has grown, or somebody who was not told is there
	commands []command // being handled; its memory is used again
	frame    []byte    // being sent; its memory is used again
	brief    map[wire.ID][]byte
	stopped  bool
	err      error // why the loop ended by itself
}

// command is something the loop is to do for a caller.
type command struct {
	run  func(*loop) error
	done chan<- error // has room for one
}

// waiter waits until all remotes have handled the log up to seq.
type waiter struct {
	seq  uint64
	done chan<- struct{}
}

func newLoop(cfg Config, ctx *zmq.Context) *loop {
	l := &loop{
		cfg: cfg, context: ctx, log: cfg.Log, events: newStream(), seed: maphash.MakeSeed(),
		limits: wire.Limits{MaxValue: cfg.MaxValue},
		config: defaultConfig(), timeout: DefaultTimeout,
		security: security{domain: DefaultZAPDomain},
		poller:   zmq.NewPoller(),
		table:    newTable(),
		clients:  make(map[string]*client), lapsed: make(map[string]*lapsed),
		remotes: make(map[string]*remote), bySocket: make(map[*zmq.Socket]*remote),
		brief: make(map[wire.ID][]byte),
		now:   time.Now(),
	}
	for _, id := range []wire.ID{wire.Hello, wire.Ping, wire.Pong, wire.Invalid} {
		frame, err := l.limits.Append(nil, wire.Message{ID: id})
		if err != nil {
			panic(err) // the codec does not know its own messages
		}
		l.brief[id] = frame
	}
	return l
}

// run makes the sockets, says on ready how that went, and serves until it is
// told to stop.
func (l *loop) run(ready chan<- error) {
	defer l.close()
	if err := l.open(); err != nil {
		ready <- err
		return
	}
	close(ready)
	for !l.stopped {
		if err := l.turn(); err != nil {
			l.log.Error("the gossip node ends", "error", err)
			l.err = err
			return
		}
	}
}

func (l *loop) open() error {
	var err error
	if l.box, err = mailbox.New[command](l.context, fmt.Sprintf("zgossip.%p", l)); err != nil {
		return err
	}
	if l.router, err = mailbox.Socket(l.context, zmq.ROUTER); err != nil {
		return err
	}
	err = errors.Join(
		l.router.SetRouterMandatory(1),
		l.router.SetSndhwm(sendHWM), l.router.SetRcvhwm(recvHWM),
		l.router.SetMaxmsgsize(l.limits.MaxFrame()+frameSlack),
		l.router.SetIpv6(true),
	)
	if err != nil {
		return fmt.Errorf("set up ROUTER socket: %w", err)
	}
	if err := l.openZAP(); err != nil {
		return err
	}
	l.poller.Add(l.box.Poll(), zmq.POLLIN)
	l.poller.Add(l.router, zmq.POLLIN)
	return nil
}

func (l *loop) close() {
	for _, r := range l.remotes {
		r.close()
	}
	if l.box != nil {
		for _, c := range l.box.Close() {
			c.done <- ErrClosed
		}
	}
	for _, s := range []*zmq.Socket{l.router, l.zap} {
		if s != nil {
			if err := s.Close(); err != nil && l.err == nil {
				l.err = fmt.Errorf("close socket: %w", err)
			}
		}
	}
}

// release closes a polled socket.
func (l *loop) release(s *zmq.Socket) {
	if _, polled := l.bySocket[s]; polled {
		delete(l.bySocket, s)
		if err := l.poller.RemoveBySocket(s); err != nil {
			l.log.Error("cannot stop polling a socket", "error", err)
		}
	}
	if err := s.Close(); err != nil {
		l.log.Error("cannot close a socket", "error", err)
	}
}

// turn waits until there is something to do and does it.
func (l *loop) turn() error {
	var wait time.Duration
	if l.box.Sleep() {
		wait = l.timers.wait(time.Now(), longest)
		if len(l.stuck) > 0 {
			wait = min(wait, max(time.Until(l.retryAt), time.Millisecond))
		}
	}
	polled, err := l.poller.Poll(wait)
	l.box.Awake()
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	l.now = time.Now()
	for _, p := range polled {
		switch p.Socket {
		case l.router:
			if err := l.receive(); err != nil {
				return err
			}
		case l.box.Poll():
			l.box.Drain()
		case l.zap:
			l.admitPeers()
		default:
			if r := l.bySocket[p.Socket]; r != nil {
				r.readable(p.Socket)
			}
		}
	}
	l.obey()
	l.timers.run(l.now)
	l.retry()
	l.spread()
	l.settle()
	return nil
}

// receive handles some messages of clients.
func (l *loop) receive() error {
	for range batch {
		id, err := l.router.RecvBytes(zmq.DONTWAIT)
		if err != nil {
			return unlessEmpty(err)
		}
		frame, multipart, err := recvFrame(l.router)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		m, err := l.decode(frame, multipart)
		l.fromClient(string(id), m, err)
	}
	return nil
}

// recvFrame takes a message, and throws away what follows its first frame.
func recvFrame(s *zmq.Socket) (frame []byte, multipart bool, err error) {
	if frame, err = s.RecvBytes(zmq.DONTWAIT); err != nil {
		return nil, false, err
	}
	for {
		more, err := s.GetRcvmore()
		if err != nil || !more {
			return frame, multipart, err
		}
		multipart = true
		if _, err := s.RecvBytes(zmq.DONTWAIT); err != nil {
			return nil, false, err
		}
	}
}

func unlessEmpty(err error) error {
	if zmq.AsErrno(err) == zmq.Errno(unix.EAGAIN) {
		return nil
	}
	return fmt.Errorf("receive: %w", err)
}

func (l *loop) decode(frame []byte, multipart bool) (wire.Message, error) {
	l.stats.Received++
	if multipart {
		return wire.Message{}, errMultipart
	}
	return l.limits.Decode(frame)
}

// obey runs the commands that callers have put in.
func (l *loop) obey() {
	l.commands = l.box.Take(l.commands)
	for _, c := range l.commands {
		c.done <- c.run(l)
	}
}

// spread tells neighbours the news. It comes last in a turn, so that what many
// messages have changed is told once.
func (l *loop) spread() {
	if !l.news {
		return
	}
	l.news = false
	for _, c := range l.clients {
		l.catchUp(c.link)
	}
	for _, r := range l.remotes {
		l.catchUp(r.link)
	}
	l.untold = slices.DeleteFunc(l.untold, func(id string) bool {
		old := l.lapsed[id]
		return old == nil || l.disown(old) == nil
	})
}

// settle lets those go on who wait for all remotes.
func (l *loop) settle() {
	l.waiters = slices.DeleteFunc(l.waiters, func(w waiter) bool {
		settled := true
		for _, r := range l.remotes {
			settled = r.settled(w.seq) && settled
		}
		if settled {
			close(w.done)
		}
		return settled
	})
}

// trace logs what a node does, for those who asked for it.
func (l *loop) trace(what string, attributes ...any) {
	level := slog.LevelDebug
	if l.verbose {
		level = slog.LevelInfo
	}
	l.log.Log(context.Background(), level, what, attributes...)
}

// heartbeat is how often a remote hears from this node.
func (l *loop) heartbeat() time.Duration {
	if l.timeout == 0 {
		return mostHeartbeat
	}
	return min(max(l.timeout/4, leastHeartbeat), mostHeartbeat)
}
