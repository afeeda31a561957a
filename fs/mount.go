// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package fs is the mount: requests of the kernel become calls of a broker. Open,
// read, write, poll and lock are served here, straight from the device, since
// they may have to wait; names and attributes go through go-fuse's protocol code.
package fs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/fs/device"
)

// Config shapes a Mount.
type Config struct {
	Broker     *broker.Broker // required
	Name       string         // of the broker: df shows zpipes:NAME
	AllowOther bool           // let users other than the mounting one in
	Log        *slog.Logger   // nil: none
}

// Loops is how many goroutines read the device: while one copies a writer's bytes
// in, another copies a reader's out. More only add wake-ups.
const Loops = 2

// Mount is a mounted directory.
type Mount struct {
	cfg                  Config
	log                  *slog.Logger
	dir                  string
	conn                 *device.Conn
	proto                *fuse.ProtocolServer
	names                *names // what proto calls
	nodes                nodeTable
	files                fileTable
	calls                callTable
	locks                lockTable
	asks                 asks
	reads, writes, opens sync.Pool // *readCall, *writeCall, *openCall

	running sync.WaitGroup // the loops; asks.running is waited for after it
	done    chan struct{}  // closed when they have ended
	err     error          // why, once done is closed; nil: unmounted or closed

	closing sync.Once
}

