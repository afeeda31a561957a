// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"
)

// bind serves at an endpoint and returns it as clients name it.
func (l *loop) bind(endpoint string) (string, error) {
	scheme, address, _ := strings.Cut(endpoint, "://")
	switch {
	case scheme == "tcp" && hasPort(address):
		return l.bindTCP(endpoint, address)
	case scheme == "ipc" && len(address) > 0 && address != "*" && address != "@":
		return l.bindIPC(endpoint, address)
	case scheme == "inproc" && len(address) > 0:
		// No security: whoever shares the context is this process.
		return endpoint, bindError(l.router.Bind(endpoint))
	}
	return "", ErrEndpoint
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

func (l *loop) bindTCP(endpoint, address string) (string, error) {
	if err := l.secureServer(l.router); err != nil {
		return "", err
	}
	if err := l.router.Bind(endpoint); err != nil {
		return "", bindError(err)
	}
	last, err := l.router.GetLastEndpoint()
	if err != nil {
		return "", fmt.Errorf("look up what was bound: %w", err)
	}
	at, err := netip.ParseAddrPort(strings.TrimPrefix(last, "tcp://"))
	if err != nil {
		return "", fmt.Errorf("look up what was bound: %w", err)
	}
	l.port = int(at.Port())
	if !l.security.on() && !onLoopback(address) {
		l.log.Warn("gossip is served beyond this host in plain text, to whoever can reach it", "endpoint", last)
	}
	// libzmq names an IPv4 address as IPv6, to which a client without IPv6 could
	// not connect.
	return "tcp://" + netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String(), nil
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost" || host == "lo"
}

// bindIPC does not take a path from whoever serves there: libzmq would unlink it
// without asking.
func (l *loop) bindIPC(endpoint, address string) (string, error) {
	if c, err := net.Dial("unix", address); err == nil {
		c.Close()
		return "", ErrInUse
	}
	if err := l.secureServer(l.router); err != nil {
		return "", err
	}
	return endpoint, bindError(l.router.Bind(endpoint))
}

func bindError(err error) error {
	if err == nil {
		return nil
	}
	switch zmq.AsErrno(err) {
	case zmq.Errno(unix.EADDRINUSE):
		return fmt.Errorf("%w: stop it or choose another", ErrInUse)
	case zmq.Errno(unix.EADDRNOTAVAIL), zmq.Errno(unix.ENODEV):
		return fmt.Errorf("%w: no interface of this host has the address; name one that has, or *", err)
	case zmq.Errno(unix.EINVAL):
		return ErrEndpoint
	case zmq.Errno(unix.EACCES):
		return fmt.Errorf("%w: ports below 1024 want privilege; choose another", err)
	}
	return err
}

// checkConnect refuses what cannot be an endpoint to connect to; of the rest it
// shows in time whether anybody is there.
func checkConnect(endpoint string) error {
	scheme, address, _ := strings.Cut(endpoint, "://")
	switch scheme {
	case "tcp":
		if i := strings.LastIndexByte(address, ':'); i > 0 && hasPort(address) && address[i+1:] != "*" && strings.Trim(address[i+1:], "0") != "" {
			return nil
		}
	case "ipc", "inproc":
		if address != "" && address != "*" {
			return nil
		}
	}
	return ErrEndpoint
}

// giveUp ends a wait for all remotes and returns those it was for.
func (l *loop) giveUp(done chan<- struct{}) []string {
	var missing []string
	for i, w := range l.waiters {
		if w.done != done {
			continue
		}
		l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
		for _, r := range l.remotes {
			if !r.settled(w.seq) {
				missing = append(missing, r.endpoint)
			}
		}
		break
	}
	return missing
}

// security is how a node proves who it is, and checks others.
type security struct {
	public, secret string // Z85
	domain         string // of ZAP
}

func (s security) on() bool { return s.secret != "" }

// pair returns the keys, and makes them if there are none.
func (s security) pair() (public, secret string, err error) {
	if !s.on() {
		return zmq.NewCurveKeypair()
	}
	public, err = zmq.AuthCurvePublic(s.secret)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	if s.public != "" && s.public != public {
		return "", "", ErrKey
	}
	return public, s.secret, nil
}

// secureServer sets the options for what is bound next.
func (l *loop) secureServer(s *zmq.Socket) error {
	if !l.security.on() {
		if on, err := s.GetMechanism(); err != nil || on == zmq.NULL {
			return err
		}
		return errors.Join(s.SetCurveServer(0), s.SetZapDomain(""))
	}
	if l.zap == nil {
		return ErrShared
	}
	_, secret, err := l.security.pair()
	if err != nil {
		return err
	}
	err = errors.Join(s.SetCurveServer(1), s.SetCurveSecretkey(secret), s.SetZapDomain(l.security.domain))
	if err != nil {
		return fmt.Errorf("set up CURVE: %w", err)
	}
	return nil
}

// secureClient sets the options for a connection to who has a key.
func (l *loop) secureClient(s *zmq.Socket, serverKey string) error {
	if serverKey == "" {
		return nil
	}
	public, secret, err := l.security.pair()
	if err != nil {
		return err
	}
	return errors.Join(s.SetCurveServerkey(serverKey), s.SetCurvePublickey(public), s.SetCurveSecretkey(secret))
}

// validKey tells whether a text is a key: Z85 (RFC 32) of 32 octets.
func validKey(key string) bool {
	if len(key) != 40 {
		return false
	}
	for _, c := range []byte(key) {
		letter := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && !strings.ContainsRune(".-:+=^!/*?&<>()[]{}@%$#", rune(c)) {
			return false
		}
	}
	return true
}
