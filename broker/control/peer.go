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

// maxConns bounds how many descriptors others can make a broker spend.
const maxConns = 128

// listener tells who connects, and has at most maxConns connections at a time.
type listener struct {
	*net.UnixListener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newListener(l *net.UnixListener) *listener {
	return &listener{UnixListener: l, slots: make(chan struct{}, maxConns), closed: make(chan struct{})}
}

// Accept waits for a slot, then for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	free := sync.OnceFunc(func() { <-l.slots })
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			free()
			return nil, err
		}
		peer, err := peerOf(c)
		if err != nil {
			c.Close() // it has gone already
			continue
		}
		return &connection{c, peer, free}, nil
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