// New mounts cfg.Broker on dir and serves it until Close, or until somebody
// unmounts it. The errors are those of device.Mount.
func New(dir string, cfg Config) (*Mount, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mount{cfg: cfg, log: cfg.Log.With("mount", dir), dir: dir, done: make(chan struct{})}
	m.nodes.init(cfg.Broker.Root())
	m.calls.init()
	m.reads.New = func() any { return newReadCall(m) }
	m.writes.New = func() any { return newWriteCall(m) }
	m.opens.New = func() any { return newOpenCall(m) }
	m.asks.slots = make(chan struct{}, maxAsks)
	m.names = newNames(m)
	m.proto = fuse.NewProtocolServer(m.names, &fuse.MountOptions{
		MaxWrite:             device.MaxWrite,
		MaxBackground:        1024, // RELEASE counts as one: closing must not queue behind anything
		EnableLocks:          true,
		DisabledCapabilities: fuse.CAP_READDIRPLUS | fuse.CAP_NO_OPEN_SUPPORT | fuse.CAP_ASYNC_READ | fuse.CAP_PASSTHROUGH,
		Logger:               slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	})
	conn, err := device.Mount(dir, device.Options{Source: "zpipes:" + cfg.Name, AllowOther: cfg.AllowOther, MaxRead: device.MaxWrite})
	if err != nil {
		return nil, err
	}
	m.conn = conn
	if err := m.start(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Mount) start() error {
	var boxes []*device.Inbox
	for range Loops {
		in, err := m.conn.Inbox(m.cfg.Broker.Pool())
		if err != nil {
			return m.failed(boxes, err)
		}
		boxes = append(boxes, in)
	}
	// The kernel's first request negotiates what go-fuse reads with every other.
	if err := boxes[0].Next(); err != nil {
		return m.failed(boxes, err)
	}
	m.other(boxes[0], make([]byte, device.OutSize))
	ends := make(chan error, Loops)
	for _, in := range boxes {
		m.running.Go(func() { ends <- m.serve(in) })
	}
	go func() { // ends with the loops; Close and Wait wait for it
		m.running.Wait()
		for range Loops {
			if err := <-ends; !errors.Is(err, device.ErrGone) && !errors.Is(err, device.ErrStopped) {
				m.err = err
			}
		}
		for _, c := range m.calls.withdrawAll() {
			c.op.interrupted()
		}
		m.asks.running.Wait()
		m.files.closeAll()
		close(m.done)
	}()
	return nil
}

func (m *Mount) failed(boxes []*device.Inbox, err error) error {
	for _, in := range boxes {
		in.Close()
	}
	close(m.done)
	return fmt.Errorf("mount %s: %w", m.dir, err)
}

// Dir returns the mount point.
func (m *Mount) Dir() string { return m.dir }

// Done is closed when the mount is no longer served.
func (m *Mount) Done() <-chan struct{} { return m.done }

// Wait waits for Done and returns why the mount ended; nil if it was unmounted.
func (m *Mount) Wait() error {
	<-m.done
	return m.err
}

// Close takes the mount away and ends serving it. Close the broker first: then
// the programs that wait in the mount have got their answers.
func (m *Mount) Close() error {
	var err error
	m.closing.Do(func() {
		err = m.conn.Unmount()
		m.conn.Stop()
		<-m.done
		err = errors.Join(err, m.conn.Close())
	})
	return err
}

// serve reads and answers requests until the device says that it is over.
func (m *Mount) serve(in *device.Inbox) error {
	defer in.Close()
	out := make([]byte, device.OutSize)
	for {
		if err := in.Next(); err != nil {
			m.conn.Stop() // one loop does not go on without the other
			return err
		}
		switch in.Header().Opcode {
		case opRead:
			m.read(in)
		case opWrite:
			m.write(in)
		case opOpen:
			m.open(in)
		case opRelease:
			m.release(in)
		case opInterrupt:
			m.interrupt(in)
		case opPoll:
			m.poll(in)
		case opSetlkw:
			m.setlkw(in)
		default:
			m.other(in, out)
		}
	}
}

// Opcodes served here (include/uapi/linux/fuse.h).
const (
	opLookup    = 1
	opSetattr   = 4
	opMknod     = 8
	opMkdir     = 9
	opUnlink    = 10
	opRmdir     = 11
	opRename    = 12
	opOpen      = 14
	opRead      = 15
	opWrite     = 16
	opRelease   = 18
	opSetxattr  = 21
	opOpendir   = 27
	opReaddir   = 28
	opSetlkw    = 33
	opInterrupt = 36
	opPoll      = 40
	opRename2   = 45
)

// other answers what the engine has no part in: names and attributes, through
// go-fuse. It never waits; what may have to wait for other hosts is served off
// the loop.
func (m *Mount) other(in *device.Inbox, out []byte) {
	h := in.Header()
	raw := in.Raw(make([][]byte, 0, 2))
	if h.NodeId == fuse.FUSE_ROOT_ID && namesGhost(raw) {
		m.ghost(h)
		return
	}
	if !m.cfg.Broker.Alone() && mayAsk(in) {
		m.ask(h, raw)
		return
	}
	if h.Opcode == opReaddir {
		r := (*fuse.ReadIn)(in.Head())
		r.Size = min(r.Size, device.DirSize)
	}
	n, status := m.proto.HandleRequest(raw, [][]byte{out})
	m.reply(h.Unique, out[:n], status)
}

// reply sends what go-fuse has made of a request, and reports whether it was
// taken.
func (m *Mount) reply(unique uint64, out []byte, status fuse.Status) bool {
	switch {
	case len(out) > 0:
		return m.sent(m.conn.Write(out), unique)
	case !status.Ok():
		m.answer(unique, syscall.Errno(status))
	}
	return true // FORGET and the like have no answer
}

// ghostName is a name that go-fuse answers for by itself, with a file that is in
// no listing and cannot be opened.
const ghostName = ".go-fuse-epoll-hack"

// namesGhost reports that a request's last bytes name it.
func namesGhost(raw [][]byte) bool {
	var tail []byte
	for _, piece := range raw {
		if len(tail)+len(piece) > 1024 {
			return false // longer than any request with a name
		}
		tail = append(tail, piece...)
	}
	return bytes.HasSuffix(tail, []byte(ghostName+"\x00"))
}

// ghost refuses it: it is not there and cannot be made.
func (m *Mount) ghost(h *fuse.InHeader) {
	if h.Opcode == opLookup {
		m.answer(h.Unique, syscall.ENOENT)
		return
	}
	m.answer(h.Unique, syscall.EINVAL)
}

// answer sends an errno, 0 for success.
func (m *Mount) answer(unique uint64, errno syscall.Errno) {
	m.sent(m.conn.ReplyError(unique, errno), unique)
}

// sent notes an answer that nobody took: the mount is going away.
func (m *Mount) sent(err error, unique uint64) bool {
	if err != nil {
		m.log.Debug("answer not taken", "request", unique, "error", err)
	}
	return err == nil
}
