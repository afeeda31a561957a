// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// memoryPort is the port of each transport of a Network.
const memoryPort = 7947

// memoryQueue is how many packets may wait at a transport: more are lost, as
// with UDP.
const memoryQueue = 256

// Network connects many memberships within one process, for simulations. It
// loses no packet, unless its receiver is slow, and takes no time.
type Network struct {
	mu    sync.RWMutex
	nodes map[string]*memory         // guarded by mu: by address
	made  uint32                     // guarded by mu
	reach func(from, to string) bool // guarded by mu: nil: all
}

// NewNetwork returns a network of none.
func NewNetwork() *Network { return &Network{nodes: make(map[string]*memory)} }

// Transport returns a transport with an address of its own, for Config.Transport.
func (n *Network) Transport() memberlist.Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	ip := netip.AddrFrom4([4]byte{10, byte(n.made >> 16), byte(n.made >> 8), byte(n.made)})
	return n.add(netip.AddrPortFrom(ip, memoryPort))
}

// TransportAt returns a transport with a given address, "ip:port", which a
// broker that is back has again. The one that had it must have been shut down.
func (n *Network) TransportAt(addr string) (memberlist.Transport, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[a.String()] != nil {
		return nil, fmt.Errorf("address %v is in use", a)
	}
	return n.add(a), nil
}

// add makes a transport. The caller holds mu.
func (n *Network) add(addr netip.AddrPort) *memory {
	t := &memory{net: n, addr: memoryAddr(addr.String()), ip: addr,
		packets: make(chan *memberlist.Packet, memoryQueue), streams: make(chan net.Conn), done: make(chan struct{})}
	n.nodes[addr.String()] = t
	return t
}

// Reach sets who can send to whom from now on, by address; nil is everybody.
// Streams that are open stay open.
func (n *Network) Reach(reach func(from, to string) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reach = reach
}

// Sent returns how many packets and how many bytes, those of streams included,
// the transport at addr has sent, as long as it is not shut down.
func (n *Network) Sent(addr string) (packets, bytes int64) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	t := n.nodes[addr]
	if t == nil {
		return 0, 0
	}
	return t.sentPackets.Load(), t.sentBytes.Load()
}

func (n *Network) find(from, to string) *memory {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.reach != nil && !n.reach(from, to) {
		return nil
	}
	return n.nodes[to]
}

// memory is a memberlist.Transport of a Network.
type memory struct {
	net         *Network
	addr        memoryAddr
	ip          netip.AddrPort
	packets     chan *memberlist.Packet
	streams     chan net.Conn
	done        chan struct{}
	shut        sync.Once
	sentPackets atomic.Int64
	sentBytes   atomic.Int64
}

type memoryAddr string

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

var errNoRoute = errors.New("no route to host")

func (t *memory) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.ip.Addr().AsSlice(), int(t.ip.Port()), nil
}

// WriteTo does not wait: who cannot take a packet loses it.
func (t *memory) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	t.sentPackets.Add(1)
	t.sentBytes.Add(int64(len(b)))
	if to := t.net.find(t.addr.String(), addr); to != nil {
		select {
		case to.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: t.addr, Timestamp: now}:
		default:
		}
	}
	return now, nil
}

func (t *memory) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *memory) StreamCh() <-chan net.Conn           { return t.streams }

func (t *memory) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.DialContext(ctx, addr)
}

// WriteToAddress and DialAddressTimeout ignore the name.
func (t *memory) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *memory) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// DialContext connects at once or fails at once, unless the other is slow.
func (t *memory) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	to := t.net.find(t.addr.String(), addr)
	if to == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, errNoRoute)
	}
	near, far := net.Pipe()
	select {
	case to.streams <- &memoryConn{far, to, t.addr}:
		return &memoryConn{near, t, to.addr}, nil
	case <-to.done:
	case <-t.done:
	case <-ctx.Done():
	}
	near.Close()
	far.Close()
	return nil, fmt.Errorf("dial %s: %w", addr, errNoRoute)
}

func (t *memory) Shutdown() error {
	t.shut.Do(func() {
		t.net.mu.Lock()
		defer t.net.mu.Unlock()
		delete(t.net.nodes, t.addr.String())
		close(t.done)
	})
	return nil
}

// memoryConn is one side of a stream; it counts what it sends.
type memoryConn struct {
	net.Conn
	owner  *memory
	remote memoryAddr
}

func (c *memoryConn) LocalAddr() net.Addr  { return c.owner.addr }
func (c *memoryConn) RemoteAddr() net.Addr { return c.remote }

func (c *memoryConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.owner.sentBytes.Add(int64(n))
	return n, err
}
