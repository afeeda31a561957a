// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/cluster"
	"github.com/zpipesfs/zpipesfs/cluster/key"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/cluster/member"
	"github.com/zpipesfs/zpipesfs/cluster/names"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// clusterConfig is what the flags say of other hosts.
type clusterConfig struct {
	Bind      string   // "ip:port" of the membership; the links take another port of that address; empty: one host alone
	Advertise string   // where others reach Bind; empty: there
	Join      []string // "host:port" of members
	KeyFile   string   // absolute; empty: plain text
	Node      string
	Profile   string
	StateDir  string // absolute; empty: names are kept in memory only

	Discover                  string   // "zgossip", or empty: Join alone
	GossipBind, GossipConnect []string // endpoints
	GossipCurve               curve
}

func clusterFlags() []cli.Flag {
	return slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "bind", Usage: "be a member of a cluster, at `IP:PORT`"},
		&cli.StringFlag{Name: "advertise", Usage: "tell other hosts to reach --bind at `IP[:PORT]`"},
		&cli.StringSliceFlag{Name: "join", Usage: "join the member at `HOST:PORT`; may be repeated"},
		&cli.StringFlag{Name: "key", Usage: "encrypt with the cluster's key in `FILE`, which zpipes keygen makes"},
		&cli.StringFlag{Name: "node", Usage: "this host's `NAME` in the cluster (default: the host's name, with -NAME for a broker that is not \"local\")"},
		&cli.StringFlag{Name: "profile", Value: string(member.LAN), Usage: "how soon a silent host is taken for dead: `PROFILE` is lan, wan or local"},
		&cli.StringFlag{Name: "discover", Usage: "find other members by `WAY`: zgossip"},
		&cli.StringSliceFlag{Name: "gossip-bind", Usage: "serve a gossip network at `ENDPOINT`, such as tcp://*:5670; may be repeated"},
		&cli.StringSliceFlag{Name: "gossip-connect", Usage: "be in the gossip network of the node at `ENDPOINT`, ours or CZMQ's; may be repeated"},
	}, curveFlags("gossip-"), []cli.Flag{
		&cli.StringFlag{Name: "state-dir", Usage: "keep the cluster's names in `DIR`, also while this broker is down"},
	})
}

func newClusterConfig(c *cli.Context, name string) (clusterConfig, error) {
	cfg := clusterConfig{
		Bind: c.String("bind"), Advertise: c.String("advertise"), Join: c.StringSlice("join"),
		KeyFile: c.String("key"), Node: c.String("node"), Profile: c.String("profile"), StateDir: c.String("state-dir"),
		Discover: c.String("discover"), GossipBind: c.StringSlice("gossip-bind"), GossipConnect: c.StringSlice("gossip-connect"),
	}
	var err error
	if cfg.GossipCurve, err = newCurve(c, "gossip-"); err != nil {
		return cfg, err
	}
	if err := cfg.checkDiscovery(); err != nil {
		return cfg, err
	}
	if cfg.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return cfg, &failure{op: "find the host's name", err: err}
		}
		if cfg.Node = host; name != defaultName {
			cfg.Node += "-" + name
		}
	}
	if _, err := member.ParseProfile(cfg.Profile); err != nil {
		return cfg, usage("--profile: %w", err)
	}
	if cfg.Bind == "" {
		for _, flag := range []string{"advertise", "join", "key", "state-dir", "discover"} {
			if c.IsSet(flag) {
				return cfg, usage("--%s: is for a member of a cluster: give --bind, too", flag)
			}
		}
	}
	return cfg, nil
}

func (cfg *clusterConfig) checkDiscovery() error {
	binds, connects := len(cfg.GossipBind) > 0, len(cfg.GossipConnect) > 0
	switch {
	case cfg.Discover != "" && cfg.Discover != "zgossip":
		return usage("--discover: %q is not a way: want zgossip", cfg.Discover)
	case cfg.Discover != "" && !binds && !connects:
		return usage("--discover zgossip: give --gossip-connect or --gossip-bind, too")
	case cfg.Discover == "" && (binds || connects || cfg.GossipCurve.on()):
		return usage("flags that begin with --gossip-: give --discover zgossip, too")
	}
	if err := cfg.GossipCurve.checkUse(binds, connects); err != nil {
		return err
	}
	return cfg.GossipCurve.checkPlain(binds, connects, false)
}

