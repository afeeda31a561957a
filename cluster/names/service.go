// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package names is the map of names that all hosts of a cluster share: which pipes
// and directories there are, with their modes, owners and permissions. Each broker
// has a copy, in its tree and if it is told so on disk. See DESIGN.md.
package names

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// What Config leaves zero.
const (
	DefaultAckTimeout   = 2 * time.Second
	DefaultSyncInterval = time.Second
	DefaultTombstoneAge = 24 * time.Hour
)

// Net carries messages between the brokers' maps. None of its methods waits.
type Net interface {
	Self() peer.ID
	Live() []peer.ID // by node, this broker included
	// Send may lose a message only when the session with its receiver is lost.
	Send(to peer.ID, payload []byte)
}

// Tree is where the map shows: a broker.Broker. Its methods are called with the
// map's lock held; they must not call the map but for Drop.
type Tree interface {
	Apply(e broker.Entry)
	Erase(path string)
	Move(from, to string)
}

// Arbiter knows which pipes are open. Its methods are called with the map's lock
// held and do not wait.
type Arbiter interface {
	// Open reports whether a pipe whose home is this broker is open anywhere.
	Open(path string) bool
	// Retire tells that a pipe's name has gone, or stands for something else.
	Retire(path string)
}

// Config shapes a Service.
type Config struct {
	Net     Net
	Arbiter Arbiter

	// StateDir has the copy on disk; empty: there is none.
	StateDir string
	// AckTimeout bounds the wait for other brokers to hear of a change. One that is
	// silent for longer learns of it later. 0: DefaultAckTimeout.
	AckTimeout time.Duration
	// AskTimeout bounds the wait for a home that is silent, but not declared dead. 0:
	// five times AckTimeout.
	AskTimeout time.Duration
	// SyncInterval is how often another broker, each in its turn, is asked what has
	// changed there. 0: DefaultSyncInterval.
	SyncInterval time.Duration
	// TombstoneAge is how long it is known that a name was removed. A broker that was
	// away for longer, and has the name on disk, brings it back. 0: DefaultTombstoneAge.
	TombstoneAge time.Duration
	// Clock returns nanoseconds since 1970. Nil: the host's.
	Clock func() int64
	Log   *slog.Logger // nil: none
}

