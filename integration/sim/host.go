// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/cluster/member"
	"github.com/zpipesfs/zpipesfs/cluster/names"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// host is a broker with all that makes it a member, as zpipes wires it, but for
// the doors: no mount and no sockets.
type host struct {
	id      peer.ID
	broker  *broker.Broker
	cluster *cluster.Cluster
	names   *names.Service
	links   link.Links
	member  *member.Membership
	sees    atomic.Int64 // members in its last view
}

// world is the hosts of a simulation and the networks in memory that join them.
type world struct {
	profile member.Profile
	gossip  *member.Network
	net     *link.Network
	hosts   []*host
	chatter float64 // messages a second while nothing happens
}

func newWorld(profile member.Profile, n int) (*world, error) {
	w := &world{profile: profile, gossip: member.NewNetwork(), net: link.NewNetwork(1)}
	for range n {
		if err := w.add(); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

// add starts one more host.
func (w *world) add() error {
	h := &host{id: peer.ID{Node: fmt.Sprintf("h%d", len(w.hosts)+1), Boot: 1}}
	h.cluster = cluster.New(cluster.Config{Self: h.id})
	var err error
	if h.names, err = names.Open(names.Config{Net: h.cluster, Arbiter: h.cluster}); err != nil {
		return err
	}
	h.cluster.Carry(h.names)
	h.broker = broker.New(broker.Config{Peers: h.cluster, Names: h.names})
	if h.links, err = w.net.Join(link.Config{ID: h.id, Handler: h.cluster, FailureTimeout: w.profile.FailureTimeout(1)}); err != nil {
		return err
	}
	h.cluster.Start(h.links)
	if err := h.names.Start(h.broker); err != nil {
		return err
	}
	cfg := member.Config{
		Node: h.id.Node, Boot: h.id.Boot, Version: peer.Version, Endpoint: h.links.Endpoint(),
		Profile: w.profile, Transport: w.gossip.Transport(), Changed: h.changed,
	}
	if len(w.hosts) > 0 {
		cfg.Join = []string{w.hosts[0].member.Self().Addr}
	}
	if h.member, err = member.Start(context.Background(), cfg); err != nil {
		return err
	}
	w.hosts = append(w.hosts, h)
	return nil
}

func (h *host) changed(v member.View) {
	var others []cluster.Member
	for _, m := range v.Members {
		if m.ID != h.id && m.Endpoint != "" {
			others = append(others, cluster.Member{ID: m.ID, Endpoint: m.Endpoint})
		}
	}
	h.cluster.Members(others)
	h.sees.Store(int64(len(v.Members)))
}

// kill ends a host as a crash would: it says goodbye to nobody.
func (h *host) kill() {
	h.broker.Close()
	_ = h.member.Close() // it goes without a goodbye
	_ = h.names.Close()
	_ = h.links.Close()
	h.cluster.Close()
}

func (w *world) close() {
	for _, h := range w.hosts {
		h.kill()
	}
}

// converged waits until every host sees n, and returns how long that took.
func (w *world) converged(n int) (time.Duration, error) {
	begun := time.Now()
	err := until(func() bool {
		for _, h := range w.hosts {
			if h.sees.Load() != int64(n) {
				return false
			}
		}
		return true
	})
	return time.Since(begun), err
}

// patience is how long anything may take.
const patience = 2 * time.Minute

func until(f func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			return fmt.Errorf("not so after %v", patience)
		}
	}
	return nil
}

// open opens an end of a pipe and waits for it.
func (h *host) open(n *broker.Node, write bool) (*pipe.OpenOp, error) {
	over := make(chan struct{})
	op := &pipe.OpenOp{Read: !write, Write: write, NonBlock: true, Done: func(*pipe.OpenOp) { close(over) }}
	h.broker.Open(n, op)
	select {
	case <-over:
		return op, op.Err
	case <-time.After(patience):
		return nil, fmt.Errorf("%v: open has not ended", h.id)
	}
}