// host is the address of --bind or --advertise without the port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// openCluster makes what the broker asks for other hosts. Nobody is a member yet.
func (s *server) openCluster() error {
	cfg := s.cfg.Cluster
	if cfg.Bind == "" {
		return nil
	}
	if cfg.KeyFile != "" {
		var err error
		if s.key, err = key.Load(cfg.KeyFile); err != nil {
			return &failure{code: exitUsage, op: "--key", err: err}
		}
	}
	var boot [8]byte
	_, _ = rand.Read(boot[:]) // never fails: crypto/rand
	s.id = peer.ID{Node: cfg.Node, Boot: binary.BigEndian.Uint64(boot[:]) | 1}
	s.cluster = cluster.New(cluster.Config{Self: s.id, Capacity: int(s.cfg.Capacity), Tell: s.tell, Log: s.log})
	var err error
	s.names, err = names.Open(names.Config{Net: s.cluster, Arbiter: s.cluster, StateDir: cfg.StateDir, Log: s.log})
	switch {
	case errors.Is(err, names.ErrInUse):
		return &failure{code: exitInUse, op: "--state-dir", err: err}
	case err != nil:
		return &failure{op: "--state-dir", err: err}
	}
	s.cluster.Carry(s.names)
	return nil
}

// openLinks lets other brokers in that are members.
func (s *server) openLinks() error {
	cfg := s.cfg.Cluster
	bind := net.JoinHostPort(hostOf(cfg.Bind), "0")
	links, err := link.Listen(link.Config{
		ID: s.id, Handler: s.cluster, Bind: "tcp://" + bind, Advertise: hostOf(cfg.Advertise), Curve: s.key != nil,
		FailureTimeout: member.Profile(cfg.Profile).FailureTimeout(1), Pool: s.broker.Pool(), Log: s.log,
	})
	switch {
	case errors.Is(err, link.ErrConfig):
		return &failure{code: exitUsage, op: "--bind " + cfg.Bind, err: err}
	case err != nil:
		return &failure{op: "cluster", err: err}
	}
	s.links = links
	s.cluster.Start(links)
	return nil
}

// joinCluster makes this broker a member: from here on others open pipes here.
func (s *server) joinCluster() error {
	cfg := s.cfg.Cluster
	if s.cluster == nil {
		return nil
	}
	m, err := member.Start(context.Background(), member.Config{
		Node: s.id.Node, Boot: s.id.Boot, Version: peer.Version,
		Bind: cfg.Bind, Advertise: cfg.Advertise, Join: cfg.Join,
		Endpoint: s.links.Endpoint(), PublicKey: s.links.PublicKey(),
		Profile: member.Profile(cfg.Profile), Key: s.key, Log: s.log, Changed: s.changed,
	})
	switch {
	case errors.Is(err, member.ErrConfig):
		return &failure{code: exitUsage, op: "cluster", err: err}
	case errors.Is(err, syscall.EADDRINUSE):
		return &failure{code: exitInUse, op: "cluster", err: err, cure: "choose another --bind"}
	case err != nil:
		return &failure{op: "cluster", err: err}
	}
	s.member = m
	if cfg.Discover == "" {
		return nil
	}
	if s.discovery, err = startDiscovery(cfg, m, s.log); err != nil {
		return gossipFailure("--discover zgossip", err)
	}
	return nil
}

// changed hands a view of the membership on.
func (s *server) changed(v member.View) {
	var others []cluster.Member
	for _, m := range v.Members {
		if m.ID != s.id && m.Endpoint != "" {
			others = append(others, cluster.Member{ID: m.ID, Endpoint: m.Endpoint, Key: m.Key})
		}
	}
	s.cluster.Members(others)
}

const (
	// drainLimit is how long a broker that ends waits for other hosts to read what
	// writers that have closed left here.
	drainLimit = 2 * time.Second
	// flushLimit is how long it waits for bytes to arrive there.
	flushLimit = time.Second
)

// partCluster is for what is to be done while pipes are open: from here on their ends
// close because this broker ends.
func (s *server) partCluster() {
	if s.member == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	if err := s.cluster.Drain(ctx); err != nil {
		s.log.Warn("other hosts have not read all that was written here", "error", err)
	}
	if err := s.cluster.Part(context.Background()); err != nil {
		s.log.Error("other hosts may take what was lost for the end", "error", err)
	}
}

// flushCluster is for what is to be done once they have closed.
func (s *server) flushCluster() {
	if s.member == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	if err := s.cluster.Flush(ctx); err != nil {
		s.log.Warn("other hosts may not have all that was written here", "error", err)
	}
}

// leaveCluster says goodbye and ends what openCluster and joinCluster have made.
func (s *server) leaveCluster() (errs []error) {
	// Nobody new is met.
	if s.discovery != nil {
		errs = append(errs, s.discovery.close())
	}
	s.flushCluster()
	// The others first: they stop counting on this host.
	if s.member != nil {
		errs = append(errs, s.member.Leave(), s.member.Close())
	}
	// Then who decides about names: nobody asks any more.
	if s.names != nil {
		errs = append(errs, s.names.Close())
	}
	// Then what carries bytes, then who decides about them.
	if s.links != nil {
		errs = append(errs, s.links.Close())
	}
	if s.cluster != nil {
		s.cluster.Close()
	}
	return errs
}
