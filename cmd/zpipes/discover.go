// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zpipesfs/zpipesfs/cluster/member"
	"github.com/zpipesfs/zpipesfs/cluster/zgossip"
)

const (
	// discoverPrefix is what the keys of brokers begin with in a gossip network, which
	// others may use, too. The node follows.
	discoverPrefix = "zpipes/member/"
	// discoverTTL is for how long an address is known after its broker has gone.
	discoverTTL = 30 * time.Second
	// discoverMost is how many members are looked for: a CZMQ hub forgets none, and
	// anybody may publish.
	discoverMost = 1024
)

// discovery tells a gossip network where this broker is a member, and joins the
// members that it is told of. A hub may be CZMQ's.
type discovery struct {
	node   *zgossip.Node
	member *member.Membership
	own    string // key
	log    *slog.Logger
	known  map[string]string // addresses by key; follow's alone
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// startDiscovery opens the gossip node and publishes this broker's address. One
// that was restarted publishes under the same key, so its old address is replaced.
func startDiscovery(cfg clusterConfig, m *member.Membership, log *slog.Logger) (*discovery, error) {
	gossip := cfg.GossipCurve.config()
	gossip.Log = log
	node, err := zgossip.Start(gossip)
	if err != nil {
		return nil, err
	}
	d := &discovery{node: node, member: m, own: discoverPrefix + cfg.Node, log: log, known: make(map[string]string)}
	if err := d.open(cfg); err != nil {
		return nil, errors.Join(err, node.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.done.Go(func() { d.follow(ctx) })
	return d, nil
}

// open makes the node one of the network, keys first: they hold for what comes after.
func (d *discovery) open(cfg clusterConfig) error {
	if err := cfg.GossipCurve.setKeys(d.node); err != nil {
		return err
	}
	for _, endpoint := range cfg.GossipBind {
		bound, err := d.node.Bind(endpoint)
		if err != nil {
			return err
		}
		d.log.Info("gossip served", "endpoint", bound)
	}
	if err := d.node.Publish(d.own, d.member.Self().Addr, discoverTTL); err != nil {
		return err
	}
	for _, endpoint := range cfg.GossipConnect {
		if err := d.node.Connect(endpoint, cfg.GossipCurve.server); err != nil {
			return err
		}
	}
	return nil
}

// follow hands addresses to the membership as they come and go.
func (d *discovery) follow(ctx context.Context) {
	for {
		e, err := d.node.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				d.log.Error("discovery has ended", "error", err)
			}
			return
		}
		if !strings.HasPrefix(e.Key, discoverPrefix) || e.Key == d.own {
			continue
		}
		if e.Kind == zgossip.Expire {
			delete(d.known, e.Key)
		} else if _, old := d.known[e.Key]; !old && len(d.known) == discoverMost {
			d.log.Warn("a member that was told of is left out: there are too many", "node", strings.TrimPrefix(e.Key, discoverPrefix), "most", discoverMost)
			continue
		} else {
			d.known[e.Key] = e.Value
			d.log.Info("a member was told of", "node", strings.TrimPrefix(e.Key, discoverPrefix), "addr", e.Value)
		}
		d.member.Seek(slices.Sorted(maps.Values(d.known)))
	}
}

func (d *discovery) close() error {
	d.cancel()
	d.done.Wait()
	if err := d.node.Close(); err != nil {
		return fmt.Errorf("end discovery: %w", err)
	}
	return nil
}
