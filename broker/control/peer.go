// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker"
)

// Peer is the process on the other side of a connection, as it was when it
// connected (SO_PEERCRED and SO_PEERGROUPS in unix(7)).
type Peer struct {
	PID    int
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
}

// may reports whether the kernel would grant the permissions in want, 1 to 7, on
// a file of that owner (path_resolution(7), Permissions).
func (p Peer) may(o broker.Owner, want uint32) bool {
	granted := o.Perm
	switch {
	case p.UID == 0:
		return true
	case p.UID == o.UID:
		granted >>= 6
	case p.GID == o.GID || slices.Contains(p.Groups, o.GID):
		granted >>= 3
	}
	return granted&want == want
}

// connection is an accepted connection that holds one of the listener's slots.
type connection struct {
	*net.UnixConn
	peer Peer
	free func() // once
}

func (c *connection) Close() error {
	defer c.free()
	return c.UnixConn.Close()
}

// Bounds of connections at a time, which are descriptors that others can make a
// broker spend. What strangers may have leaves slots for root and the owner.
const (
	maxConns    = 128
	maxOthers   = 96 // of all users but root and the owner, if they are admitted
	maxEach     = 32 // of one of them
	maxRefusals = 8  // of them if they are not: enough to tell some of them so
)

// listener tells who connects, and bounds their connections. Root and the owner
// wait for a slot; others are cut off at once when they have no more.
type listener struct {
	*net.UnixListener
	peer   func(*net.UnixConn) (Peer, error)
	others bool // admitted; set before the first Accept
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex     // guards below
	held map[uint32]int // connections of users but root and the owner
	sum  int            // of held
}

func newListener(l *net.UnixListener) *listener {
	return &listener{
		UnixListener: l, peer: peerOf, slots: make(chan struct{}, maxConns),
		closed: make(chan struct{}), held: make(map[uint32]int),
	}
}

// Accept waits for a connection, and then for a slot.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := l.peer(c)
		if err != nil || !l.enter(peer.UID) {
			c.Close() // it has gone already, or has had enough
			continue
		}
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			l.leave(peer.UID)
			c.Close()
			return nil, net.ErrClosed
		}
		return &connection{c, peer, sync.OnceFunc(func() {
			<-l.slots
			l.leave(peer.UID)
		})}, nil
	}
}

// owns reports whether a user is root or the broker's own.
func owns(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }

// enter counts a connection of a user until leave, unless that would be too many.
func (l *listener) enter(uid uint32) bool {
	if owns(uid) {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	most := maxOthers
	if !l.others {
		most = maxRefusals
	}
	if l.sum >= most || l.held[uid] >= maxEach {
		return false
	}
	l.held[uid]++
	l.sum++
	return true
}

func (l *listener) leave(uid uint32) {
	if owns(uid) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum--
	if l.held[uid]--; l.held[uid] == 0 {
		delete(l.held, uid)
	}
}

// Close ends Accept. Closing twice is harmless.
func (l *listener) Close() (err error) {
	l.once.Do(func() {
		close(l.closed)
		err = l.UnixListener.Close()
	})
	return err
}

func peerOf(c *net.UnixConn) (p Peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			failed = os.NewSyscallError("getsockopt SO_PEERCRED", err)
			return
		}
		p = Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}
		p.Groups, failed = groupsOf(fd)
	})
	return p, errors.Join(err, failed)
}

// groupsOf asks for as many groups as there are: the kernel answers ERANGE and
// the size it wants in bytes when the buffer is too small.
func groupsOf(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && int(size) > 4*len(groups):
			groups = make([]uint32, size/4)
		case errno == unix.ENODATA:
			return nil, nil
		default:
			return nil, os.NewSyscallError("getsockopt SO_PEERGROUPS", errno)
		}
	}
}
