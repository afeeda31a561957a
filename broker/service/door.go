// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// Bounds that libzmq keeps for each client.
const (
	// answersHWM is how many answers wait in libzmq for a client that does not
	// read them, before the service stops serving it.
	answersHWM = 128
	// requestsHWM is how many requests libzmq takes from a client before the
	// service does.
	requestsHWM = 64
	// frameSlack is by how much a frame may exceed the longest WRITE and still be
	// answered INVALID; the connection of a client that sends more is cut before
	// any memory is taken.
	frameSlack = 4096

	listenBacklog = 256
)

// door is the ROUTER socket with the endpoints that clients come to.
type door struct {
	router  *zmq.Socket
	names   []string
	sockets []socketFile
	log     *slog.Logger
}

// socketFile is a Unix socket in the file system, to be removed when it is done.
type socketFile struct {
	path string
	stat unix.Stat_t
}

// open makes the socket and binds all endpoints. If it fails, close cleans up.
func (d *door) open(ctx *zmq.Context, cfg Config) error {
	d.log = cfg.Log
	var err error
	if d.router, err = mailbox.Socket(ctx, zmq.ROUTER); err != nil {
		return err
	}
	longest := int64(cfg.MaxChunk) + zpipes.ChunkHeadLen + zpipes.TimeoutLen + frameSlack
	err = errors.Join(
		d.router.SetRouterMandatory(1),
		d.router.SetSndhwm(answersHWM),
		d.router.SetRcvhwm(requestsHWM),
		d.router.SetMaxmsgsize(longest),
		d.router.SetHandshakeIvl(cfg.ClientTimeout),
		d.router.SetIpv6(true),
	)
	if err != nil {
		return fmt.Errorf("set up ROUTER socket: %w", err)
	}
	for _, endpoint := range cfg.Endpoints {
		if err := d.bind(endpoint, cfg); err != nil {
			return fmt.Errorf("serve %s: %w", endpoint, err)
		}
	}
	return nil
}

func (d *door) bind(endpoint string, cfg Config) error {
	scheme, address, ok := strings.Cut(endpoint, "://")
	switch {
	case ok && scheme == "ipc" && len(address) > 1:
		return d.bindUnix(endpoint, address, cfg.AllowUID != nil)
	case ok && scheme == "tcp" && hasPort(address):
		return d.bindTCP(endpoint, address, cfg)
	}
	return fmt.Errorf("%w: want ipc://@/NAME, ipc:///PATH or tcp://ADDRESS:PORT", ErrEndpoint)
}

// hasPort checks the port, which libzmq takes modulo 65536.
func hasPort(address string) bool {
	port := address[strings.LastIndexByte(address, ':')+1:]
	if port == address || port == "*" {
		return port != address
	}
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (d *door) bindTCP(endpoint, address string, cfg Config) error {
	// A host that dies says nothing; on ipc the kernel does. Options count for
	// what is bound after them.
	if err := errors.Join(d.router.SetZapDomain(zapTCP), d.router.SetHeartbeatIvl(cfg.ClientTimeout)); err != nil {
		return fmt.Errorf("set up endpoint: %w", err)
	}
	if err := d.router.Bind(endpoint); err != nil {
		switch zmq.AsErrno(err) {
		case zmq.Errno(unix.EADDRINUSE):
			return fmt.Errorf("%w: stop it or choose another port", ErrInUse)
		case zmq.Errno(unix.EADDRNOTAVAIL), zmq.Errno(unix.ENODEV):
			return fmt.Errorf("bind: %w: no interface of this host has the address; name one that has, or *", err)
		case zmq.Errno(unix.EINVAL):
			return fmt.Errorf("%w: want tcp://ADDRESS:PORT", ErrEndpoint)
		case zmq.Errno(unix.EACCES):
			return fmt.Errorf("bind: %w: ports below 1024 want privilege; choose another", err)
		}
		return fmt.Errorf("bind: %w", err)
	}
	last, err := d.router.GetLastEndpoint()
	if err != nil {
		return fmt.Errorf("look up what was bound: %w", err)
	}
	last = unmapped(last)
	d.names = append(d.names, last)
	if !onLoopback(address) {
		d.log.Warn("ZPIPES is served beyond this host in plain text, to whoever can reach it", "endpoint", last)
	}
	return nil
}

// unmapped writes an IPv4 address plainly that libzmq names as IPv6
// (::ffff:127.0.0.1): a client without IPv6 could not connect to that.
func unmapped(endpoint string) string {
	at, err := netip.ParseAddrPort(strings.TrimPrefix(endpoint, "tcp://"))
	if err != nil {
		return endpoint
	}
	return "tcp://" + netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost" || host == "lo"
}

// bindUnix makes the listening socket itself: libzmq would unlink a path that
// another broker listens on, and could not set the file's mode before it
// listens.
func (d *door) bindUnix(endpoint, address string, others bool) error {
	fd, file, err := listenUnix(address, others)
	if err != nil {
		return err
	}
	if file != nil {
		d.sockets = append(d.sockets, *file)
	}
	err = errors.Join(d.router.SetZapDomain(zapIPC), d.router.SetHeartbeatIvl(0), d.router.SetUseFd(fd))
	if err == nil {
		err = d.router.Bind(endpoint)
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("bind: %w", err)
	}
	d.names = append(d.names, endpoint)
	return d.router.SetUseFd(-1)
}

// bound returns the endpoints as clients name them.
func (d *door) bound() []string { return d.names }

// close closes the socket, which ends all connections, and removes its files.
func (d *door) close() error {
	var err error
	if d.router != nil {
		err = d.router.Close()
	}
	for _, f := range d.sockets {
		f.remove()
	}
	return err
}

// remove unlinks the file unless somebody has put another there.
func (f *socketFile) remove() {
	var now unix.Stat_t
	if unix.Lstat(f.path, &now) == nil && now.Dev == f.stat.Dev && now.Ino == f.stat.Ino {
		os.Remove(f.path)
	}
}
