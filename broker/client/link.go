// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package client opens the pipes of a broker over ZPIPES, from any process on
// its host or, by tcp, beyond. A Reader is an io.ReadCloser and a Writer an
// io.WriteCloser: streams of bytes, with the chunks of the protocol below them.
// See DESIGN.md.
package client

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

const (
	// maxPingEvery keeps an idle end alive at brokers that drop clients after
	// 10 seconds of silence, zbroker's default and ours.
	maxPingEvery = 3 * time.Second

	// maxAnswer bounds a frame that the broker may send.
	maxAnswer = 1 << 30
)

// role is what a link is for. Its methods run in the link's goroutine.
type role interface {
	answer(m zpipes.Message) error // any but PING-OK; the error ends the link
	pong() error                   // a PING-OK
	pump() error                   // send what may be sent now
	closing() bool                 // no more to be sent but CLOSE
	fail(err error)                // the link has ended
}

type command uint8

const (
	pump   command = iota // there is something to send, or room to receive
	finish                // close as soon as the role is ready
	abort                 // the open was given up
)

// link is a client's one goroutine with its DEALER socket.
type link struct {
	endpoint string
	open     zpipes.Message // INPUT or OUTPUT
	opts     options
	role     role

	context *zmq.Context
	box     *mailbox.Box[command]
	socket  *zmq.Socket
	monitor *zmq.Socket
	poller  *zmq.Poller
	limits  zpipes.Limits
	frame   []byte
	unsent  [][]byte // frames that libzmq had no room for, oldest first
	spare   []command

	now      time.Time
	heard    time.Time // when the broker last sent anything
	pinged   time.Time // when it was asked for a sign of life; zero: not since
	openBy   time.Time
	closeBy  time.Time // zero: not closing
	isOpen   bool
	closeOut bool // CLOSE was sent
	lost     bool // the connection has ended

	opened chan error    // how the open went
	done   chan struct{} // closed when the goroutine has ended
	result error         // why it ended; nil after CLOSE-OK. Read it after done
}

// dial opens the end and waits until it is.
func dial(ctx context.Context, endpoint string, open zpipes.Message, o options, r func(*link) role) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("open %q at %s: %w", open.Name, endpoint, context.Cause(ctx))
	}
	l := &link{
		endpoint: endpoint, open: open, opts: o, context: o.context,
		poller: zmq.NewPoller(), limits: zpipes.Limits{MaxChunk: maxAnswer},
		opened: make(chan error, 1), done: make(chan struct{}),
	}
	l.role = r(l)
	started := make(chan error)
	go l.run(started)
	if err := <-started; err != nil {
		<-l.done
		return fmt.Errorf("open %q at %s: %w", open.Name, endpoint, err)
	}
	var err error
	select {
	case err = <-l.opened:
	case <-ctx.Done():
		l.box.Put(abort)
		err = context.Cause(ctx)
	}
	if err != nil {
		<-l.done
		return fmt.Errorf("open %q at %s: %w", open.Name, endpoint, err)
	}
	return nil
}

// run makes the sockets, opens, and carries messages until the end is closed or
// the broker is gone.
func (l *link) run(started chan<- error) {
	defer close(l.done)
	if err := l.begin(); err != nil {
		l.end()
		started <- err
		return
	}
	close(started)
	var err error
	for err == nil {
		err = l.turn()
	}
	if !errors.Is(err, errDone) {
		l.result = err
	}
	l.end()
	l.role.fail(err)
	if !l.isOpen {
		l.opened <- err
	}
}

// errDone ends the goroutine after a proper CLOSE.
var errDone = errors.New("done")

func (l *link) begin() error {
	var err error
	if l.context == nil {
		if l.context, err = zmq.NewContext(); err != nil {
			return fmt.Errorf("make ZeroMQ context: %w", err)
		}
	}
	name := fmt.Sprintf("zpipes.client.%p", l) // unique among ends that share a context
	if l.box, err = mailbox.New[command](l.context, name); err != nil {
		return err
	}
	if l.socket, err = mailbox.Socket(l.context, zmq.DEALER); err != nil {
		return err
	}
	if err := l.watch(name + ".monitor"); err != nil {
		return err
	}
	if err := l.socket.Connect(l.endpoint); err != nil {
		return fmt.Errorf("connect: %w: want ipc://@/NAME, ipc:///PATH or tcp://ADDRESS:PORT", err)
	}
	for _, s := range []*zmq.Socket{l.socket, l.box.Poll(), l.monitor} {
		l.poller.Add(s, zmq.POLLIN)
	}
	l.now = time.Now()
	l.heard, l.openBy = l.now, l.now.Add(l.opts.connect)
	return l.send(l.open)
}

