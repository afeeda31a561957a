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

type readCall struct {
	call
	op   pipe.ReadOp
	file *file
}

func newReadCall(m *Mount) any {
	c := &readCall{call: call{m: m}}
	c.call.op = c
	c.op.Min, c.op.Pieces, c.op.Done = 1, device.MaxPieces, c.done
	return c
}

// read serves READ. A read(2) larger than one request comes in parts with
// growing offsets, since a stream's own offset is always 0; only the first part
// may wait, as the others have bytes to return.
func (m *Mount) read(in *device.Inbox) {
	req := (*fuse.ReadIn)(in.Head())
	f := m.files.get(req.Fh)
	switch {
	case f == nil || f.reader == nil:
		m.answer(req.Unique, syscall.EBADF)
		return
	case req.Size == 0:
		m.answer(req.Unique, 0)
		return
	case req.ReadFlags&fuse.READ_LOCKOWNER == 0:
		// From the page cache: sendfile or splice. Refused, programs read(2).
		m.answer(req.Unique, syscall.EINVAL)
		return
	}
	c := m.reads.Get().(*readCall)
	c.unique, c.pid, c.file = req.Unique, req.Pid, f
	c.op.Rest = req.Offset > 0
	c.op.Max, c.op.NonBlock = int(req.Size), req.Flags&syscall.O_NONBLOCK != 0
	m.calls.add(&c.call)
	f.reader.Start(&c.op)
}

func (c *readCall) done(op *pipe.ReadOp) {
	m := c.m
	m.calls.remove(&c.call)
	switch {
	case op.N > 0:
		c.file.node.taken.Add(int64(op.N))
		m.sent(m.conn.Reply(c.unique, nil, op.Chunks), c.unique)
		for i, chunk := range op.Chunks {
			chunk.Release()
			op.Chunks[i] = pipe.Chunk{}
		}
	case op.Err == pipe.ErrAgain && !op.Rest:
		m.answer(c.unique, syscall.EAGAIN)
	case op.Err == pipe.ErrPeerLost:
		m.answer(c.unique, syscall.EIO)
	default: // end of data
		m.answer(c.unique, 0)
	}
	c.put()
}

func (c *readCall) withdraw() withdrawal { return takenIf(c.file.reader.Cancel(&c.op)) }

func (c *readCall) interrupted() {
	c.m.answer(c.unique, syscall.EINTR)
	c.put()
}

func (c *readCall) put() {
	c.file = nil
	c.m.reads.Put(c)
}

type writeCall struct {
	call
	op     pipe.WriteOp
	writer *pipe.Writer
}

func newWriteCall(m *Mount) any {
	c := &writeCall{call: call{m: m}}
	c.call.op = c
	c.op.Done = c.done
	return c
}

func (m *Mount) write(in *device.Inbox) {
	req := (*fuse.WriteIn)(in.Head())
	f := m.files.get(req.Fh)
	if f == nil || f.writer == nil {
		m.answer(req.Unique, syscall.EBADF)
		return
	}
	c := m.writes.Get().(*writeCall)
	c.unique, c.pid, c.writer = req.Unique, req.Pid, f.writer
	c.op.NonBlock, c.op.Whole = req.Flags&syscall.O_NONBLOCK != 0, false
	c.op.Chunks = in.TakeChunks(c.op.Chunks[:0])
	m.calls.add(&c.call)
	f.writer.Start(&c.op)
}

func (c *writeCall) done(op *pipe.WriteOp) {
	c.m.calls.remove(&c.call)
	c.finish(op.Err)
}

func (c *writeCall) withdraw() withdrawal { return takenIf(c.writer.Cancel(&c.op)) }

func (c *writeCall) interrupted() { c.finish(errInterrupted) }

// finish answers with the count of what went in, else with the error.
func (c *writeCall) finish(err error) {
	m := c.m
	if err == pipe.ErrBroken {
		c.sigpipe()
	}
	switch {
	case c.op.N > 0 || err == nil:
		out := fuse.WriteOut{Size: uint32(c.op.N)}
		m.sent(m.conn.Reply(c.unique, unsafe.Slice((*byte)(unsafe.Pointer(&out)), unsafe.Sizeof(out)), nil), c.unique)
	default:
		m.answer(c.unique, errno(err))
	}
	clear(c.op.Chunks)
	c.writer = nil
	m.writes.Put(c)
}

// sigpipe does what the kernel does for a pipe of its own (pipe_write in
// fs/pipe.c): EPIPE from a file system raises no signal. The thread waits for our
// answer, so its number cannot have been given to another.
func (c *writeCall) sigpipe() {
	if c.pid == 0 {
		return
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_TKILL, uintptr(c.pid), uintptr(unix.SIGPIPE), 0); errno != 0 {
		c.m.log.Debug("SIGPIPE not sent", "thread", c.pid, "error", errno)
	}
}
