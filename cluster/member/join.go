// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// rememberFor is how long brokers that went are looked for.
	rememberFor = 24 * time.Hour

	// rememberMost is how many of them.
	rememberMost = 1024

	// triesAtOnce is how many addresses are tried at the same time: those that do not
	// answer must not keep this broker from those that do.
	triesAtOnce = 8
)

// joiner goes on joining as long as somebody may be missing: addresses of
// Config.Join that no member has, and members that went.
type joiner struct {
	m     *Membership
	times timing
	tried chan struct{}   // closed after the first round
	wake  chan struct{}   // capacity 1: somebody went
	ctx   context.Context // ends it
	stop  context.CancelFunc
	seeds []*seed       // run's alone, and a seed its try's
	tries chan struct{} // holds one for each try under way

	learned chan struct{} // capacity 1: the seeds that were learned are others now

	mu    sync.Mutex
	also  []string             // guarded by mu: seeds that were learned: see Membership.Seek
	live  map[string]bool      // guarded by mu: addresses of all members
	lost  map[string]time.Time // guarded by mu: address of a broker that went, and when
	epoch int                  // guarded by mu: how often somebody went
}

// seed is an address of Config.Join.
type seed struct {
	addr  string // "host:port"
	epoch int    // the joiner's when the seed was a member, or was joined; -1 before
}

func newJoiner(m *Membership) *joiner {
	j := &joiner{
		m: m, times: timings[m.cfg.Profile], tried: make(chan struct{}), wake: make(chan struct{}, 1), learned: make(chan struct{}, 1),
		tries: make(chan struct{}, triesAtOnce), live: map[string]bool{m.self.Addr: true}, lost: make(map[string]time.Time),
	}
	j.ctx, j.stop = context.WithCancel(m.ctx)
	for _, addr := range m.cfg.Join {
		j.seeds = append(j.seeds, &seed{addr, -1})
	}
	return j
}

// saw tells of a new view.
func (j *joiner) saw(v View) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live = make(map[string]bool, len(v.Members))
	for _, b := range v.Members {
		j.live[b.Addr] = true
	}
	for _, g := range v.Gone {
		if len(j.lost) < rememberMost {
			j.lost[g.Addr] = time.Now()
		}
	}
	maps.DeleteFunc(j.lost, func(addr string, when time.Time) bool {
		return j.live[addr] || time.Since(when) > rememberFor
	})
	if len(v.Gone) == 0 {
		return
	}
	j.epoch++
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// run tries until stop: often while this broker is alone and after somebody
// went, then ever more rarely.
func (j *joiner) run() {
	missing := j.round()
	close(j.tried)
	wait := j.times.join
	again := after(missing, wait)
	for {
		select {
		case <-again:
			missing = j.round()
			if wait = min(2*wait, j.times.joinRarely); j.alone() {
				wait = j.times.join
			}
			again = after(missing, wait)
		case <-j.wake:
			if again == nil || wait > j.times.join { // else a round is near
				wait = j.times.join
				again = after(true, wait)
			}
		case <-j.learned:
			j.learn()
			missing = j.round()
			again = after(missing, wait)
		case <-j.ctx.Done():
			return
		}
	}
}

// Seek makes the addresses seeds, as those of Config.Join are, in the place of those
// of an earlier call. What is no "host:port" is left out and logged.
func (m *Membership) Seek(addrs []string) {
	j := m.joiner
	j.mu.Lock()
	j.also = slices.Clone(addrs)
	j.mu.Unlock()
	select {
	case j.learned <- struct{}{}:
	default:
	}
}

// learn puts the seeds that were learned behind those of the configuration.
func (j *joiner) learn() {
	j.mu.Lock()
	also := j.also
	j.mu.Unlock()
	old := j.seeds
	j.seeds = slices.Clone(old[:len(j.m.cfg.Join)])
	for _, addr := range also {
		if err := checkSeed(addr); err != nil {
			j.m.cfg.Log.Warn("an address that was learned is left out", "addr", addr, "err", err)
			continue
		}
		i := slices.IndexFunc(old, func(s *seed) bool { return s.addr == addr })
		if i < 0 {
			j.seeds = append(j.seeds, &seed{addr, -1})
		} else if i >= len(j.m.cfg.Join) {
			j.seeds = append(j.seeds, old[i])
		}
	}
}

