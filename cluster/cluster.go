// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Config shapes a Cluster.
type Config struct {
	Self     peer.ID
	Capacity int // bytes that readers here let be sent ahead for a pipe; 0: pipe.DefaultCapacity
	// Tell answers what another broker asks of this one, from any goroutine, in at
	// most MaxAnswer bytes; nil: it does not know the question. A Tell of nil knows none.
	Tell func(question string) []byte
	Log  *slog.Logger // nil: none
}

// Member is a live broker other than this one.
type Member = link.Peer

// Cluster is this broker's part in a cluster. It implements broker.Peers.
//
// One goroutine, the core, has all state and makes all decisions: everything that
// happens is an event of it. Bytes that leave are taken by the link's goroutine
// (outflow), bytes that readers take are counted on theirs (inflow).
type Cluster struct {
	cfg    Config
	log    *slog.Logger
	events *events

	life    context.Context // until Close
	stop    context.CancelFunc
	running sync.WaitGroup // the core

	links     link.Links    // set by Start
	passenger Passenger     // set by Carry; nil: none
	moved     atomic.Uint64 // messages: see Sync
	lives     atomic.Pointer[[]peer.ID]

	// The rest is the core's alone.
	live     map[string]peer.ID // by node, this one included
	nodes    []string           // of live
	registry *registry
	ties     map[*pipe.Pipe]*tie
	byReg    map[uint64]*tie
	lastReg  uint64
	ins      map[uint64]*inflow // by stream
	lastIn   uint64
	lastOut  uint64
	outs     map[outKey]*outflow
	calls    map[uint64]*call
	lastCall uint64
	due      []*inflow // owe their peer a Credit
	timer    *time.Timer
	head     []byte // the message being put together
	leaving  leaving
}

type outKey struct {
	to     peer.ID
	stream uint64
}

// creditDelay is how long a small Credit may wait for company.
const creditDelay = 2 * time.Millisecond

// New makes this broker's part of a cluster of one. It does nothing before Start.
func New(cfg Config) *Cluster {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Capacity == 0 {
		cfg.Capacity = pipe.DefaultCapacity
	}
	if cfg.Tell == nil {
		cfg.Tell = func(string) []byte { return nil }
	}
	c := &Cluster{
		cfg: cfg, log: cfg.Log.With("node", cfg.Self.Node), events: newEvents(),
		live: map[string]peer.ID{cfg.Self.Node: cfg.Self}, nodes: []string{cfg.Self.Node},
		registry: newRegistry(), ties: make(map[*pipe.Pipe]*tie), byReg: make(map[uint64]*tie),
		ins: make(map[uint64]*inflow), outs: make(map[outKey]*outflow), calls: make(map[uint64]*call),
	}
	c.publishView()
	return c
}

// Start begins, with links that have c as their Handler.
func (c *Cluster) Start(links link.Links) {
	ctx, stop := context.WithCancel(context.Background())
	c.links, c.life, c.stop = links, ctx, stop
	c.timer = time.AfterFunc(time.Hour, func() { c.events.post(c.payDue) })
	c.timer.Stop()
	c.running.Go(func() { c.run(ctx) })
}

// Close ends the core and waits for it. Close the broker first, then the links:
// nobody opens a pipe after that, and peers learn that this host has gone.
func (c *Cluster) Close() {
	if c.stop == nil {
		return
	}
	c.events.close()
	c.stop()
	c.running.Wait()
	c.failEntering()
	c.timer.Stop()
}

func (c *Cluster) run(ctx context.Context) {
	var batch []func()
	for {
		if batch = c.events.take(ctx, batch); batch == nil {
			return
		}
		for _, f := range batch {
			f()
		}
	}
}

