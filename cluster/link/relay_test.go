// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// relay is a TCP relay on loopback that can be cut.
type relay struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex // guards below
	thaw   *sync.Cond
	conns  map[net.Conn]bool
	cut    bool // connections are closed at once
	frozen bool // octets are taken and not passed on
	closed bool
	made   int
}

// relayTo starts a relay to an endpoint and returns it with its own endpoint.
func relayTo(t testing.TB, endpoint string) (*relay, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{listener: l, target: strings.TrimPrefix(endpoint, "tcp://"), conns: make(map[net.Conn]bool)}
	r.thaw = sync.NewCond(&r.mu)
	r.running.Go(r.accept)
	t.Cleanup(r.close)
	return r, "tcp://" + l.Addr().String()
}

func (r *relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.target)
		if err != nil {
			in.Close()
			continue
		}
		if !r.hold(in, out) {
			continue
		}
		r.running.Go(func() { r.pump(in, out) })
		r.running.Go(func() { r.pump(out, in) })
	}
}

// hold notes a pair of connections, or closes it.
func (r *relay) hold(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.cut || r.closed {
			c.Close()
			continue
		}
		r.conns[c] = true
		r.made++
	}
	return !r.cut && !r.closed
}

func (r *relay) pump(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		for r.frozen && !r.closed {
			r.thaw.Wait()
		}
		r.mu.Unlock()
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// setCut cuts the relay, which ends its connections, or mends it.
func (r *relay) setCut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	if cut {
		r.end()
	}
}

func (r *relay) setFrozen(frozen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = frozen
	r.thaw.Broadcast()
}

// end closes all connections; r.mu is held.
func (r *relay) end() {
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}

// connections returns how many were made.
func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.made / 2
}

func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	r.end()
	r.thaw.Broadcast()
	r.mu.Unlock()
	r.listener.Close()
	r.running.Wait()
}
