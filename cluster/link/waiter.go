// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// waiter is where a goroutine that owns ZeroMQ sockets sleeps: an epoll(7) set of
// their descriptors (ZMQ_FD), which Go's own poller watches. So the goroutine does
// not hold a thread while it sleeps, and another goroutine that wakes it, by a
// deadline that has passed, costs neither a system call nor a switch of threads.
//
// ZMQ_FD tells that a socket has something to be seen to, not what: its owner
// then uses it until it says EAGAIN, or asks ZMQ_EVENTS.
type waiter struct {
	epoll int
	file  *os.File // the epoll set
	conn  syscall.RawConn
	ready []unix.EpollEvent
	fds   []int

	mu       sync.Mutex // guards below
	asleep   bool
	deadline time.Time // of file
}

func newWaiter() (*waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	if err := unix.SetNonblock(epoll, true); err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("make epoll non-blocking: %w", err)
	}
	w := &waiter{epoll: epoll, file: os.NewFile(uintptr(epoll), "epoll"), ready: make([]unix.EpollEvent, 32)}
	if w.conn, err = w.file.SyscallConn(); err == nil {
		err = w.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("watch epoll: %w", err)
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

// wake has wait return, from any goroutine.
func (w *waiter) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asleep {
		w.asleep = false
		w.expire(time.Unix(1, 0))
	}
}

// expire sets the deadline; w.mu is held.
func (w *waiter) expire(at time.Time) {
	if !at.Equal(w.deadline) {
		w.deadline = at
		_ = w.file.SetReadDeadline(at) // it fails only if the file is closed
	}
}

// wait returns the descriptors that have something, when there are some, at the
// time until, or when wake is called; at once, if idle says that there is
// something else to be done. The slice is good until the next call.
func (w *waiter) wait(until time.Time, idle func() bool) ([]int, error) {
	w.fds = w.fds[:0]
	w.mu.Lock()
	w.asleep = idle()
	asleep := w.asleep
	if asleep {
		w.expire(until)
	}
	w.mu.Unlock()

	if !asleep {
		if _, err := w.poll(uintptr(w.epoll)); err != nil {
			return nil, err
		}
		return w.fds, nil
	}
	var failed error
	err := w.conn.Read(func(fd uintptr) bool {
		var n int
		n, failed = w.poll(fd)
		return n > 0 || failed != nil
	})
	w.mu.Lock()
	w.asleep = false
	w.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// What has become ready since must not wait behind deadlines for ever.
		_, failed = w.poll(uintptr(w.epoll))
		err = nil
	}
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("wait for sockets: %w", err)
	}
	return w.fds, nil
}

// poll notes the descriptors that have something, and does not wait.
func (w *waiter) poll(fd uintptr) (int, error) {
	n, err := unix.EpollWait(int(fd), w.ready, 0)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("epoll: %w", err)
	}
	for _, e := range w.ready[:n] {
		w.fds = append(w.fds, int(e.Fd))
	}
	return n, nil
}

func (w *waiter) close() { w.file.Close() }