// watch has libzmq tell when the connection ends: it would connect again, to a
// broker that knows nothing of this end.
func (l *link) watch(name string) error {
	address := "inproc://" + name
	if err := l.socket.Monitor(address, zmq.EVENT_DISCONNECTED|zmq.EVENT_HANDSHAKE_FAILED_AUTH); err != nil {
		return fmt.Errorf("monitor connection: %w", err)
	}
	var err error
	if l.monitor, err = mailbox.Socket(l.context, zmq.PAIR); err != nil {
		return err
	}
	// Without a limit libzmq never waits for us, holding the lock that end needs.
	if err := l.monitor.SetRcvhwm(0); err != nil {
		return fmt.Errorf("set up monitor: %w", err)
	}
	if err := l.monitor.Connect(address); err != nil {
		return fmt.Errorf("connect %s: %w", address, err)
	}
	return nil
}

// end closes what begin made.
func (l *link) end() {
	if l.monitor != nil {
		_ = l.socket.Monitor("", 0) // an empty address stops it
		l.monitor.Close()
	}
	if l.socket != nil {
		l.socket.Close()
	}
	if l.box != nil {
		l.box.Close()
	}
	if l.opts.context == nil && l.context != nil {
		if err := l.context.Term(); err != nil && l.result == nil {
			l.result = fmt.Errorf("end ZeroMQ context: %w", err)
		}
	}
}

// turn waits until there is something to do and does it.
func (l *link) turn() error {
	if l.heard.Equal(l.now) {
		// Whoever was told may have the next request ready in a moment: let him
		// run before going to sleep, from which waking is what costs.
		runtime.Gosched()
	}
	var wait time.Duration
	if l.box.Sleep() {
		wait = max(time.Until(l.nextLook())+time.Millisecond-1, 0).Truncate(time.Millisecond)
	}
	polled, err := l.poller.Poll(wait)
	l.box.Awake()
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	l.now = time.Now()
	for _, p := range polled {
		switch p.Socket {
		case l.box.Poll():
			l.box.Drain()
		case l.monitor:
			if err := l.events(); err != nil {
				return err
			}
		}
	}
	if err := l.commands(); err != nil {
		return err
	}
	if err := l.receive(); err != nil {
		return err
	}
	if err := l.resend(); err != nil {
		return err
	}
	if l.lost {
		return fmt.Errorf("%s: %w: the connection ended", l.endpoint, ErrBrokerGone)
	}
	return l.act()
}

// nextLook is when something is due without anybody's doing.
func (l *link) nextLook() time.Time {
	if !l.isOpen {
		return l.openBy
	}
	next := l.heard.Add(l.pingEvery())
	if !l.pinged.IsZero() {
		next = l.pinged.Add(l.opts.broker)
	}
	if !l.closeBy.IsZero() && l.closeBy.Before(next) {
		return l.closeBy
	}
	return next
}

func (l *link) pingEvery() time.Duration { return min(l.opts.broker/3, maxPingEvery) }

// events reads what became of the connection.
func (l *link) events() error {
	for {
		kind, _, _, err := l.monitor.RecvEvent(zmq.DONTWAIT)
		switch {
		case err != nil:
			return nil
		case kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
			return &RefusedError{Request: l.open.ID, Reason: "this user may not connect; the broker's own and root may, and whom it is told to allow"}
		case kind == zmq.EVENT_DISCONNECTED && l.isOpen:
			l.lost = true
		}
	}
}

func (l *link) commands() error {
	l.spare = l.box.Take(l.spare)
	for _, c := range l.spare {
		switch {
		case c == abort:
			return ErrClosed
		case c == finish && l.closeBy.IsZero():
			l.closeBy = l.now.Add(l.opts.close)
		}
	}
	return nil
}

