// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

const patience = 10 * time.Second

// rig is brokers in one process, joined by a network in memory.
type rig struct {
	t     *testing.T
	net   *link.Network
	hosts []*host

	timeout time.Duration // after which a session is lost
	tell    func(h *host, question string) []byte
}

type host struct {
	*rig
	id      peer.ID
	broker  *broker.Broker
	cluster *Cluster
	links   link.Links
	pipes   map[string]*broker.Node
	dead    bool
}

func newRig(t *testing.T, n int) *rig {
	t.Helper()
	r := &rig{t: t, net: link.NewNetwork(1), timeout: 2 * time.Second}
	t.Cleanup(func() {
		for _, h := range r.hosts {
			h.stop()
		}
	})
	for i := range n {
		r.add(fmt.Sprintf("h%d", i+1), 1)
	}
	r.view()
	return r
}

func (r *rig) add(node string, boot uint64) *host {
	r.t.Helper()
	h := &host{rig: r, id: peer.ID{Node: node, Boot: boot}, pipes: make(map[string]*broker.Node)}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("ZPIPES_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("on", node)
	}
	h.cluster = New(Config{Self: h.id, Log: log, Tell: func(question string) []byte { return r.tell(h, question) }})
	h.broker = broker.New(broker.Config{Peers: h.cluster})
	var err error
	h.links, err = r.net.Join(link.Config{ID: h.id, Handler: h.cluster, Log: log, FailureTimeout: r.timeout})
	if err != nil {
		r.t.Fatal(err)
	}
	h.cluster.Start(h.links)
	r.hosts = append(r.hosts, h)
	return h
}

// view tells everybody who is alive.
func (r *rig) view() {
	for _, h := range r.hosts {
		var others []Member
		for _, o := range r.hosts {
			if o != h && !o.dead {
				others = append(others, Member{ID: o.id})
			}
		}
		if !h.dead {
			h.cluster.Members(others)
		}
	}
}

func (h *host) stop() {
	if h.dead {
		return
	}
	h.dead = true
	h.broker.Close()
	if err := h.links.Close(); err != nil {
		h.t.Error(err)
	}
	h.cluster.Close()
}

// kill takes a host away as a crash would; the others learn of it by view.
func (h *host) kill() { h.stop() }

func (h *host) node(name string, m pipe.Mode) *broker.Node {
	h.t.Helper()
	n := h.pipes[name]
	if n == nil {
		var err error
		n, err = h.broker.Mkpipe(context.Background(), h.broker.Root(), name, broker.Owner{Perm: 0o644}, m)
		if err != nil {
			h.t.Fatal(err)
		}
		h.pipes[name] = n
	}
	return n
}

// opening is an open that may not be over.
type opening struct {
	pipe.OpenOp
	h    *host
	over chan struct{}
}

// start opens a pipe whose name begins with its mode, or else is a fifo.
func (h *host) start(name string, set func(*pipe.OpenOp)) *opening {
	h.t.Helper()
	mode := pipe.Fifo
	if before, _, ok := strings.Cut(name, "-"); ok {
		if m, err := pipe.ParseMode(before); err == nil {
			mode = m
		}
	}
	o := &opening{h: h, over: make(chan struct{})}
	set(&o.OpenOp)
	o.Done = func(*pipe.OpenOp) { close(o.over) }
	h.broker.Open(h.node(name, mode), &o.OpenOp)
	return o
}

func reading(op *pipe.OpenOp)  { op.Read = true }
func writing(op *pipe.OpenOp)  { op.Write = true }
func readNow(op *pipe.OpenOp)  { op.Read, op.NonBlock = true, true }
func writeNow(op *pipe.OpenOp) { op.Write, op.NonBlock = true, true }

func (o *opening) wait() *opening {
	o.h.t.Helper()
	select {
	case <-o.over:
	case <-time.After(patience):
		o.h.t.Fatalf("%v: open has not ended", o.h.id)
	}
	return o
}

func (o *opening) ok() *opening {
	o.h.t.Helper()
	if o.wait(); o.Err != nil {
		o.h.t.Fatalf("%v: open: %v", o.h.id, o.Err)
	}
	return o
}

func (o *opening) read(min, max int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	chunks, err := o.Reader.Read(ctx, min, max)
	var b []byte
	for _, c := range chunks {
		b = append(b, c.Bytes()...)
		c.Release()
	}
	return b, err
}

func (o *opening) write(s string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := o.Writer.Write(ctx, []byte(s))
	return err
}

func (o *opening) close() {
	if o.Reader != nil {
		o.Reader.Close()
	}
	if o.Writer != nil {
		o.Writer.Close()
	}
}

func (o *opening) reads(want string) {
	o.h.t.Helper()
	got, err := o.read(max(len(want), 1), len(want))
	if err != nil || string(got) != want {
		o.h.t.Fatalf("%v: read %q, %v; want %q", o.h.id, got, err, want)
	}
}

func (o *opening) readsErr(want error) {
	o.h.t.Helper()
	if got, err := o.read(1, 1); err != want {
		o.h.t.Fatalf("%v: read %q, %v; want %v", o.h.id, got, err, want)
	}
}

func (o *opening) writes(s string) {
	o.h.t.Helper()
	if err := o.write(s); err != nil {
		o.h.t.Fatalf("%v: write: %v", o.h.id, err)
	}
}

// eventually waits for a condition.
func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			r.t.Fatalf("not so in time: %s", what)
		}
	}
}

func pattern(n int) []byte {
	return bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n]
}

func link5ms() link.Conditions { return link.Conditions{Delay: 5 * time.Millisecond} }
