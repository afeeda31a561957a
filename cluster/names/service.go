// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package names is the map of all names of a cluster, as one broker has it. It
// decides about the names that have their home here, asks other homes about the
// rest, and makes the broker's tree show the outcome. DESIGN.md has the rules.
package names

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Net carries messages between brokers' maps. Its methods must not wait, nor call
// the service.
type Net interface {
	Self() peer.ID
	// Live returns all live brokers, one life of each node, this one included.
	Live() []peer.ID
	// Send sends a message; it may be lost only with the session, which Lost tells.
	Send(to peer.ID, payload []byte)
}

// Tree is where names show: a broker.Broker. It is called with the service's lock
// held, so it must not wait for the service.
type Tree interface {
	Apply(e broker.Entry)
	Erase(path string)
	Move(from, to string)
}

// Arbiter knows the ends of pipes. It is called as Tree is.
type Arbiter interface {
	// Open reports whether a pipe that has its home here is open on any host.
	Open(path string) bool
	// Retire tells that a name has gone, or that another pipe has it now.
	Retire(path string)
}

// Config shapes a Service.
type Config struct {
	Net     Net
	Arbiter Arbiter

	// StateDir keeps the map over restarts; empty: nothing does.
	StateDir string
	// Owner of directories that nobody has made but that hold something. All
	// brokers should have the same one. With Perm 0: 0755 and those of the process.
	Owner broker.Owner
	// AckTimeout bounds how long one silent peer is waited for. 0: 2 s.
	AckTimeout time.Duration
	// Limit is how long a call may take when the name's home is silent. 0: 30 s.
	Limit time.Duration
	// SyncInterval is how often the map is compared with that of one peer. 0: 1 s.
	SyncInterval time.Duration
	// Recent is how long a change may take to be known everywhere: so long, whoever
	// made it tells a new home of it. 0: 2 min.
	Recent time.Duration
	// TombstoneAge is how long a removed name is remembered. A broker that was away
	// for longer brings back what was removed meanwhile. 0: 24 h.
	TombstoneAge time.Duration
	// MaxSkew is by how much a peer's clock may be ahead without a warning. 0: 1 h.
	MaxSkew time.Duration
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: none
}

