// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// sockets are Links over ZeroMQ: one ROUTER socket for what comes in, which
// belongs to one goroutine, and one DEALER for each peer for what goes out, which
// belong to another.
type sockets struct {
	*hub
	context  *zmq.Context
	keys     keyPair
	endpoint string
	in       *inbound
	out      *outbound
	running  sync.WaitGroup
}

// maxSockets is how many sockets libzmq makes: a peer needs three.
const maxSockets = 4096

// Listen binds cfg.Bind and gives the links of a broker, without peers. When it
// fails nothing is left bound. Errors wrap ErrConfig, or say what the system said.
func Listen(cfg Config) (Links, error) {
	if err := cfg.fill(); err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	s, err := listen(cfg)
	if err != nil {
		return nil, fmt.Errorf("listen for peers on %s: %w", cfg.Bind, err)
	}
	return s, nil
}

func listen(cfg Config) (*sockets, error) {
	keepMemory()
	s := &sockets{hub: newHub(cfg)}
	var err error
	if cfg.Curve {
		if s.keys, err = newKeyPair(); err != nil {
			return nil, err
		}
	}
	if s.context, err = zmq.NewContext(); err != nil {
		return nil, fmt.Errorf("make ZeroMQ context: %w", err)
	}
	if err = s.context.SetMaxSockets(maxSockets); err == nil {
		err = s.start()
	}
	if err != nil {
		s.running.Wait()
		return nil, errors.Join(err, s.context.Term())
	}
	return s, nil
}

// start starts both goroutines, or none.
func (s *sockets) start() error {
	var err error
	if s.in, err = newInbound(s); err != nil {
		return err
	}
	if s.out, err = newOutbound(s); err != nil {
		s.in.waiter.close()
		return err
	}
	s.hub.poke, s.hub.rouse = s.out.look, s.in.waiter.wake
	ready := make(chan error)
	s.running.Go(func() { s.in.run(ready) })
	if err := <-ready; err != nil {
		s.out.waiter.close()
		return err
	}
	s.running.Go(s.out.run)
	return nil
}

// Endpoint is described at Links.
func (s *sockets) Endpoint() string { return s.endpoint }

// PublicKey is described at Links.
func (s *sockets) PublicKey() string { return s.keys.public }

// Close is described at Links.
func (s *sockets) Close() error {
	if !s.shut() {
		return ErrClosed
	}
	s.in.stop()
	s.out.stop()
	s.running.Wait()
	s.forget()
	if err := s.context.Term(); err != nil {
		return fmt.Errorf("end ZeroMQ context: %w", err)
	}
	return nil
}

// routingID is how a life of a broker is called on the connections it makes.
// ZeroMQ wants 1 to 255 octets of which the first is not zero.
func routingID(id peer.ID) string {
	return string(binary.BigEndian.AppendUint64([]byte(id.Node+"\x00"), id.Boot))
}

func parseRoutingID(b []byte) (peer.ID, bool) {
	n := len(b) - 9
	if n < 1 || b[n] != 0 {
		return peer.ID{}, false
	}
	return peer.ID{Node: string(b[:n]), Boot: binary.BigEndian.Uint64(b[n+1:])}, true
}

// bind binds the ROUTER and returns where peers connect to.
func bind(router *zmq.Socket, cfg *Config) (string, error) {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(cfg.Bind, "tcp://"))
	if err != nil || !strings.HasPrefix(cfg.Bind, "tcp://") {
		return "", fmt.Errorf("%w: %q is not tcp://address:port", ErrConfig, cfg.Bind)
	}
	if port == "0" {
		port = "*"
	}
	if err := router.Bind("tcp://" + joinHostPort(host, port)); err != nil {
		switch zmq.AsErrno(err) {
		case zmq.Errno(unix.EADDRINUSE):
			return "", fmt.Errorf("bind: %w: choose another port", err)
		case zmq.Errno(unix.EADDRNOTAVAIL), zmq.Errno(unix.ENODEV):
			return "", fmt.Errorf("bind: %w: no interface of this host has the address", err)
		case zmq.Errno(unix.EINVAL):
			return "", fmt.Errorf("%w: %q is not tcp://address:port", ErrConfig, cfg.Bind)
		}
		return "", fmt.Errorf("bind: %w", err)
	}
	last, err := router.GetLastEndpoint()
	if err != nil {
		return "", fmt.Errorf("look up what was bound: %w", err)
	}
	return advertised(last, host, cfg.Advertise)
}

// advertised names the endpoint that was bound as peers can use it.
func advertised(last, host, advertise string) (string, error) {
	bound, port, err := net.SplitHostPort(strings.TrimPrefix(last, "tcp://"))
	if err != nil {
		return "", fmt.Errorf("understand endpoint %q: %w", last, err)
	}
	if advertise != "" {
		return "tcp://" + net.JoinHostPort(advertise, port), nil
	}
	ip := net.ParseIP(bound)
	if host == "*" || ip == nil || ip.IsUnspecified() {
		return "", fmt.Errorf("%w: peers cannot connect to the address %s; say which address of this host they can", ErrConfig, bound)
	}
	// An IPv4 address is named plainly, not as IPv6 (::ffff:127.0.0.1).
	return "tcp://" + net.JoinHostPort(ip.String(), port), nil
}

// joinHostPort leaves alone what libzmq reads as a wildcard or an interface.
func joinHostPort(host, port string) string {
	if host == "" {
		host = "*"
	}
	return net.JoinHostPort(host, port)
}
