// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package device is the way to the kernel: mounting, and reading requests from
// and writing answers to /dev/fuse (fuse(4), include/uapi/linux/fuse.h).
//
// It reads the device itself instead of through go-fuse's Server, because that
// one cannot poll, needs a goroutine for every waiting request and copies.
package device

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// Sizes that /dev/fuse fixes.
const (
	MaxWrite = 1 << 20  // bytes in one WRITE or READ; the kernel's limit by default (FUSE_MAX_MAX_PAGES)
	DirSize  = 32 << 10 // bytes of one READDIR answer
	OutSize  = 68 << 10 // bytes of the longest answer but a READ's: an extended attribute (XATTR_SIZE_MAX) and its header

	headSize = int(unsafe.Sizeof(fuse.WriteIn{})) // a WRITE's head; its bytes begin on a segment's first page
	viewSize = 128

	opWrite   = 16 // FUSE_WRITE
	opRelease = 18 // FUSE_RELEASE
	segments  = MaxWrite / pipe.SegmentSize
	maxIov    = 1 + 2*segments
)

// MaxPieces is how many chunks one Reply gathers.
const MaxPieces = maxIov - 1

const (
	spinFor = 100 * time.Microsecond // a few times what waking an idle CPU costs
	maxVain = 6                      // then one sleep in 64 is spun before
)

// ErrGone: the mount has been taken away, or the connection aborted.
var ErrGone = errors.New("the file system was unmounted")

// ErrStopped: Stop was called.
var ErrStopped = errors.New("stopped")

// Conn is an open /dev/fuse. All methods may be called at once from anywhere.
type Conn struct {
	fd   int    // closed under life; answers may still be on their way then
	dev  string // the mount's device number as mountinfo has it; ours alone while fd is open
	stop int    // eventfd: readable once Stop was called

	life   sync.RWMutex // guards closed, and fd against being closed in use
	closed bool

	spinning atomic.Bool // an Inbox spins
	order    sync.Mutex  // held while a request is taken, and by an Inbox that has a RELEASE in hand
}

func newConn(fd int, dev string) (*Conn, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Conn{fd: fd, dev: dev, stop: stop}, nil
}

// Stop makes every Inbox's Next return ErrStopped.
func (c *Conn) Stop() {
	one := [8]byte{1}
	unix.Write(c.stop, one[:]) // fails only if it is readable already
}

// Close closes the device: the kernel fails what is left of the mount with
// ENOTCONN. No Inbox may be in use. Answers that come later get ErrGone.
func (c *Conn) Close() error {
	c.life.Lock()
	defer c.life.Unlock()
	c.closed = true
	return errors.Join(os.NewSyscallError("close", unix.Close(c.fd)), os.NewSyscallError("close", unix.Close(c.stop)))
}

// Inbox reads requests, one at a time. Each belongs to one goroutine.
type Inbox struct {
	conn  *Conn
	epoll int
	pool  *pipe.Pool
	head  [viewSize]byte // the request's first headSize bytes; of one other than WRITE, more
	segs  [segments]*pipe.Buffer
	iov   [1 + segments]unix.Iovec
	size  int  // of the request in hand
	holds bool // Conn.order
	vain  int  // spins without success, up to maxVain
	rest  int  // sleeps to come without a spin before
}

// Inbox returns a new reader of requests whose buffers come from pool.
func (c *Conn) Inbox(pool *pipe.Pool) (*Inbox, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Exclusive: a request wakes one reader, not all.
	for fd, events := range map[int]uint32{c.fd: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, c.stop: unix.EPOLLIN} {
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
			unix.Close(ep)
			return nil, os.NewSyscallError("epoll_ctl", err)
		}
	}
	in := &Inbox{conn: c, epoll: ep, pool: pool}
	in.iov[0].Base = &in.head[0]
	in.iov[0].SetLen(headSize)
	return in, nil
}

