// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package mailbox lets any goroutine reach the one that owns ZeroMQ sockets,
// which may be asleep in a poll and which nobody else may touch the sockets of.
package mailbox

import (
	"fmt"
	"runtime"
	"sync"

	zmq "github.com/pebbe/zmq4"
)

// Box is a queue of values for one goroutine, its owner. Whoever puts a value
// in while the owner sleeps has it woken, by a message that one goroutine of
// the box sends on an inproc socket; while the owner is awake nothing is sent.
type Box[T any] struct {
	socket *zmq.Socket   // the owner's end of the wake-up
	kick   chan struct{} // holds one: a wake-up to be sent
	quit   chan struct{}
	waker  sync.WaitGroup

	mu     sync.Mutex // guards below
	items  []T
	asleep bool
	closed bool
}

// Socket makes a socket that is closed by Close alone, never by the collector
// on a thread of its choice. Pending messages do not outlive it.
func Socket(ctx *zmq.Context, t zmq.Type) (*zmq.Socket, error) {
	s, err := ctx.NewSocket(t)
	if err != nil {
		return nil, fmt.Errorf("make %s socket: %w", t, err)
	}
	runtime.SetFinalizer(s, nil)
	if err := s.SetLinger(0); err != nil {
		s.Close()
		return nil, fmt.Errorf("set linger of %s socket: %w", t, err)
	}
	return s, nil
}

// New makes a box. The calling goroutine is its owner; name is unique in ctx.
func New[T any](ctx *zmq.Context, name string) (*Box[T], error) {
	b := &Box[T]{kick: make(chan struct{}, 1), quit: make(chan struct{})}
	var err error
	if b.socket, err = Socket(ctx, zmq.PAIR); err != nil {
		return nil, err
	}
	address := "inproc://" + name
	if err := b.socket.Bind(address); err != nil {
		b.socket.Close()
		return nil, fmt.Errorf("bind %s: %w", address, err)
	}
	ready := make(chan error)
	b.waker.Go(func() { b.wake(ctx, address, ready) })
	if err := <-ready; err != nil {
		b.waker.Wait()
		b.socket.Close()
		return nil, err
	}
	return b, nil
}

func (b *Box[T]) wake(ctx *zmq.Context, address string, ready chan<- error) {
	s, err := Socket(ctx, zmq.PAIR)
	if err != nil {
		ready <- err
		return
	}
	defer s.Close()
	if err := s.Connect(address); err != nil {
		ready <- fmt.Errorf("connect %s: %w", address, err)
		return
	}
	close(ready)
	token := []byte{0}
	for {
		select {
		case <-b.kick:
			// It fails only when a thousand wake-ups are unread: one is enough.
			_, _ = s.SendBytes(token, zmq.DONTWAIT)
		case <-b.quit:
			return
		}
	}
}

// Put adds a value, from any goroutine and without waiting. It returns false,
// and keeps nothing, once the box is closed.
func (b *Box[T]) Put(v T) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.items = append(b.items, v)
	rouse := b.asleep
	b.asleep = false
	b.mu.Unlock()
	if rouse {
		select {
		case b.kick <- struct{}{}:
		default:
		}
	}
	return true
}

// Take returns the values put in since the last Take, oldest first; the owner
// gives the slice of an earlier Take to be used again.
func (b *Box[T]) Take(spare []T) []T {
	clear(spare)
	b.mu.Lock()
	items := b.items
	b.items = spare[:0]
	b.mu.Unlock()
	return items
}

// Sleep tells that the owner is about to poll Poll; from here on Put wakes it.
// It returns false if there are values to be taken first.
func (b *Box[T]) Sleep() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = len(b.items) == 0
	return b.asleep
}

// Awake tells that the owner has come back: Put need not wake it.
func (b *Box[T]) Awake() {
	b.mu.Lock()
	b.asleep = false
	b.mu.Unlock()
}

// Poll returns the socket that becomes readable when the owner is woken.
func (b *Box[T]) Poll() *zmq.Socket { return b.socket }

// Drain forgets wake-ups that were sent.
func (b *Box[T]) Drain() {
	for {
		if _, err := b.socket.RecvBytes(zmq.DONTWAIT); err != nil {
			return
		}
	}
}

// Close ends the box and waits for its goroutine; the owner calls it. It
// returns the values that were not taken.
func (b *Box[T]) Close() []T {
	b.mu.Lock()
	b.closed = true
	left := b.items
	b.items = nil
	b.mu.Unlock()
	close(b.quit)
	b.waker.Wait()
	b.socket.Close()
	return left
}
