// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/zpipesfs/zpipesfs/cluster/key"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// ErrEnded is a membership that ended without Close.
var ErrEnded = errors.New("membership ended by itself")

// eventBuffer takes what serf may still have to say when nobody listens any
// more: its own buffer holds 1024.
const eventBuffer = 2048

// Membership is this broker as a member of the cluster.
type Membership struct {
	cfg    Config
	serf   *serf.Serf
	gate   *gate
	report *reporter
	events chan serf.Event

	changed chan struct{} // capacity 1: serf has something new
	left    departures    // who said goodbye
	joiner  *joiner

	ctx    context.Context // ends the goroutines
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	done   chan struct{}
	ended  func() // closes done, once

	ending sync.Mutex // held by Leave and Close from their beginning to their end
	closed bool       // guarded by ending
	gone   bool       // guarded by ending: Leave was called

	tagging sync.Mutex // held while tags are told, guards their order

	mu      sync.Mutex
	self    Member   // guarded by mu
	members []Member // guarded by mu: the last view's
	err     error    // guarded by mu
}

// Start makes this broker a member. A broker that finds nobody is a cluster of
// one and goes on looking. Start waits a little for the first try to join; ctx
// bounds the start alone. The caller calls Close.
func Start(ctx context.Context, cfg Config) (*Membership, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Membership{
		cfg: cfg, report: &reporter{log: cfg.Log}, events: make(chan serf.Event, eventBuffer),
		changed: make(chan struct{}, 1), done: make(chan struct{}),
		self: Member{
			ID:       peer.ID{Node: cfg.Node, Boot: cfg.Boot},
			Endpoint: cfg.Endpoint, Key: cfg.PublicKey, Version: cfg.Version,
		},
	}
	m.ended = sync.OnceFunc(func() { close(m.done) })
	if err := m.self.checkTags(); err != nil {
		return nil, err
	}
	if err := m.create(); err != nil {
		return nil, err
	}
	m.members = []Member{m.self}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.joiner = newJoiner(m)
	m.tasks.Go(m.drain)
	m.tasks.Go(m.watch)
	m.tasks.Go(m.joiner.run)

	patience := time.NewTimer(timings[cfg.Profile].join)
	defer patience.Stop()
	select {
	case <-m.joiner.tried:
	case <-patience.C:
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("start membership: %w", context.Cause(ctx)), m.Close())
	}
	return m, nil
}

// create makes the serf instance and all that it is given.
func (m *Membership) create() error {
	ids, err := m.cfg.Key.IDs()
	if err != nil {
		return fmt.Errorf("cluster key: %w", err)
	}
	keyring, err := m.keyring()
	if err != nil {
		return fmt.Errorf("cluster key: %w", err)
	}
	transport, addr, err := m.transport()
	if err != nil {
		return err
	}
	m.self.Addr = addr.String()
	m.warnOpen(addr)
	g := &guard{node: m.cfg.Node, version: m.cfg.Version, addr: addr, report: m.report}
	m.gate = newGate(transport, hello{m.cfg.Version, ids}, timings[m.cfg.Profile].stream, m.report)
	m.serf, err = serf.Create(m.settings(g, keyring))
	if err != nil {
		return errors.Join(fmt.Errorf("start serf: %w", err), m.gate.Shutdown())
	}
	g.serf.Store(m.serf)
	return nil
}

func (m *Membership) keyring() (*memberlist.Keyring, error) {
	keys, err := m.cfg.Key.Derive(key.Gossip, key.Size)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	return memberlist.NewKeyring(keys, keys[0])
}

// transport returns what to talk on, and this broker's address on it.
func (m *Membership) transport() (memberlist.NodeAwareTransport, netip.AddrPort, error) {
	if m.cfg.Transport == nil {
		n, err := listen(&m.cfg, m.report.library())
		if err != nil {
			return nil, netip.AddrPort{}, err
		}
		return n, n.advertise, nil
	}
	t, ok := m.cfg.Transport.(memberlist.NodeAwareTransport)
	if !ok {
		t = nameless{m.cfg.Transport}
	}
	ip, port, err := t.FinalAdvertiseAddr("", 0)
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("address of the transport: %w", err)
	}
	return t, ipPort(ip, uint16(port)), nil
}