// Close gives the buffers back.
func (in *Inbox) Close() error {
	in.letGo()
	for i, s := range in.segs {
		if s != nil {
			s.Release()
			in.segs[i] = nil
		}
	}
	return os.NewSyscallError("close", unix.Close(in.epoll))
}

// Next waits for a request and reads it. The request is in hand until the next
// call. A RELEASE in hand keeps the other inboxes from reading: close(2) does not
// wait for it, so what the same program does next must not overtake it.
//
// Errors: ErrGone, ErrStopped.
func (in *Inbox) Next() error {
	in.letGo()
	for i, s := range in.segs {
		if s == nil {
			s = in.pool.Segment()
			in.segs[i] = s
			in.iov[1+i].Base = &s.Bytes()[0]
			in.iov[1+i].SetLen(pipe.SegmentSize)
		}
	}
	for {
		n, errno := in.read()
		if errno == unix.EAGAIN {
			n, errno = in.spin()
		}
		switch errno {
		case 0:
			in.size = n
			if n > headSize && in.Header().Opcode != opWrite {
				copy(in.head[headSize:], in.segs[0].Bytes()[:min(n-headSize, viewSize-headSize)])
			}
			return nil
		case unix.EAGAIN:
			if err := in.wait(); err != nil {
				return err
			}
		case unix.EINTR, unix.ENOENT: // ENOENT: the request was withdrawn before we got it
		case unix.ENODEV, unix.ECONNABORTED:
			return ErrGone
		default:
			return os.NewSyscallError("read /dev/fuse", errno)
		}
	}
}

// read does not tell the scheduler that it is in a system call: it cannot block,
// and a processor taken away and given back costs more than a small request.
func (in *Inbox) read() (int, unix.Errno) {
	in.conn.order.Lock()
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(in.conn.fd), uintptr(unsafe.Pointer(&in.iov[0])), uintptr(len(in.iov)))
	in.holds = true
	if errno != 0 || in.Header().Opcode != opRelease {
		in.letGo()
	}
	return int(n), errno
}

func (in *Inbox) letGo() {
	if in.holds {
		in.holds = false
		in.conn.order.Unlock()
	}
}

// spin tries again for a moment before the caller sleeps: waking an idle CPU
// costs more than the whole of a small request. It gives the CPU to anybody who
// wants it in between, only one inbox does it at a time, and one that has spun in
// vain a few times first sleeps, longer each time it fails again.
func (in *Inbox) spin() (int, unix.Errno) {
	c := in.conn
	if in.rest > 0 {
		in.rest--
		return 0, unix.EAGAIN
	}
	if !c.spinning.CompareAndSwap(false, true) {
		return 0, unix.EAGAIN
	}
	defer c.spinning.Store(false)
	for end := time.Now().Add(spinFor); time.Now().Before(end); {
		unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if n, errno := in.read(); errno != unix.EAGAIN {
			in.vain = 0
			return n, errno
		}
	}
	in.vain = min(in.vain+1, maxVain)
	in.rest = 1<<in.vain - 1
	return 0, unix.EAGAIN
}

func (in *Inbox) wait() error {
	var events [2]unix.EpollEvent
	n, err := unix.EpollWait(in.epoll, events[:], -1)
	if err != nil && err != unix.EINTR {
		return os.NewSyscallError("epoll_wait", err)
	}
	for _, e := range events[:max(n, 0)] {
		if int(e.Fd) == in.conn.stop {
			return ErrStopped
		}
	}
	return nil
}

// Header is the request's header. It and the other views below are valid while
// the request is in hand.
func (in *Inbox) Header() *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&in.head[0])) }

// Head is the start of the request, as a type that holds it: a fuse.ReadIn and
// the like, of at most viewSize bytes, a WRITE's of a WriteIn's.
func (in *Inbox) Head() unsafe.Pointer { return unsafe.Pointer(&in.head[0]) }

