// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Network joins brokers in one process, for simulations and tests: sessions are
// the real ones, and their frames are encoded, but no socket carries them. Each
// broker has one goroutine. Links between brokers can be made slow, lossy or cut,
// in each direction by itself; a broker is named by its node.
type Network struct {
	mu    sync.Mutex // guards below; a node's is not taken under it
	nodes map[peer.ID]*node
	links map[way]*wire
	all   Conditions
	rand  *rand.Rand
}

// Conditions are those of one direction of a link.
type Conditions struct {
	Cut   bool          // nothing arrives
	Delay time.Duration // of each frame
	Drop  float64       // the probability that a frame is lost, 0 to 1
	// Limit is how many bytes may be on their way before the sender is held up;
	// 0: no limit.
	Limit int
}

// Traffic counts what a broker sent.
type Traffic struct {
	Frames, Messages, Bytes uint64 // bytes of whole frames
}

type way struct{ from, to string } // nodes

// wire is one direction of a link. Network.mu guards it.
type wire struct {
	Conditions
	set    bool      // by SetLink
	last   time.Time // when the last frame arrives
	onWay  int       // bytes
	wanted func()    // tells the sender that is held up
}

// NewNetwork makes a network without brokers. Which frames are lost depends on
// seed and on the order in which they are sent.
func NewNetwork(seed uint64) *Network {
	return &Network{
		nodes: make(map[peer.ID]*node), links: make(map[way]*wire),
		rand: rand.New(rand.NewPCG(seed, 0)),
	}
}

// Join makes the links of one more broker; Peer.Endpoint and Peer.Key of those
// in the network count for nothing. Errors wrap ErrConfig.
func (n *Network) Join(cfg Config) (Links, error) {
	if err := cfg.fill(); err != nil {
		return nil, fmt.Errorf("join network: %w", err)
	}
	d := newNode(n, cfg)
	n.mu.Lock()
	if n.nodes[cfg.ID] != nil {
		n.mu.Unlock()
		return nil, fmt.Errorf("join network: %w: %v is in it", ErrConfig, cfg.ID)
	}
	n.nodes[cfg.ID] = d
	n.mu.Unlock()
	d.running.Go(d.run)
	return d, nil
}

// SetAll sets the conditions of all links, now and later, but those that SetLink
// has set.
func (n *Network) SetAll(c Conditions) {
	n.mu.Lock()
	n.all = c
	var free []func()
	for _, w := range n.links {
		if !w.set {
			w.Conditions = c
			free = append(free, w.release()...)
		}
	}
	n.mu.Unlock()
	retry(free)
}

// SetLink sets the conditions of the link from one node to another, in that
// direction. Frames on their way arrive as they would have.
func (n *Network) SetLink(from, to string, c Conditions) {
	n.mu.Lock()
	w := n.wire(from, to)
	w.Conditions, w.set = c, true
	free := w.release()
	n.mu.Unlock()
	retry(free)
}

// Cut cuts the links between two nodes, in both directions, or mends them.
func (n *Network) Cut(a, b string, cut bool) {
	for _, w := range []way{{a, b}, {b, a}} {
		n.mu.Lock()
		c := n.wire(w.from, w.to).Conditions
		n.mu.Unlock()
		c.Cut = cut
		n.SetLink(w.from, w.to, c)
	}
}

// Partition cuts all links between nodes of different groups, or mends them.
func (n *Network) Partition(cut bool, groups ...[]string) {
	for i, group := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range group {
				for _, b := range other {
					n.Cut(a, b, cut)
				}
			}
		}
	}
}

// Traffic returns what the brokers have sent since they joined.
func (n *Network) Traffic() map[peer.ID]Traffic {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[peer.ID]Traffic, len(n.nodes))
	for id, d := range n.nodes {
		all[id] = d.traffic.load()
	}
	return all
}

// wire returns one direction of a link; n.mu is held.
func (n *Network) wire(from, to string) *wire {
	w := n.links[way{from, to}]
	if w == nil {
		w = &wire{Conditions: n.all}
		n.links[way{from, to}] = w
	}
	return w
}

// carry takes a frame from one broker to another. It returns false if there is
// no room on the way.
func (n *Network) carry(from *node, r *remote, f flying) bool {
	n.mu.Lock()
	w := n.wire(from.cfg.ID.Node, r.id.Node)
	if w.Limit > 0 && w.onWay >= w.Limit {
		w.wanted = func() { from.again(r) }
		n.mu.Unlock()
		return false
	}
	to := n.nodes[r.id]
	if to == nil || w.Cut || w.Drop > 0 && n.rand.Float64() < w.Drop {
		n.mu.Unlock()
		return true
	}
	now := time.Now()
	f.due = now.Add(w.Delay)
	if f.due.Before(w.last) {
		f.due = w.last
	}
	w.last = f.due
	w.onWay += len(f.bytes)
	f.wire = w
	n.mu.Unlock()
	to.deliver(f)
	return true
}

// landed notes that a frame has arrived.
func (n *Network) landed(f flying) {
	n.mu.Lock()
	f.wire.onWay -= len(f.bytes)
	free := f.wire.release()
	n.mu.Unlock()
	retry(free)
}

// release returns who may send again; Network.mu is held.
func (w *wire) release() []func() {
	if w.wanted == nil || w.Limit > 0 && w.onWay >= w.Limit {
		return nil
	}
	free := w.wanted
	w.wanted = nil
	return []func(){free}
}

func retry(held []func()) {
	for _, again := range held {
		again()
	}
}

func (n *Network) leave(d *node) {
	n.mu.Lock()
	delete(n.nodes, d.cfg.ID)
	n.mu.Unlock()
}
