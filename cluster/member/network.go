// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"
)

// network is memberlist's transport over TCP and UDP, with an address to tell to
// others that does not change and dialing that can be ended.
type network struct {
	*memberlist.NetTransport
	bind      netip.AddrPort // with the port that was chosen
	advertise netip.AddrPort
}

// bindTries is how often another free port is looked for: TCP's may be taken in
// UDP.
const bindTries = 10

func listen(cfg *Config, lib *log.Logger) (*network, error) {
	bind, err := parseBind(cfg.Bind)
	if err != nil {
		return nil, err
	}
	if cfg.Advertise != "" { // before sockets are open
		if _, err := parseAdvertise(cfg.Advertise, 1); err != nil {
			return nil, err
		}
	}
	t, err := listenAt(bind, lib)
	for range bindTries {
		if err == nil || bind.Port() != 0 {
			break
		}
		t, err = listenAt(bind, lib)
	}
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("listen for members at %v: %w: another broker may run on this host: give another --bind", bind, unix.EADDRINUSE)
		}
		return nil, fmt.Errorf("listen for members at %v: %w", bind, err)
	}
	n := &network{NetTransport: t, bind: netip.AddrPortFrom(bind.Addr(), uint16(t.GetAutoBindPort()))}
	if n.advertise, err = advertised(cfg.Advertise, n.bind); err != nil {
		n.discard()
		return nil, err
	}
	return n, nil
}

func listenAt(bind netip.AddrPort, lib *log.Logger) (*memberlist.NetTransport, error) {
	if err := probe(bind); err != nil {
		return nil, err
	}
	return memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{bind.Addr().String()}, BindPort: int(bind.Port()), Logger: lib,
	})
}

// probe returns the cause of an address that cannot be bound, of which
// NewNetTransport keeps the text alone.
func probe(bind netip.AddrPort) error {
	l, err := net.Listen("tcp", bind.String())
	if err != nil {
		return err
	}
	return l.Close()
}

// discard closes a network that memberlist was not given.
func (n *network) discard() {
	g := newGate(n, hello{}, time.Second, &reporter{})
	g.Shutdown()
}

// advertised returns the address to tell to others.
func advertised(setting string, bind netip.AddrPort) (netip.AddrPort, error) {
	if setting != "" {
		return parseAdvertise(setting, bind.Port())
	}
	if !bind.Addr().IsUnspecified() {
		return bind, nil
	}
	return netip.AddrPortFrom(ownAddress(bind.Addr().Is6()), bind.Port()), nil
}

// ownAddress returns the address that this host would talk to the world from,
// else any of its own that is not loopback, else loopback. Nothing is sent: a
// datagram socket that connects only looks up its route. The targets are
// addresses for documentation (RFC 5737, RFC 3849).
func ownAddress(v6 bool) netip.Addr {
	targets := []string{"192.0.2.1:9"}
	if v6 {
		targets = append(targets, "[2001:db8::1]:9")
	}
	for _, target := range targets {
		if c, err := net.Dial("udp", target); err == nil {
			a := addrPort(c.LocalAddr()).Addr()
			c.Close()
			if a.IsValid() && !a.IsUnspecified() {
				return a
			}
		}
	}
	addrs, _ := net.InterfaceAddrs() // none is loopback, too
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() && (v6 || p.Addr().Is4()) {
			return p.Addr()
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// addrPort is a network address, IPv4 in its own form; the zero AddrPort if it
// has none.
func addrPort(a net.Addr) netip.AddrPort {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// FinalAdvertiseAddr returns the address that was chosen at the start.
func (n *network) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return n.advertise.Addr().AsSlice(), int(n.advertise.Port()), nil
}

// DialContext connects to addr, "ip:port".
func (n *network) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}