// warnOpen warns of a cluster that anybody can join.
func (m *Membership) warnOpen(addr netip.AddrPort) {
	if m.cfg.Key == nil && m.cfg.Transport == nil && !addr.Addr().IsLoopback() {
		m.cfg.Log.Warn("no cluster key: whoever reaches this address can join and read every pipe; make one with zpipes keygen, give it with --key", "addr", addr)
	}
}

// settings are serf's and memberlist's. Queries, user events and coordinates are
// not used: their buffers would only make states that are exchanged longer.
func (m *Membership) settings(g *guard, keyring *memberlist.Keyring) *serf.Config {
	const never = 100 * 365 * 24 * time.Hour
	lib := m.report.library()
	ml := memberlist.DefaultLANConfig()
	ml.Transport, ml.Keyring, ml.Logger = m.gate, keyring, lib
	ml.Label = "zpipes" + strconv.Itoa(int(m.cfg.Version)) // so that a ping of another version is not answered
	ml.Merge, ml.Alive = g, g
	ml.EnableCompression = false       // keys and random numbers do not get shorter
	ml.DeadNodeReclaimTime = 1         // a broker may come back at another address at once
	ml.AdvertisePort = ml.BindPort     // the transport knows better
	ml.MsgpackUseNewTimeFormat = false // no times are sent
	s := &serf.Config{
		NodeName: m.cfg.Node, Tags: m.self.tags(), EventCh: m.events, ProtocolVersion: serf.ProtocolVersionMax,
		MemberlistConfig: ml, Logger: lib, DisableCoordinates: true,
		EnableNameConflictResolution: false, // it would end serf, here
		EventBuffer:                  16, QueryBuffer: 16, QueryTimeoutMult: 16,
		QueryResponseSizeLimit: 1024, QuerySizeLimit: 1024, UserEventSizeLimit: 512,
		ReapInterval: 15 * time.Second, RecentIntentTimeout: 5 * time.Minute, FlapTimeout: time.Minute,
		ReconnectInterval: never, // the joiner does, for those that left, too
		ReconnectTimeout:  rememberFor, TombstoneTimeout: rememberFor,
		QueueCheckInterval: 30 * time.Second, QueueDepthWarning: 1024, MaxQueueDepth: 4096,
	}
	m.cfg.Profile.configure(s, ml)
	return s
}

// Members returns the live brokers in the order of their nodes, this one included.
func (m *Membership) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.members)
}

// Self returns this broker as others see it.
func (m *Membership) Self() Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self
}

// FailureTimeout is the profile's for the cluster as it is now.
func (m *Membership) FailureTimeout() time.Duration {
	return m.cfg.Profile.FailureTimeout(len(m.Members()))
}

// UpdateTags tells the others this broker's endpoint and public key anew. It
// waits until the news are under way, at most a few seconds. The error is ErrTags,
// and then nothing has changed.
func (m *Membership) UpdateTags(endpoint, publicKey string) error {
	m.tagging.Lock()
	defer m.tagging.Unlock()
	self := m.Self()
	self.Endpoint, self.Key = endpoint, publicKey
	if err := self.checkTags(); err != nil {
		return err
	}
	m.mu.Lock()
	m.self = self
	m.mu.Unlock()
	m.kick()
	if err := m.serf.SetTags(self.tags()); err != nil {
		// They were set all the same, and travel with the next exchange of states.
		m.cfg.Log.Debug("telling the endpoint takes long", "err", err)
	}
	return nil
}

// Leave says goodbye to the others, who then see this broker as Left. It takes at
// most a few seconds (see profile: twice broadcast, and linger). The membership
// then joins nobody any more; Close still has to be called.
func (m *Membership) Leave() error {
	m.ending.Lock()
	defer m.ending.Unlock()
	if m.gone || m.closed {
		return nil
	}
	m.gone = true
	m.joiner.stop()
	if len(m.Members()) == 1 {
		return nil // nobody to tell, nobody to wait for
	}
	if err := m.serf.Leave(); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	return nil
}

// Done is closed when the membership has ended, by Close or by itself: see Err.
func (m *Membership) Done() <-chan struct{} { return m.done }

// Err returns why the membership has ended by itself, which is ErrEnded; nil
// before, and after Close.
func (m *Membership) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Close ends the membership; Changed is not called any more when it returns. The
// others see a failure if there was no Leave.
func (m *Membership) Close() error {
	m.ending.Lock()
	defer m.ending.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.cancel()
	err := m.serf.Shutdown()
	m.tasks.Wait()
	m.ended()
	if err != nil {
		return fmt.Errorf("end membership: %w", err)
	}
	return nil
}