// after returns a timer for the next round, a little random so that a cluster's
// brokers do not all try at once; none if nobody is missing.
func after(missing bool, wait time.Duration) <-chan time.Time {
	if !missing {
		return nil
	}
	return time.After(wait + rand.N(wait/4))
}

// round tries each seed that no member has, and one of the lost. It reports
// whether somebody is missing.
func (j *joiner) round() (missing bool) {
	var trying sync.WaitGroup
	var failed atomic.Bool
	for _, s := range j.seeds {
		trying.Go(func() {
			if !j.try(s) {
				failed.Store(true)
			}
		})
	}
	trying.Wait()
	missing = failed.Load()
	if addr, some := j.pick(); some {
		missing = true
		if addr != "" {
			_ = j.join(addr) // it is not surprising that it does not answer
		}
	}
	return missing
}

// try sees to it that a member has a seed's address; false: none has.
func (j *joiner) try(s *seed) bool {
	j.mu.Lock()
	epoch := j.epoch
	j.mu.Unlock()
	if s.epoch == epoch {
		return true
	}
	if err := j.seek(s.addr); err != nil {
		if j.ctx.Err() == nil {
			j.told(s.addr, err)
		}
		return false
	}
	s.epoch = epoch
	j.m.report.reachable(s.addr)
	return true
}

// told logs that a seed cannot be joined, unless the cause was told already.
func (j *joiner) told(addr string, err error) {
	if !strings.Contains(err.Error(), errRefused.Error()) { // serf makes text of it
		j.m.report.unreachable(addr, err)
	}
}

// seek returns nil if a member has the address, or has been joined at it. This
// broker's own address is nobody's, but for a seed that has no other.
func (j *joiner) seek(addr string) (err error) {
	var all []string
	if j.inTurn(func() { all, err = j.resolve(addr) }); err != nil {
		return err
	}
	others := slices.DeleteFunc(all, func(a string) bool { return a == j.m.self.Addr })
	var trying sync.WaitGroup
	var found atomic.Bool
	errs := make([]error, len(others))
	for i, a := range others {
		trying.Go(func() {
			j.inTurn(func() {
				if found.Load() || slices.ContainsFunc(others, j.isLive) {
					found.Store(true)
				} else if errs[i] = j.join(a); errs[i] == nil {
					found.Store(true)
				}
			})
		})
	}
	trying.Wait()
	if found.Load() {
		return nil
	}
	return cmp.Or(errs...)
}

// inTurn runs f while few others run.
func (j *joiner) inTurn(f func()) {
	j.tries <- struct{}{}
	defer func() { <-j.tries }()
	f()
}

// resolve returns the addresses that "host:port" has now, as "ip:port".
func (j *joiner) resolve(addr string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(j.ctx, j.times.stream)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip.Unmap(), uint16(n)).String()
	}
	return addrs, nil
}

// join exchanges states with the broker at addr, "ip:port".
func (j *joiner) join(addr string) error {
	drop, err := j.m.gate.reach(j.ctx, addr, j.times.stream)
	if err != nil {
		return err
	}
	defer drop()
	_, err = j.m.serf.Join([]string{addr}, true)
	if one := errors.Unwrap(err); one != nil { // of a list of one
		err = one
	}
	return err
}

// pick returns one of the lost, at random, and whether there are any. If others
// are alive it often returns none: each lost one is then tried by about one of
// them in each round (as serf does with the failed).
func (j *joiner) pick() (addr string, some bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.lost)
	if n == 0 {
		return "", false
	}
	if others := len(j.live) - 1; others > n && rand.N(others) >= n {
		return "", true
	}
	addrs := slices.Collect(maps.Keys(j.lost))
	return addrs[rand.N(n)], true
}

func (j *joiner) isLive(addr string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.live[addr]
}

func (j *joiner) alone() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.live) == 1
}
