// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// gate is a transport on which each stream begins with both sides' hello, so
// that a broker that cannot be a member is told so before memberlist sees a byte
// of it. Packets pass as they are: memberlist drops those with another version's
// label or of another key.
type gate struct {
	memberlist.NodeAwareTransport

	hello    hello
	patience time.Duration // for the hello of who has connected
	report   *reporter

	streams chan net.Conn
	ctx     context.Context // ends all streams
	cancel  context.CancelFunc
	tasks   sync.WaitGroup

	mu    sync.Mutex
	ready map[string][]net.Conn // guarded by mu: by address, those that reach made
}

// newGate takes over inner.
func newGate(inner memberlist.NodeAwareTransport, h hello, patience time.Duration, report *reporter) *gate {
	g := &gate{
		NodeAwareTransport: inner, hello: h, patience: patience, report: report, streams: make(chan net.Conn), ready: make(map[string][]net.Conn),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.tasks.Go(g.listen)
	return g
}

// listen greets whoever connects, each in a goroutine: one that says nothing
// must not keep others waiting.
func (g *gate) listen() {
	for {
		select {
		case conn := <-g.NodeAwareTransport.StreamCh():
			g.tasks.Go(func() { g.accept(conn) })
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *gate) accept(conn net.Conn) {
	ctx, cancel := context.WithTimeout(g.ctx, g.patience)
	defer cancel()
	addr := conn.RemoteAddr().String()
	err := greet(ctx, conn, func() error {
		other, err := readHello(conn)
		if err != nil {
			return err
		}
		if _, err := conn.Write(g.hello.encode()); err != nil {
			return err
		}
		return g.hello.judge(other)
	})
	if err != nil {
		conn.Close()
		g.failed(addr, err)
		return
	}
	select {
	case g.streams <- g.bind(conn):
	case <-g.ctx.Done():
		conn.Close()
	}
}

// failed tells of a stream that did not get past its greeting.
func (g *gate) failed(addr string, err error) {
	if errors.Is(err, errRefused) {
		g.report.refused(addr, err)
		return
	}
	g.report.log.Debug("a connection ended before its hello", "addr", addr, "err", err)
}

// greet runs talk, which reads and writes conn, and ends it when ctx ends.
func greet(ctx context.Context, conn net.Conn, talk func() error) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := talk()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// StreamCh returns the streams of brokers that can be members.
func (g *gate) StreamCh() <-chan net.Conn { return g.streams }

// DialTimeout is DialAddressTimeout for a broker whose name is not known.
func (g *gate) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return g.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout connects to another broker, unless reach has. It fails if they
// cannot be members of one cluster.
func (g *gate) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if conn := g.take(a.Addr, nil); conn != nil {
		return conn, nil
	}
	return g.connect(g.ctx, a, timeout)
}

// reach connects to the broker at addr, "ip:port", for who dials there next: serf joins
// one broker at a time, and waits for each that does not answer. If nobody has dialed,
// drop closes the connection.
func (g *gate) reach(ctx context.Context, addr string, timeout time.Duration) (drop func(), err error) {
	conn, err := g.connect(ctx, memberlist.Address{Addr: addr}, timeout)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.ready[addr] = append(g.ready[addr], conn)
	g.mu.Unlock()
	return func() {
		if g.take(addr, conn) != nil {
			conn.Close()
		}
	}, nil
}

// take returns a connection to addr that reach has made, this one or, if it is nil,
// any; nil if it has been taken.
func (g *gate) take(addr string, this net.Conn) net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.ready[addr]
	i := slices.IndexFunc(all, func(c net.Conn) bool { return this == nil || c == this })
	if i < 0 {
		return nil
	}
	conn := all[i]
	if g.ready[addr] = slices.Delete(all, i, i+1); len(all) == 1 {
		delete(g.ready, addr)
	}
	return conn
}

func (g *gate) connect(ctx context.Context, a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := g.dial(ctx, a, timeout)
	if err != nil {
		return nil, err
	}
	err = greet(ctx, conn, func() error {
		if _, err := conn.Write(g.hello.encode()); err != nil {
			return err
		}
		other, err := readHello(conn)
		if err != nil {
			return err
		}
		return g.hello.judge(other)
	})
	if err != nil {
		conn.Close()
		g.failed(a.Addr, err)
		return nil, fmt.Errorf("greet %s: %w", a.Addr, err)
	}
	return g.bind(conn), nil
}

func (g *gate) dial(ctx context.Context, a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if d, ok := g.NodeAwareTransport.(dialer); ok {
		return d.DialContext(ctx, a.Addr)
	}
	return g.NodeAwareTransport.DialAddressTimeout(a, timeout)
}

// dialer is a transport whose dialing can be ended.
type dialer interface {
	DialContext(ctx context.Context, addr string) (net.Conn, error)
}

// stream is a connection that ends when the gate does: memberlist would wait for
// its deadline.
type stream struct {
	net.Conn
	release func() bool
}

func (s *stream) Close() error {
	s.release()
	return s.Conn.Close()
}

func (g *gate) bind(conn net.Conn) net.Conn {
	return &stream{conn, context.AfterFunc(g.ctx, func() { conn.Close() })}
}

// Shutdown closes everything and waits until it is.
func (g *gate) Shutdown() error {
	g.cancel()
	drained := make(chan struct{})
	done := make(chan struct{})
	go func() { // memberlist may not have begun to read, or have stopped
		defer close(drained)
		for {
			select {
			case <-g.PacketCh():
			case conn := <-g.NodeAwareTransport.StreamCh():
				conn.Close()
			case <-done:
				return
			}
		}
	}()
	err := g.NodeAwareTransport.Shutdown()
	close(done)
	<-drained
	g.tasks.Wait()
	return err
}

// nameless makes a transport that knows no names one that ignores them.
type nameless struct{ memberlist.Transport }

func (t nameless) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t nameless) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}