func (c *Config) fill() {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.AckTimeout, 2 * time.Second}, {&c.Limit, 30 * time.Second}, {&c.SyncInterval, time.Second}, {&c.Recent, 2 * time.Minute},
		{&c.TombstoneAge, 24 * time.Hour}, {&c.MaxSkew, time.Hour},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.Owner.Perm == 0 {
		c.Owner = broker.Owner{Perm: 0o755, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Service is a broker's part in the map of names. It implements broker.Names and
// cluster.Passenger.
type Service struct {
	cfg  Config
	log  *slog.Logger
	self peer.ID
	net  Net
	tree Tree
	arb  Arbiter

	store   *store // nil: memory only
	life    context.Context
	stop    context.CancelFunc
	running sync.WaitGroup // all goroutines
	wake    chan struct{}  // holds one: the background has something to do

	dropping sync.Mutex // guards below; taken under any lock
	drops    []string

	mu      sync.Mutex // guards below; Tree's and Arbiter's locks are taken under it
	started bool
	closed  bool
	names   *mapping
	clock   clock
	purged  time.Time // when tombstones were looked for
	recent  []change
	nodes   []string               // of live brokers
	lives   map[string]peer.ID     // by node
	peers   map[peer.ID]*remote    // live ones but this
	moved   chan struct{}          // closed when the view changes
	calls   map[uint64]*call       // requests of this broker
	tells   map[uint64]*tell       // that wait for acknowledgements
	lastID  uint64                 // of both
	served  map[request]time.Time  // requests of peers that came lately, and when
	busy    map[string]*turn       // paths with a decision that takes several steps
	claims  map[string]reservation // paths that a rename is about to take
}

// change is one that peers may not know yet.
type change struct {
	at time.Time
	n  *node
}

// request is a peer's.
type request struct {
	from peer.ID
	id   uint64
}

// Open makes a service and opens its copy on disk. Before Start nothing of it may be
// called but what a cluster calls, which has no effect, and Close, which the caller owes.
//
// Errors: ErrInUse, ErrState.
func Open(cfg Config) (*Service, error) {
	s := newService(cfg)
	if cfg.StateDir != "" {
		if err := s.open(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func newService(cfg Config) *Service {
	cfg.fill()
	s := &Service{
		cfg: cfg, log: cfg.Log, self: cfg.Net.Self(), net: cfg.Net, arb: cfg.Arbiter,
		wake: make(chan struct{}, 1), moved: make(chan struct{}),
		lives: make(map[string]peer.ID), peers: make(map[peer.ID]*remote), calls: make(map[uint64]*call), tells: make(map[uint64]*tell),
		served: make(map[request]time.Time), busy: make(map[string]*turn), claims: make(map[string]reservation),
	}
	s.names = newMapping(s.self.Boot, cfg.Owner, shown{s})
	s.clock = clock{node: s.self.Node, wall: cfg.Now, maxSkew: cfg.MaxSkew, log: s.log, warned: make(map[string]time.Time)}
	s.life, s.stop = context.WithCancel(context.Background())
	return s
}

// Start shows what the copy on disk has in tree and begins.
func (s *Service) Start(tree Tree) error {
	s.mu.Lock()
	s.tree, s.started = tree, true
	if s.store != nil {
		s.restore()
		s.spawn(func() { s.store.run(s.life) })
	}
	s.spawn(s.background)
	s.mu.Unlock()
	s.ViewChanged()
	return nil
}

// Close ends the service, waits for its goroutines and brings the state directory
// up to date. Calls under way get ErrClosed. A second Close does nothing.
func (s *Service) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.stop()
	s.running.Wait()
	if s.store == nil {
		return nil
	}
	return s.store.close()
}

// spawn runs f on a goroutine that Close waits for. It is called with the lock held
// and reports whether it did.
func (s *Service) spawn(f func()) bool {
	if !s.closed {
		s.running.Go(f)
	}
	return !s.closed
}

// shown tells the tree, and the arbiter of pipes.
type shown struct{ *Service }

func (s shown) apply(e *Entry) {
	k := broker.Pipe
	if e.Dir {
		k = broker.Dir
	}
	s.tree.Apply(broker.Entry{
		Path: e.Path, Kind: k, Mode: pipe.Mode(e.Mode), Transient: e.Transient,
		Owner: broker.Owner{Perm: e.Perm, UID: e.UID, GID: e.GID},
	})
}

func (s shown) erase(path string, dir bool) {
	if !dir {
		s.arb.Retire(path)
	}
	s.tree.Erase(path)
}

func (s shown) move(from, to string, gone []string) {
	for _, path := range gone {
		s.arb.Retire(path)
	}
	s.tree.Move(from, to)
}

// home returns the broker that decides about a path.
func (s *Service) home(path string) peer.ID { return s.lives[peer.Home(path, s.nodes)] }

// learn takes over what others say; mine: that this broker has asked for. It is
// called with the lock held.
func (s *Service) learn(entries []Entry, mine bool) {
	var changed []*node
	for i := range entries {
		if n := s.accept(entries[i], mine); n != nil {
			changed = append(changed, n)
		}
	}
	for _, n := range changed {
		s.names.settle(n)
	}
}

// learnMove is learn for a rename. If it is news that from has gone, what shows there
// moves, so that it stays the same in the tree.
func (s *Service) learnMove(from, to string, entries []Entry, mine bool) {
	for i := range entries {
		if e := &entries[i]; e.Path == from && e.Dead {
			if old := s.names.get(from); old == nil || e.Compare(old) > 0 {
				s.names.move(from, to)
			}
		}
	}
	s.learn(entries, mine)
	s.names.moveDone(from, to)
}

// accept takes over one entry and returns its node if it was news. The tree does
// not show it yet.
func (s *Service) accept(e Entry, mine bool) *node {
	if err := broker.CheckName(e.Path); err != nil {
		s.log.Warn("a peer's name is left out", "name", e.Path, "peer", e.Stamp.Node, "error", err)
		return nil
	}
	if e.Dead && s.names.get(e.Path) == nil && (e.Transient || s.outlived(&e)) {
		return nil
	}
	s.clock.see(e.Stamp)
	n, news := s.names.put(&e)
	if !news {
		return nil
	}
	s.note(n, mine)
	if s.home(e.Path) == s.self || mine && !e.Transient {
		s.names.record(n)
	}
	return n
}

// note remembers that n has changed, for a new home and for the disk.
func (s *Service) note(n *node, mine bool) {
	n.mine = mine
	s.recent = append(s.recent, change{s.cfg.Now(), n})
	delete(s.claims, n.path)
	if s.store != nil && (!n.entry.Transient || n.saved) {
		n.saved = !n.entry.Transient
		s.store.mark(n.path)
	}
}

// settle decides that e is the state of its name from now on, and returns it with
// its stamp. The caller shows it.
func (s *Service) settle(e Entry) (*node, Entry) {
	e.Stamp = s.clock.now()
	n, _ := s.names.put(&e)
	s.note(n, true)
	s.names.record(n)
	return n, e
}

// outlived reports that a tombstone is due to be forgotten.
func (s *Service) outlived(e *Entry) bool {
	age := s.cfg.TombstoneAge
	if e.Transient {
		age = min(age, s.cfg.Recent)
	}
	return e.Dead && s.cfg.Now().UnixNano()-e.Stamp.Time > int64(age)
}
