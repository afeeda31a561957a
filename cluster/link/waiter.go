// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// waiter is where a goroutine that owns ZeroMQ sockets sleeps: an epoll(7) set of
// their descriptors (ZMQ_FD) and of one that others wake it by. So whoever has
// something for it pays one write(2), and only if it sleeps.
//
// ZMQ_FD tells that a socket has something to be seen to, not what: its owner
// then uses it until it says EAGAIN, or asks ZMQ_EVENTS.
type waiter struct {
	epoll, event int
	ready        []unix.EpollEvent
	fds          []int

	mu     sync.Mutex // guards below
	asleep bool
	closed bool
}

func newWaiter() (*waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	w := &waiter{epoll: epoll, event: event, ready: make([]unix.EpollEvent, 32)}
	if err := w.add(event); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *waiter) add(fd int) error {
	err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	if err != nil {
		return fmt.Errorf("add to epoll: %w", err)
	}
	return nil
}

// remove must be called before the descriptor is closed.
func (w *waiter) remove(fd int) {
	// It fails only if the descriptor is not there.
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil)
}

// sleep tells that the owner is about to wait unless idle says that there is
// something to be done. From here on wake wakes it.
func (w *waiter) sleep(idle func() bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asleep = true
	if !idle() {
		w.asleep = false
	}
	return w.asleep
}

// wake has wait return, from any goroutine.
func (w *waiter) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asleep || w.closed {
		return
	}
	w.asleep = false
	one := [8]byte{0: 1}
	// It fails only if it was written to 2^64 times.
	_, _ = unix.Write(w.event, one[:])
}

// wait returns the descriptors that have something, after timeout at the
// latest. The slice is good until the next call.
func (w *waiter) wait(timeout time.Duration) ([]int, error) {
	w.fds = w.fds[:0]
	ms := min(max(0, (timeout+time.Millisecond-1)/time.Millisecond), time.Hour/time.Millisecond)
	n, err := unix.EpollWait(w.epoll, w.ready, int(ms))
	w.mu.Lock()
	w.asleep = false
	w.mu.Unlock()
	if errors.Is(err, unix.EINTR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	for _, e := range w.ready[:n] {
		if fd := int(e.Fd); fd != w.event {
			w.fds = append(w.fds, fd)
			continue
		}
		var count [8]byte
		_, _ = unix.Read(w.event, count[:])
	}
	return w.fds, nil
}

func (w *waiter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	unix.Close(w.event)
	unix.Close(w.epoll)
}
