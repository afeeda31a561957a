// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/fs/device"
)

// pollIn and pollOut are struct fuse_poll_in and fuse_poll_out.
type pollIn struct {
	fuse.InHeader
	Fh, Kh        uint64
	Flags, Events uint32
}

type pollOut struct{ Revents, Padding uint32 }

// As in the kernel's uapi/asm-generic/poll.h.
const (
	pollRdNorm = 0x40
	pollWrNorm = 0x100
)

// scheduleNotify is FUSE_POLL_SCHEDULE_NOTIFY: somebody will wait.
const scheduleNotify = 1

// poll serves FUSE_POLL, the question behind poll(2), select(2) and epoll(7). It
// answers at once; a change is told later by a notification, upon which the
// kernel asks again. The bits are pipe_poll's (fs/pipe.c).
func (m *Mount) poll(in *device.Inbox) {
	req := (*pollIn)(in.Head())
	f := m.files.get(req.Fh)
	if f == nil {
		m.answer(req.Unique, syscall.EBADF)
		return
	}
	var notify func()
	if req.Flags&scheduleNotify != 0 {
		notify = m.notifier(f, req.Kh)
	}
	out := pollOut{Revents: f.poll(notify)}
	m.sent(m.conn.Reply(req.Unique, unsafe.Slice((*byte)(unsafe.Pointer(&out)), unsafe.Sizeof(out)), nil), req.Unique)
}

// notifier returns the function that wakes the file's pollers. The kernel gives a
// file one poll handle for its life.
func (m *Mount) notifier(f *file, kh uint64) func() {
	f.once.Do(func() {
		f.notify = func() {
			if err := m.conn.NotifyPoll(kh); err != nil {
				m.log.Debug("poll notification not taken", "error", err)
			}
		}
	})
	return f.notify
}

func (f *file) poll(notify func()) (events uint32) {
	if f.reader != nil {
		s := f.reader.Ready(notify)
		if s&pipe.Readable != 0 {
			events |= unix.POLLIN | pollRdNorm
		}
		if s&pipe.Hangup != 0 {
			events |= unix.POLLHUP
		}
	}
	if f.writer != nil {
		s := f.writer.Ready(notify)
		if s&pipe.Writable != 0 {
			events |= unix.POLLOUT | pollWrNorm
		}
		if s&pipe.Broken != 0 {
			events |= unix.POLLERR
		}
	}
	return events
}
