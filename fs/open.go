// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/fs/device"
)

// openFlags: see ARCHITECTURE.md, "What the kernel is told". Without STREAM a
// write waits behind a read of the same descriptor; without NOFLUSH every close
// costs a round trip.
const openFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NONSEEKABLE | fuse.FOPEN_STREAM |
	fuse.FOPEN_NOFLUSH | fuse.FOPEN_PARALLEL_DIRECT_WRITES

type openCall struct {
	call
	op   pipe.OpenOp
	node *node
}

func newOpenCall(m *Mount) any {
	c := &openCall{call: call{m: m}}
	c.call.op = c
	c.op.Done = c.done
	return c
}

// fmodeExec is the kernel's __FMODE_EXEC among open's flags: execve(2).
const fmodeExec = 0x20

func (m *Mount) open(in *device.Inbox) {
	req := (*fuse.OpenIn)(in.Head())
	n := m.nodes.get(req.NodeId)
	switch {
	case n == nil:
		m.answer(req.Unique, syscall.ESTALE)
		return
	case n.of.Kind() != broker.Pipe:
		m.answer(req.Unique, syscall.EISDIR)
		return
	case req.Flags&fmodeExec != 0:
		m.answer(req.Unique, syscall.EACCES) // as for a FIFO
		return
	}
	c := m.opens.Get().(*openCall)
	c.unique, c.pid, c.node = req.Unique, req.Pid, n
	access := req.Flags & syscall.O_ACCMODE
	c.op.Read = access == syscall.O_RDONLY || access == syscall.O_RDWR
	c.op.Write = access == syscall.O_WRONLY || access == syscall.O_RDWR
	c.op.NonBlock = req.Flags&syscall.O_NONBLOCK != 0
	c.op.Info = pipe.Info{Door: "mount", PID: int(req.Pid)}
	m.calls.add(&c.call)
	m.cfg.Broker.Open(n.of, &c.op)
}

func (c *openCall) done(op *pipe.OpenOp) {
	m, node, unique := c.m, c.node, c.unique
	r, w, err := op.Reader, op.Writer, op.Err
	m.calls.remove(&c.call)
	c.put()
	if err != nil {
		m.answer(unique, errno(err))
		return
	}
	f := &file{node: node, reader: r, writer: w}
	fh, ok := m.files.add(f)
	if !ok {
		f.close()
		m.answer(unique, syscall.ENOTCONN)
		return
	}
	out := fuse.OpenOut{Fh: fh, OpenFlags: openFlags}
	if !m.sent(m.conn.Reply(unique, unsafe.Slice((*byte)(unsafe.Pointer(&out)), unsafe.Sizeof(out)), nil), unique) {
		if f := m.files.remove(out.Fh); f != nil {
			f.close()
		}
	}
}

func (c *openCall) withdraw() withdrawal {
	if c.op.Cancel() {
		return taken
	}
	return noted
}

func (c *openCall) interrupted() {
	c.m.answer(c.unique, syscall.EINTR)
	c.put()
}

func (c *openCall) put() {
	c.op.Reset()
	c.node = nil
	c.m.opens.Put(c)
}