// receive handles the messages that are there.
func (l *link) receive() error {
	for {
		frame, err := l.socket.RecvBytes(zmq.DONTWAIT)
		if err != nil {
			if zmq.AsErrno(err) == zmq.Errno(unix.EAGAIN) {
				return nil
			}
			return fmt.Errorf("receive: %w", err)
		}
		m, err := l.limits.Decode(frame)
		if err != nil {
			return fmt.Errorf("%s: %w: undecodable answer: %w", l.endpoint, ErrInvalid, err)
		}
		l.heard, l.pinged = l.now, time.Time{}
		if err := l.take(m); err != nil {
			return err
		}
	}
}

func (l *link) take(m zpipes.Message) error {
	switch {
	case m.ID == zpipes.PingOK:
		return l.role.pong()
	case !l.isOpen:
		if err := verdict(l.open.ID, m); err != nil {
			return err
		}
		l.isOpen = true
		l.opened <- nil
		return nil
	case m.ID == zpipes.CloseOK && l.closeOut:
		return errDone
	}
	return l.role.answer(m)
}

// act sends what is to be sent and ends what has lasted too long.
func (l *link) act() error {
	if !l.isOpen {
		if !l.now.Before(l.openBy) {
			return fmt.Errorf("%w within %v: %s", ErrBrokerGone, l.opts.connect, diagnose(l.endpoint))
		}
		return nil
	}
	if err := l.role.pump(); err != nil {
		return err
	}
	if !l.closeBy.IsZero() {
		late := !l.now.Before(l.closeBy)
		if !l.closeOut && (late || l.role.closing()) {
			l.closeOut = true
			l.closeBy = l.now.Add(l.opts.close)
			return l.send(zpipes.Message{ID: zpipes.Close})
		}
		if l.closeOut && late {
			return fmt.Errorf("%s: CLOSE: %w within %v", l.endpoint, ErrBrokerGone, l.opts.close)
		}
	}
	return l.checkAlive()
}

func (l *link) checkAlive() error {
	switch {
	case l.pinged.IsZero():
		if l.now.Sub(l.heard) >= l.pingEvery() {
			l.pinged = l.now
			return l.ping()
		}
	case l.now.Sub(l.pinged) >= l.opts.broker:
		return fmt.Errorf("%s: %w: no PING-OK within %v", l.endpoint, ErrBrokerGone, l.opts.broker)
	}
	return nil
}

func (l *link) ping() error { return l.send(zpipes.Message{ID: zpipes.Ping}) }

func (l *link) send(m zpipes.Message) error {
	frame, err := l.limits.Append(l.frame[:0], m)
	if err != nil {
		return fmt.Errorf("encode %v: %w", m.ID, err)
	}
	l.frame = frame[:0]
	return l.sendFrame(frame)
}

// sendFrame sends a frame, now or when libzmq has room for it. The frame is the
// caller's again.
func (l *link) sendFrame(frame []byte) error {
	if len(l.unsent) > 0 {
		l.unsent = append(l.unsent, slices.Clone(frame))
		return nil
	}
	sent, err := l.trySend(frame)
	if err != nil || sent {
		return err
	}
	l.unsent = append(l.unsent, slices.Clone(frame))
	return l.await(zmq.POLLIN | zmq.POLLOUT)
}

func (l *link) trySend(frame []byte) (bool, error) {
	_, err := l.socket.SendBytes(frame, zmq.DONTWAIT)
	if err != nil && zmq.AsErrno(err) == zmq.Errno(unix.EAGAIN) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w: send: %w", l.endpoint, ErrBrokerGone, err)
	}
	return true, nil
}

// resend sends the frames that have waited, as far as there is room.
func (l *link) resend() error {
	if len(l.unsent) == 0 {
		return nil
	}
	for len(l.unsent) > 0 {
		sent, err := l.trySend(l.unsent[0])
		if err != nil || !sent {
			return err
		}
		l.unsent = slices.Delete(l.unsent, 0, 1)
	}
	return l.await(zmq.POLLIN)
}

// await sets what the poller waits for at the socket.
func (l *link) await(events zmq.State) error {
	if _, err := l.poller.UpdateBySocket(l.socket, events); err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}
