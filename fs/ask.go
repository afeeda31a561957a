// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/fs/device"
)

const (
	maxAsks   = 1024                   // requests that wait for other hosts at once
	askOut    = 256                    // bytes of the longest answer to one: fuse.EntryOut and its header
	killCheck = 100 * time.Millisecond // how soon a kill is seen after a signal that was none
)

// askCall is a request about names that other hosts may have to be asked about.
// It is served on a goroutine of its own, off the loops that read the device.
type askCall struct {
	call
	ctx      context.Context // ends when the request is answered
	cancel   context.CancelFunc
	opcode   uint32
	in       []byte // the request: the device's buffer is used again meanwhile
	answered atomic.Bool
}

// asks has the goroutines that serve askCalls, which the mount waits for.
type asks struct {
	running sync.WaitGroup
	slots   chan struct{} // a token for each that waits
}

// mayAsk reports whether a request may need an answer of other hosts.
func mayAsk(in *device.Inbox) bool {
	const shared = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID
	switch in.Header().Opcode {
	case opLookup, opMknod, opMkdir, opUnlink, opRmdir, opRename, opRename2, opOpendir, opSetxattr:
		return true
	case opSetattr:
		return (*fuse.SetAttrIn)(in.Head()).Valid&shared != 0
	}
	return false
}

// ask serves a request that mayAsk, raw, off the loop. One beyond maxAsks, which a
// user with as many threads in a directory of a silent host may come to, is
// answered EAGAIN, as fork(2) beyond the limit of processes is: the loops and
// other requests are what counts.
func (m *Mount) ask(h *fuse.InHeader, raw [][]byte) {
	in := bytes.Join(raw, nil)
	if h.Opcode == opLookup && m.lookup(h, in) {
		return
	}
	select {
	case m.asks.slots <- struct{}{}:
	default:
		m.log.Warn("too many requests wait for other hosts; refused", "limit", maxAsks, "opcode", h.Opcode)
		m.answer(h.Unique, syscall.EAGAIN)
		return
	}
	c := &askCall{call: call{m: m, unique: h.Unique, pid: h.Pid}, opcode: h.Opcode, in: in}
	c.call.op = c
	c.ctx, c.cancel = context.WithCancel(context.Background())
	m.calls.add(&c.call)
	m.asks.running.Go(c.serve)
}

// lookup answers a LOOKUP of a name that is here: the most frequent request of
// all, and worth no goroutine.
func (m *Mount) lookup(h *fuse.InHeader, in []byte) bool {
	dir := m.names.dir(h.NodeId)
	if dir == nil {
		return false
	}
	name, _, _ := bytes.Cut(in[unsafe.Sizeof(*h):], []byte{0})
	of := m.cfg.Broker.Here(dir, string(name))
	if of == nil {
		return false
	}
	var out fuse.EntryOut
	m.names.entry(of, false, &out)
	m.sent(m.conn.Reply(h.Unique, unsafe.Slice((*byte)(unsafe.Pointer(&out)), unsafe.Sizeof(out)), nil), h.Unique)
	return true
}

func (c *askCall) serve() {
	m := c.m
	defer func() { <-m.asks.slots }()
	defer c.cancel()
	out := make([]byte, askOut)
	n, status := m.proto.HandleRequest([][]byte{c.in}, [][]byte{out})
	if !c.answered.CompareAndSwap(false, true) {
		m.undo(c.opcode, out[:n])
		return
	}
	m.calls.remove(&c.call)
	if !m.reply(c.unique, out[:n], status) {
		m.undo(c.opcode, out[:n])
	}
}

// undo drops what an answer that nobody takes has told the kernel of.
func (m *Mount) undo(opcode uint32, out []byte) {
	const head = int(unsafe.Sizeof(fuse.OutHeader{}))
	if len(out) < head+8 || (*fuse.OutHeader)(unsafe.Pointer(&out[0])).Status != 0 {
		return
	}
	first := binary.NativeEndian.Uint64(out[head:])
	switch opcode {
	case opLookup, opMknod, opMkdir:
		m.nodes.forget(first, 1)
	case opOpendir:
		m.files.remove(first)
	}
}

// context returns what ends when a request's caller gives up. It goes by the
// unique number, as go-fuse hands nothing else through. A request that is not in
// the table has been answered already.
func (m *Mount) context(h *fuse.InHeader) context.Context {
	if m.cfg.Broker.Alone() {
		return context.Background()
	}
	if c := m.calls.asking(h.Unique); c != nil {
		return c.ctx
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// withdraw gives the request up: the operation is told to end, and its outcome,
// which may be that it came true, is told to nobody.
func (c *askCall) withdraw() withdrawal {
	if !c.answered.CompareAndSwap(false, true) {
		return running
	}
	c.cancel()
	return taken
}

func (c *askCall) interrupted() { c.m.answer(c.unique, syscall.EINTR) }

// watch looks whether the thread that asks is being killed. The kernel interrupts
// a request once, for any signal (fs/fuse/dev.c, request_wait_answer); if that was
// none to die of, a kill that follows shows only in the thread's signals.
func (c *askCall) watch() {
	tick := time.NewTicker(killCheck)
	defer tick.Stop()
	for !dying(c.pid) {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
	}
	if c, _ := c.m.calls.withdraw(c.unique); c != nil {
		c.op.interrupted()
	}
}

// dying reports whether a thread has a signal to die of. A signal whose default
// action ends a process is in its threads' sets as SIGKILL (kernel/signal.c,
// complete_signal). A thread that cannot be looked at counts as dying: better a
// call that is interrupted too often than a process that cannot be killed.
func dying(thread uint32) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(int(thread)) + "/status")
	if thread == 0 || err != nil {
		return true
	}
	for _, field := range []string{"\nSigPnd:", "\nShdPnd:"} {
		_, rest, _ := bytes.Cut(status, []byte(field))
		line, _, found := bytes.Cut(rest, []byte("\n"))
		pending, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
		if !found || err != nil || pending&(1<<(syscall.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}