// Raw appends the request to dst in pieces, as go-fuse's ProtocolServer takes it.
// Not only a WRITE is long: the kernel fills a BATCH_FORGET up to what Next offers,
// and an extended attribute has up to 64 KiB.
func (in *Inbox) Raw(dst [][]byte) [][]byte {
	dst = append(dst, in.head[:min(in.size, headSize)])
	left := in.size - headSize
	for i := 0; left > 0; i++ {
		n := min(left, pipe.SegmentSize)
		dst = append(dst, in.segs[i].Bytes()[:n])
		left -= n
	}
	return dst
}

// TakeChunks appends a WRITE's bytes to dst as chunks, which the caller owns;
// the inbox gets new memory in their place.
func (in *Inbox) TakeChunks(dst []pipe.Chunk) []pipe.Chunk {
	left := in.size - headSize
	for i := 0; left > 0; i++ {
		n := min(left, pipe.SegmentSize)
		dst = append(dst, in.segs[i].Chunk(0, n))
		in.segs[i].Release()
		in.segs[i] = nil
		left -= n
	}
	return dst
}

// Reply answers a request with bytes: a fixed part, which may be nil, and chunks,
// which stay the caller's. An error means that nobody waits for the answer any
// more.
func (c *Conn) Reply(unique uint64, fixed []byte, chunks []pipe.Chunk) error {
	var iov [2 + MaxPieces]unix.Iovec
	head := fuse.OutHeader{Unique: unique}
	size, n := int(unsafe.Sizeof(head)), 1
	iov[0].Base = (*byte)(unsafe.Pointer(&head))
	iov[0].SetLen(size)
	if len(fixed) > 0 {
		iov[n].Base = &fixed[0]
		iov[n].SetLen(len(fixed))
		size += len(fixed)
		n++
	}
	for _, chunk := range chunks {
		b := chunk.Bytes()
		iov[n].Base = &b[0]
		iov[n].SetLen(len(b))
		size += len(b)
		n++
	}
	head.Length = uint32(size)
	return c.writev(iov[:n])
}

// ReplyError answers a request with an errno; 0 is success without bytes.
func (c *Conn) ReplyError(unique uint64, errno unix.Errno) error {
	head := fuse.OutHeader{Unique: unique, Status: -int32(errno), Length: uint32(unsafe.Sizeof(fuse.OutHeader{}))}
	return c.Write(unsafe.Slice((*byte)(unsafe.Pointer(&head)), head.Length))
}

// Write sends an answer or a notification that has its header.
func (c *Conn) Write(b []byte) error {
	var iov [1]unix.Iovec
	iov[0].Base = &b[0]
	iov[0].SetLen(len(b))
	return c.writev(iov[:])
}

func (c *Conn) writev(iov []unix.Iovec) error {
	c.life.RLock()
	defer c.life.RUnlock()
	if c.closed {
		return ErrGone
	}
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(c.fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		case unix.ENODEV:
			return ErrGone
		default:
			return fmt.Errorf("answer: %w", errno)
		}
	}
}

// Notification codes (enum fuse_notify_code).
const (
	notifyPoll       = 1
	notifyInvalInode = 2
)

// NotifyPoll tells the kernel to poll the file with this poll handle again.
func (c *Conn) NotifyPoll(kh uint64) error {
	return c.notify(notifyPoll, kh)
}

// InvalInode makes the kernel drop what it holds of a node's attributes, and
// disregard those that answers to requests now under way will bring
// (fuse_reverse_inval_inode in fs/fuse/inode.c).
func (c *Conn) InvalInode(node uint64) error {
	attributesOnly := int64(-1) // as the offset: no pages
	return c.notify(notifyInvalInode, node, uint64(attributesOnly), 0)
}

func (c *Conn) notify(code int32, args ...uint64) error {
	var buf [5]uint64 // a header and at most three arguments
	n := 2 + copy(buf[2:], args)
	*(*fuse.OutHeader)(unsafe.Pointer(&buf[0])) = fuse.OutHeader{Length: uint32(8 * n), Status: code}
	return c.Write(unsafe.Slice((*byte)(unsafe.Pointer(&buf[0])), 8*n))
}