func (c *Config) fill() {
	if c.AckTimeout == 0 {
		c.AckTimeout = DefaultAckTimeout
	}
	if c.AskTimeout == 0 {
		c.AskTimeout = 5 * c.AckTimeout
	}
	if c.SyncInterval == 0 {
		c.SyncInterval = DefaultSyncInterval
	}
	if c.TombstoneAge == 0 {
		c.TombstoneAge = DefaultTombstoneAge
	}
	if c.Clock == nil {
		c.Clock = func() int64 { return time.Now().UnixNano() }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Service is this broker's copy of the map. It implements broker.Names, and
// cluster.Passenger.
type Service struct {
	cfg  Config
	log  *slog.Logger
	self peer.ID
	disk *disk // nil: none
	tree Tree  // set by Start

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex // guards below, and is held while the tree is changed
	clock     clock
	table     *table
	transient map[string]*passing // of which this broker is the home
	live      []peer.ID
	nodes     []string
	homes     map[string]string // of names made here of late: their home then
	asked     map[uint64]*question
	tells     map[uint64]*telling
	lastReq   uint64
	answers   answers
	cursors   map[peer.ID]uint64 // how much of each broker's changes is known here

	news chan struct{} // holds one: brokers have come

	dropping sync.Mutex // guards below; the broker's lock may be held
	dropped  []string   // transient names that have gone here
	drops    chan struct{}
}

// passing is a transient name: it lives while it is open, and a little at first.
type passing struct {
	peer.Entry
	made time.Time
}

// grace is how long a transient name may be without an end: its maker is about to
// open it.
const grace = 5 * time.Second

// Open makes the service and opens the copy on disk. Nothing of it may be called but
// Start and Close, which the caller owes.
//
// Errors: ErrInUse, ErrState.
func Open(cfg Config) (*Service, error) {
	cfg.fill()
	s := &Service{
		cfg: cfg, log: cfg.Log, self: cfg.Net.Self(), clock: clock{wall: cfg.Clock}, table: newTable(),
		transient: make(map[string]*passing), homes: make(map[string]string), asked: make(map[uint64]*question),
		tells: make(map[uint64]*telling), cursors: make(map[peer.ID]uint64),
		news: make(chan struct{}, 1), drops: make(chan struct{}, 1),
	}
	s.answers.init()
	if cfg.StateDir != "" {
		var err error
		if s.disk, err = openDisk(cfg.StateDir, cfg.Log); err != nil {
			return nil, err
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Start puts the copy on disk into the tree and begins. Error: ErrState.
func (s *Service) Start(tree Tree) error {
	s.tree = tree
	if s.disk != nil {
		if err := s.load(); err != nil {
			return err
		}
	}
	s.ViewChanged()
	s.running.Go(s.run)
	return nil
}

func (s *Service) load() error {
	list, err := s.disk.load()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list {
		s.clock.see(e.Time)
		s.table.put(e)
	}
	for _, e := range s.table.under("") {
		if !s.table.hidden(e.Path) {
			s.tree.Apply(entryOf(&e))
		}
	}
	s.log.Info("names read", "dir", s.cfg.StateDir, "names", len(s.table.under("")))
	return nil
}

// Close ends the service and waits for what it has begun. Calls that wait fail.
func (s *Service) Close() error {
	s.cancel()
	s.running.Wait()
	if s.disk != nil {
		return s.disk.close()
	}
	return nil
}

// run does what has its time: it asks others for what has changed, drops what has
// gone, and forgets what is old.
func (s *Service) run() {
	tick := time.NewTicker(s.cfg.SyncInterval)
	defer tick.Stop()
	turn := 0
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.sweep()
			if others := s.others(); len(others) > 0 {
				turn++
				s.pull(s.ctx, others[turn%len(others):][:1], "", false)
			}
		case <-s.news:
			s.pull(s.ctx, s.unknown(), "", false)
		case <-s.drops:
			s.sendDrops()
		}
	}
}

// others are all live brokers but this one.
func (s *Service) others() (list []peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.live {
		if id != s.self {
			list = append(list, id)
		}
	}
	return list
}

// unknown are the brokers that were never asked.
func (s *Service) unknown() (list []peer.ID) {
	for _, id := range s.others() {
		s.mu.Lock()
		_, known := s.cursors[id]
		s.mu.Unlock()
		if !known {
			list = append(list, id)
		}
	}
	return list
}

// sweep forgets transient names without ends, and tombstones that are old.
func (s *Service) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, p := range s.transient {
		if !s.passes(p) {
			delete(s.transient, path)
		}
	}
	for _, path := range s.table.forget(s.clock.wall() - int64(s.cfg.TombstoneAge)) {
		s.keepOnDisk(path)
	}
}

// passes reports that a transient name is there.
func (s *Service) passes(p *passing) bool {
	return p != nil && (time.Since(p.made) < grace || s.cfg.Arbiter.Open(p.Path))
}

// accept keeps an entry if it is news, and makes the tree agree.
func (s *Service) accept(e peer.Entry) bool {
	if s.clock.see(e.Time) && e.Node != s.self.Node {
		s.log.Warn("another host's clock is far ahead", "node", e.Node, "name", e.Path, "by", time.Duration(e.Time-s.clock.wall()))
	}
	old, news := s.table.put(e)
	if !news {
		return false
	}
	s.keepOnDisk(e.Path)
	s.show(e.Path, old)
	return true
}

// show makes the tree agree with the table at a path, and below it where that
// depends on what is there.
func (s *Service) show(path string, old *peer.Entry) {
	if path == "" {
		return // the root's owner is each host's own
	}
	now := s.table.visible(path)
	wasPipe := old != nil && !old.Dead && old.Pipe
	if wasPipe && (now == nil || !now.Pipe) {
		s.cfg.Arbiter.Retire(path)
	}
	switch {
	case now != nil:
		delete(s.transient, path)
		s.tree.Apply(entryOf(now))
	case !s.table.hidden(path) && s.table.below[path] > 0:
		// The living keep their directories, for as long as they live.
		dir := s.table.entries[path].Entry
		dir.Pipe, dir.Transient = false, true
		s.tree.Apply(entryOf(&dir))
	default:
		s.tree.Erase(path)
	}
	if s.table.below[path] > 0 && (wasPipe || now != nil && now.Pipe) {
		for _, e := range s.table.under(path) {
			if !s.table.hidden(e.Path) {
				s.tree.Apply(entryOf(&e))
			}
		}
	}
}

func (s *Service) keepOnDisk(path string) {
	if s.disk == nil {
		return
	}
	if r := s.table.entries[path]; r != nil {
		e := r.Entry
		s.disk.put(path, &e)
		return
	}
	s.disk.put(path, nil)
}

// homeOf returns the broker that decides about a name.
func (s *Service) homeOf(path string) peer.ID {
	home := peer.Home(path, s.nodes)
	for _, id := range s.live {
		if id.Node == home {
			return id
		}
	}
	return s.self
}

// errOf is the error that a decision stands for.
func errOf(status peer.NamesStatus, path string) error {
	err, ok := statusErrors[status]
	switch {
	case status == peer.NameOK:
		return nil
	case !ok:
		return fmt.Errorf("%q: %w: status %d", path, ErrAnswer, status)
	}
	return err
}
