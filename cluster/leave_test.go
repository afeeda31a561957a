// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
)

// leave takes leave as cmd/zpipes does, up to what tells the others.
func (h *host) leave() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.cluster.Drain(ctx); err != nil {
		h.t.Error("drain:", err)
	}
	if err := h.cluster.Part(ctx); err != nil {
		h.t.Error("part:", err)
	}
	h.broker.Close()
}

func (h *host) flush() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.cluster.Flush(ctx); err != nil {
		h.t.Error("flush:", err)
	}
}

// gone takes a host away that has left.
func (h *host) gone() {
	h.stop()
	h.view()
}

var modes = []string{"fifo-p", "exclusive-p", "fanout-p"}

// Readers of a writer that its broker has closed get its bytes and then EIO, however
// slow the link is, and never the end.
func TestLeaveOpenWriter(t *testing.T) {
	for _, name := range modes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2)
			r.net.SetAll(link.Conditions{Delay: 30 * time.Millisecond, Limit: 100_000})
			a, b := r.hosts[0], r.hosts[1]
			rd, wr := a.start(name, readNow).ok(), b.start(name, writing).ok()
			last := string(pattern(600_000))
			wr.writes(last)
			b.leave()
			if err := wr.write("x"); err != pipe.ErrBroken {
				t.Errorf("a write to a broker that ends: %v", err)
			}
			wr.close()
			b.flush()
			if n := rd.Reader.Pipe().Stat().Buffered; n != len(last) {
				t.Errorf("of %d bytes %d have come", len(last), n)
			}
			rd.reads(last)
			reading := make(chan error)
			go func() {
				_, err := rd.read(1, 1)
				reading <- err
			}()
			select {
			case err := <-reading:
				t.Fatalf("a read before the host has gone: %v", err)
			case <-time.After(150 * time.Millisecond): // the End would have come
			}
			b.gone()
			if err := <-reading; err != pipe.ErrPeerLost {
				t.Errorf("when the host has gone: %v", err)
			}
			rd.readsErr(io.EOF)
			rd.close()
		})
	}
}

// What a writer has left that closed by itself is read, and then the end.
func TestLeaveClosedWriter(t *testing.T) {
	for _, name := range modes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2)
			a, b := r.hosts[0], r.hosts[1]
			rd, wr := a.start(name, readNow).ok(), b.start(name, writing).ok()
			idle := b.start("idle-"+name, func(op *pipe.OpenOp) { op.Read, op.Write = true, true }).ok()
			wr.writes("last")
			wr.close()
			a.sync()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := b.cluster.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("drained before the bytes were read: %v", err)
			}
			rd.reads("last")
			b.leave()
			idle.close()
			b.flush()
			b.gone()
			rd.readsErr(io.EOF)
			rd.close()
		})
	}
}

// Who opens while a host leaves meets nobody there.
func TestOpenWhileHostLeaves(t *testing.T) {
	for _, name := range modes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3)
			a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
			first, wr := c.start(name, readNow).ok(), b.start(name, writing).ok()
			b.leave()
			late := a.start(name, func(op *pipe.OpenOp) { op.Read, op.Patient = true, true })
			b.flush()
			b.gone()
			wr.close()
			if name == "exclusive-p" {
				if late.wait(); late.Err != pipe.ErrBusy {
					t.Errorf("a second reader: %v", late.Err)
				}
				return
			}
			late.ok()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := late.Reader.Read(ctx, 1, 1); err != pipe.ErrPeerLost && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("whether or not it had met the writer: %v", err)
			}
			first.close()
			next := c.start(name, writing).ok()
			next.writes("next")
			late.reads("next")
			next.close()
			late.close()
		})
	}
}

// A host that does not answer holds up a leave no longer than it may.
func TestFlushEnds(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	rd, wr := a.start("p", readNow).ok(), b.start("p", writing).ok()
	r.net.Cut("h1", "h2", true)
	wr.writes("lost")
	b.leave()
	gaveUp := errors.New("gave up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, gaveUp)
	defer cancel()
	if err := b.cluster.Flush(ctx); !errors.Is(err, gaveUp) {
		t.Errorf("flushed through a cut link: %v", err)
	}
	wr.close()
	rd.close()
}

// A writer that has written nothing is lost as one that has.
func TestIdleWriterIsLost(t *testing.T) {
	for _, name := range modes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2)
			a, b := r.hosts[0], r.hosts[1]
			rd := a.start(name, readNow).ok()
			b.start(name, writing).ok()
			b.gone()
			a.eventually("end", func() bool { return rd.Reader.Ready(nil) != 0 })
			rd.readsErr(pipe.ErrPeerLost)
			rd.readsErr(io.EOF)
			rd.close()
		})
	}
}
