// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

const (
	// framesHWM is how many frames libzmq takes from a peer before they are received.
	framesHWM = 16
	// batch bounds the frames received before other things get their turn.
	batch = 64
	// maxNames bounds the routing ids that are remembered.
	maxNames = 4096
)

// inbound is the goroutine that receives. It owns the ROUTER and the ZAP socket,
// and is the only one to call the Handler.
type inbound struct {
	*sockets
	waiter  *waiter
	porter  porter
	router  *zmq.Socket
	raw     *rawSocket
	monitor monitor
	stopped atomic.Bool

	unpacker unpacker
	byName   map[string]peer.ID // routing ids that were parsed
	owing    []*remote          // what came from them may not be acknowledged yet
	owed     time.Time          // since when
	more     bool               // the ROUTER has more frames
	log      struct{ handshake, version, stranger, damage throttle }
}

func newInbound(s *sockets) (*inbound, error) {
	w, err := newWaiter()
	if err != nil {
		return nil, err
	}
	in := &inbound{sockets: s, waiter: w, byName: make(map[string]peer.ID)}
	in.unpacker = unpacker{pool: s.cfg.Pool, limit: s.cfg.MaxMessage}
	in.porter = porter{member: s.member, log: s.cfg.Log}
	return in, nil
}

func (in *inbound) stop() {
	in.stopped.Store(true)
	in.waiter.wake()
}

// run makes the sockets, says on ready how that went, and receives until it is
// told to stop.
func (in *inbound) run(ready chan<- error) {
	defer in.close()
	if err := in.open(); err != nil {
		ready <- err
		return
	}
	close(ready)
	for !in.stopped.Load() {
		if err := in.turn(); err != nil {
			in.cfg.Log.Error("no more is received from peers", "error", err)
			return
		}
	}
}