// do runs f on the core and waits for it, unless the core has ended.
func (c *Cluster) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !c.events.post(func() { f(); close(done) }) {
		return pipe.ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Receive is the links' to call.
func (c *Cluster) Receive(from peer.ID, m link.Message) {
	c.events.post(func() { c.receive(from, m) })
}

// Lost is the links' to call.
func (c *Cluster) Lost(id peer.ID, err error) {
	c.events.post(func() { c.lose(id, err) })
}

// Members tells who else is alive. Membership calls it with each new view.
func (c *Cluster) Members(members []Member) {
	c.events.post(func() { c.setView(members) })
}

func (c *Cluster) setView(members []Member) {
	before := c.live
	c.live = map[string]peer.ID{c.cfg.Self.Node: c.cfg.Self}
	c.nodes = append(c.nodes[:0], c.cfg.Self.Node)
	for _, m := range members {
		if m.Node != c.cfg.Self.Node {
			c.live[m.Node] = m.ID
			c.nodes = append(c.nodes, m.Node)
		}
	}
	for node, id := range before {
		if c.live[node] != id {
			c.log.Info("peer has gone", "peer", id)
			c.links.Down(id, fmt.Errorf("%v: %w", id, ErrDown))
		}
	}
	for _, m := range members {
		if m.Node != c.cfg.Self.Node {
			if before[m.Node] != m.ID {
				c.log.Info("peer has come", "peer", m.ID, "endpoint", m.Endpoint)
			}
			c.links.Up(m)
		}
	}
	c.publishView()
	for _, t := range c.ties {
		t.step()
	}
	if c.passenger != nil {
		c.passenger.ViewChanged()
	}
}

// homeOf returns the broker that pairs the ends of a pipe.
func (c *Cluster) homeOf(name string) peer.ID { return c.live[peer.Home(name, c.nodes)] }

// send sends a message with no body.
func (c *Cluster) send(to peer.ID, m *peer.Message) {
	c.head = m.Append(c.head[:0])
	c.sendFrom(to, m.Kind, c.head)
}

func (c *Cluster) sendFrom(to peer.ID, kind peer.Kind, head []byte) {
	c.moves(kind)
	c.links.Send(to, link.Message{Head: head})
}

// call is a request that waits for its answer.
type call struct {
	to   peer.ID
	done func(m *peer.Message, err error) // one of them is nil
}

// ask sends a request; done runs on the core with the answer, or with ErrLost, or at
// once with ErrDown.
func (c *Cluster) ask(to peer.ID, m *peer.Message, done func(*peer.Message, error)) {
	if c.live[to.Node] != to {
		done(nil, fmt.Errorf("%v: %w", to, ErrDown)) // the links would tell nobody
		return
	}
	c.lastCall++
	m.Req = c.lastCall
	c.calls[m.Req] = &call{to, done}
	c.send(to, m)
}

func (c *Cluster) answered(from peer.ID, m *peer.Message) {
	if call := c.calls[m.Req]; call != nil && call.to == from {
		delete(c.calls, m.Req)
		call.done(m, nil)
	}
}

// lose ends all that was between this broker and a peer whose session has ended.
func (c *Cluster) lose(id peer.ID, err error) {
	c.log.Debug("lost a peer", "peer", id, "error", err)
	c.registry.lose(id)
	for _, t := range c.ties {
		if t.home == id {
			t.home = peer.ID{}
		}
		if t.partner.id == id {
			t.partner = regKey{} // it parts for itself, if only we have lost it
		}
	}
	for _, f := range c.ins {
		if f.from == id {
			f.t.unmet[id] = true
			f.lose()
		}
	}
	for _, o := range newest(c.outs) {
		if o.to == id {
			o.t.unmet[id] = true
			o.finish(nil)
		}
	}
	var failed []*call
	for req, call := range c.calls {
		if call.to == id {
			delete(c.calls, req)
			failed = append(failed, call)
		}
	}
	for _, call := range failed { // may ask again
		call.done(nil, fmt.Errorf("%v: %w", id, ErrLost))
	}
	for _, t := range c.ties {
		t.step()
		t.settle()
	}
	if c.passenger != nil {
		c.passenger.Lost(id)
	}
}

// receive dispatches a message. What a peer sends that makes no sense is logged and
// dropped: sessions deliver what was sent, so it is another version or a fault.
func (c *Cluster) receive(from peer.ID, lm link.Message) {
	m, err := peer.Decode(lm.Head)
	if err != nil {
		c.log.Error("message not understood", "peer", from, "error", err)
		lm.Release()
		return
	}
	if m.Kind != peer.Data {
		lm.Release()
	}
	c.moves(m.Kind)
	switch m.Kind {
	case peer.Register:
		c.serveRegister(from, &m)
	case peer.Registered, peer.Offered, peer.Subscribed, peer.Told, peer.Wanted:
		c.answered(from, &m)
	case peer.Offer:
		c.serveOffer(from, &m)
	case peer.Subscribe:
		c.serveSubscribe(from, &m)
	case peer.Want:
		c.serveWant(from, &m)
	case peer.Data, peer.End, peer.Recall, peer.Contend:
		c.toInflow(from, &m, lm.Body)
	case peer.Names:
		if c.passenger != nil {
			c.passenger.Receive(from, m.Text)
		}
	case peer.Ask:
		c.serveAsk(from, &m)
	case peer.Credit, peer.Unsubscribe, peer.Starved, peer.Returned:
		c.toOutflow(from, &m)
	}
}

func (c *Cluster) serveRegister(from peer.ID, m *peer.Message) {
	for _, partner := range m.Regs {
		c.registry.part(m.Name, regKey{partner.ID, partner.Number})
	}
	status, mode, regs := c.registry.register(m.Name, regKey{from, m.Reg}, m.Ends, pipe.Mode(m.Mode), m.First)
	if m.Req != 0 {
		c.send(from, &peer.Message{Kind: peer.Registered, Req: m.Req, Status: status, Mode: uint8(mode), Regs: regs})
	}
}
