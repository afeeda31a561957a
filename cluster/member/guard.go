// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// guard decides for memberlist who can be a member. It is a Merge delegate, asked
// when a broker joins and each side has got the other's members, and an Alive
// delegate, asked about each member that is heard of: a refused one would else
// come in through a third.
type guard struct {
	node    string
	version uint8
	addr    netip.AddrPort // this broker's
	report  *reporter
	serf    atomic.Pointer[serf.Serf] // nil until it was created
}

// NotifyMerge refuses a cluster that has a member which cannot be one here. Both
// sides ask their guards, which agree, so that no side sees the other.
func (g *guard) NotifyMerge(nodes []*memberlist.Node) error {
	live := g.live()
	for _, n := range nodes {
		if n.State == memberlist.StateDead || n.State == memberlist.StateLeft {
			continue
		}
		if err := g.admit(n); err != nil {
			g.report.refused(n.Address(), err)
			return err
		}
		addr := nodeAddr(n)
		if known, ok := live[n.Name]; ok && known != addr {
			return g.conflict(n.Name, known, addr)
		}
	}
	return nil
}

// NotifyAlive keeps out what cannot be a member. memberlist holds its locks.
func (g *guard) NotifyAlive(n *memberlist.Node) error {
	if n.Name == g.node && nodeAddr(n) != g.addr {
		return g.conflict(n.Name, g.addr, nodeAddr(n))
	}
	return g.admit(n)
}

// live returns where each live member is.
func (g *guard) live() map[string]netip.AddrPort {
	live := map[string]netip.AddrPort{g.node: g.addr}
	s := g.serf.Load()
	if s == nil {
		return live
	}
	for _, m := range s.Members() {
		if isLive(m.Status) && m.Name != g.node {
			live[m.Name] = ipPort(m.Addr, m.Port)
		}
	}
	return live
}

func isLive(s serf.MemberStatus) bool { return s == serf.StatusAlive || s == serf.StatusLeaving }

// admit returns why n cannot be a member, whatever else is one.
func (g *guard) admit(n *memberlist.Node) error {
	if !nodeAddr(n).IsValid() {
		return fmt.Errorf("%w: node %q has no IP address", errRefused, n.Name)
	}
	if err := checkNode(n.Name); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	tags, err := decodeTags(n.Meta)
	if err != nil {
		return fmt.Errorf("%w: node %s is no zpipes broker: %w", errRefused, n.Name, err)
	}
	m, err := memberOf(n.Name, n.Address(), tags)
	if err != nil {
		return fmt.Errorf("%w: node %s is no zpipes broker: %w", errRefused, n.Name, err)
	}
	if m.Version != g.version {
		return versionRefusal(g.version, m.Version)
	}
	return nil
}

// conflict tells of two brokers with one name, of which memberlist would let
// each have some of the others.
func (g *guard) conflict(node string, known, other netip.AddrPort) error {
	g.report.conflict(node, known.String(), other.String())
	return fmt.Errorf("%w: node name %s is taken by the broker at %v: give one of them another with --node", errRefused, node, known)
}

func nodeAddr(n *memberlist.Node) netip.AddrPort { return ipPort(n.Addr, n.Port) }

func ipPort(ip net.IP, port uint16) netip.AddrPort {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), port)
}