func (in *inbound) open() error {
	if in.cfg.Curve {
		if err := in.porter.open(in.context); err != nil {
			return err
		}
	}
	var err error
	if in.router, err = mailbox.Socket(in.context, zmq.ROUTER); err != nil {
		return err
	}
	if in.raw, err = raw(in.router); err != nil {
		return err
	}
	if err := in.shape(); err != nil {
		return fmt.Errorf("set up ROUTER socket: %w", err)
	}
	if err := in.monitor.open(in.context, in.router, "link.router"); err != nil {
		return err
	}
	if in.endpoint, err = bind(in.router, &in.cfg); err != nil {
		return err
	}
	watched := []*zmq.Socket{in.router, in.monitor.socket}
	if in.porter.socket != nil {
		watched = append(watched, in.porter.socket)
	}
	for _, s := range watched {
		fd, err := s.GetFd()
		if err == nil {
			err = in.waiter.add(fd)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (in *inbound) shape() error {
	r := in.router
	err := errors.Join(
		// Who comes again on another connection is the same: the former is dead.
		r.SetRouterHandover(true),
		r.SetRcvhwm(framesHWM),
		r.SetMaxmsgsize(int64(in.cfg.MaxMessage)+2*frameSize),
		r.SetHandshakeIvl(in.cfg.FailureTimeout),
		r.SetIpv6(true),
		r.SetHeartbeatIvl(in.cfg.FailureTimeout),
		r.SetHeartbeatTimeout(heartbeatPatience*in.cfg.FailureTimeout),
	)
	if in.cfg.Curve {
		err = errors.Join(err,
			r.SetZapDomain(zapDomain), r.SetCurveServer(1), r.SetCurveSecretkey(in.keys.secret))
	}
	return err
}

func (in *inbound) close() {
	in.monitor.close()
	in.raw.free()
	if in.router != nil {
		in.router.Close()
	}
	in.porter.close()
	in.waiter.close()
}

// turn waits until there is something to do and does it.
func (in *inbound) turn() error {
	fds, err := in.waiter.wait(in.patience(), in.idle)
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if fd == in.monitor.fd {
			in.monitor.drain(in.shook)
		}
	}
	if len(fds) > 0 && in.porter.socket != nil {
		in.porter.answer()
	}
	in.tell()
	if err := in.receiveAll(); err != nil {
		return err
	}
	in.settle()
	return nil
}

func (in *inbound) idle() bool {
	return !in.more && in.untold.Load() == 0 && !in.stopped.Load()
}

// patience is when there is something to do if nothing comes; zero: never.
func (in *inbound) patience() time.Time {
	if len(in.owing) == 0 {
		return time.Time{}
	}
	return in.owed.Add(ackDelay)
}

// settle has acknowledged what came a while ago, unless frames that went to the
// peer have done that: most are answered at once.
func (in *inbound) settle() {
	if len(in.owing) == 0 || time.Since(in.owed) < ackDelay {
		return
	}
	for _, r := range in.owing {
		in.acknowledge(r)
	}
	clear(in.owing)
	in.owing = in.owing[:0]
}

func (in *inbound) owe(r *remote) {
	if len(in.owing) == 0 {
		in.owed = time.Now()
	}
	for _, o := range in.owing {
		if o == r {
			return
		}
	}
	in.owing = append(in.owing, r)
}

// receiveAll handles the frames that are there, up to a bound.
func (in *inbound) receiveAll() error {
	in.more = false
	for range batch {
		name, more, err := in.raw.receive()
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err == nil && more {
			r := in.whose(name)
			var frame []byte
			if frame, more, err = in.raw.receive(); err == nil {
				in.frame(r, frame, more)
			}
		}
		for err == nil && more {
			_, more, err = in.raw.receive()
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
	in.more = true
	return nil
}

// frame handles one frame of a peer, which has sent more parts than that or not.
func (in *inbound) frame(r *remote, b []byte, more bool) {
	if r == nil {
		if n, ok := in.log.stranger.pass(time.Now()); ok {
			in.cfg.Log.Debug("ignored a frame of a broker that is not known to be alive", "unlogged", n)
		}
		return
	}
	f, b, err := peer.ParseFrame(b)
	if errors.Is(err, peer.ErrVersion) {
		if n, ok := in.log.version.pass(time.Now()); ok {
			in.cfg.Log.Error("cannot talk to a peer: install the same version of zpipes on all hosts", "peer", r.id, "error", err, "unlogged", n)
		}
		return
	}
	if err == nil && f.To != in.cfg.ID.Boot {
		return // it was meant for an earlier life
	}
	if more {
		err = fmt.Errorf("%w: it has several parts", peer.ErrFrame)
	}
	var messages []Message
	if err == nil {
		messages, err = in.unpacker.unpack(&f, b)
	}
	if err != nil {
		if n, ok := in.log.damage.pass(time.Now()); ok {
			in.cfg.Log.Error("a peer sent a frame that cannot be understood", "peer", r.id, "error", err, "unlogged", n)
		}
		in.fail(r, fmt.Errorf("%w: %w", ErrProtocol, err))
		return
	}
	if in.arrive(r, &f, messages) {
		in.owe(r)
	}
}

// whose returns the peer with a routing id, or nil if it is not up.
func (in *inbound) whose(name []byte) *remote {
	id, known := in.byName[string(name)]
	if !known {
		var ok bool
		if id, ok = parseRoutingID(name); !ok {
			return nil
		}
	}
	r := in.find(id)
	switch {
	case r == nil:
		delete(in.byName, string(name))
	case r != nil && !known:
		if len(in.byName) >= maxNames {
			clear(in.byName)
		}
		in.byName[string(name)] = id
	}
	return r
}

// shook is told of handshakes on connections that came in.
func (in *inbound) shook(event zmq.Event, detail int) {
	// Those without detail are cut links, and passers-by; the porter tells of those it
	// refused.
	if event&zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL == 0 {
		return
	}
	if n, ok := in.log.handshake.pass(time.Now()); ok {
		in.cfg.Log.Warn("a connection that came in failed: "+why(event, detail), "endpoint", in.endpoint, "unlogged", n)
	}
}
