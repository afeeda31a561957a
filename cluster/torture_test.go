// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// TestTorture runs programs that open, read, write and close at random on a few
// hosts whose network and membership misbehave, and holds the pipes to what is
// promised. A seed that failed: ZPIPES_TORTURE_SEED=N.
func TestTorture(t *testing.T) {
	first, n := uint64(1), 6
	if s := os.Getenv("ZPIPES_TORTURE_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &first); err != nil {
			t.Fatal(err)
		}
		n = 1
	}
	for i := range n {
		if !torment(t, first+uint64(i), 2*time.Second) {
			return
		}
	}
}

// TestSoakTorture goes on with new seeds for as long as ZPIPES_SOAK says.
func TestSoakTorture(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("ZPIPES_SOAK"))
	if err != nil {
		t.Skip("ZPIPES_SOAK is no duration")
	}
	end := time.Now().Add(length)
	for seed := uint64(time.Now().Unix()); time.Now().Before(end); seed++ {
		if !torment(t, seed, 4*time.Second) {
			return
		}
	}
}

// torment is one seed.
func torment(t *testing.T, seed uint64, length time.Duration) bool {
	return t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
		before := runtime.NumGoroutine()
		t.Run("run", func(t *testing.T) { newTorture(t, seed).run(length) })
		(&rig{t: t}).eventually("the goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
	})
}

// How much misbehaves.
const (
	calm     = iota // delays, frames that are dropped, cuts that are short
	breaking        // hosts are killed and restarted, too
	cutting         // sessions are lost, too: long cuts, partitions, views that err
	levels
)

type torture struct {
	*rig
	seed  uint64
	level int
	pipes []*subject
	stop  context.Context

	mu    sync.Mutex // guards below
	alive []*host
	boots map[string]uint64
	known map[*host]map[string]peer.ID // who a host thinks is alive
}

// subject is a pipe under test. Each write is one record: all of a fifo or fanout
// pipe have one size, and reads want a multiple, so a read gets whole records.
type subject struct {
	name string
	mode pipe.Mode
	size int

	mu      sync.Mutex // guards below
	writers []*author
	errors  int // that programs were told of a loss
}

// author is one writer and what it wrote.
type author struct {
	host  *host
	wrote int // records that the pipe has taken
	tried int // and those for which it is not known, which are the last
	read  map[int]int
}

func newTorture(t *testing.T, seed uint64) *torture {
	rng := rand.New(rand.NewPCG(seed, 0))
	x := &torture{
		rig:  &rig{t: t, net: link.NewNetwork(seed), timeout: time.Second},
		seed: seed, level: int(seed % levels), boots: make(map[string]uint64), known: make(map[*host]map[string]peer.ID),
	}
	t.Cleanup(func() {
		for _, h := range x.hosts {
			h.stop()
		}
	})
	x.pipes = []*subject{
		{name: "fifo-a", mode: pipe.Fifo, size: 512}, {name: "fifo-b", mode: pipe.Fifo, size: 1021}, {name: "fifo-c", mode: pipe.Fifo, size: 4096},
		{name: "exclusive-a", mode: pipe.Exclusive, size: 777}, {name: "exclusive-b", mode: pipe.Exclusive, size: 20000},
		{name: "fanout-a", mode: pipe.Fanout, size: 300}, {name: "fanout-b", mode: pipe.Fanout, size: 3000},
	}
	for i := range 2 + rng.IntN(3) {
		x.boot(fmt.Sprint("h", i+1))
	}
	x.agree(nil)
	t.Logf("seed %d: level %d, %d hosts", seed, x.level, len(x.alive))
	return x
}

// boot adds a host that nobody knows yet.
func (x *torture) boot(node string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.boots[node]++
	h := x.add(node, x.boots[node])
	for _, p := range x.pipes {
		h.node(p.name, p.mode)
	}
	x.alive = append(x.alive, h)
	x.known[h] = make(map[string]peer.ID)
}

// agree gives all hosts the same, true view, in random order and time.
func (x *torture) agree(rng *rand.Rand) {
	x.mu.Lock()
	hosts := append([]*host(nil), x.alive...)
	x.mu.Unlock()
	if rng != nil {
		rng.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	}
	for _, h := range hosts {
		for _, o := range hosts {
			x.sees(h, o, true)
			if rng != nil && rng.IntN(3) == 0 {
				x.pause(time.Duration(rng.IntN(20)) * time.Millisecond)
			}
		}
		x.mu.Lock()
		for node, id := range x.known[h] {
			gone := true
			for _, o := range x.alive {
				gone = gone && o.id != id
			}
			if gone {
				delete(x.known[h], node)
			}
		}
		x.mu.Unlock()
		x.tell(h)
	}
}

// sees changes what a host thinks of another.
func (x *torture) sees(h, o *host, alive bool) {
	if h == o {
		return
	}
	x.mu.Lock()
	if alive {
		x.known[h][o.id.Node] = o.id
	} else if x.known[h][o.id.Node] == o.id {
		delete(x.known[h], o.id.Node)
	}
	x.mu.Unlock()
	x.tell(h)
}

func (x *torture) tell(h *host) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var members []Member
	for _, id := range x.known[h] {
		members = append(members, Member{ID: id})
	}
	h.cluster.Members(members)
}

func (x *torture) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-x.stop.Done():
	}
}

func (x *torture) someHost(rng *rand.Rand) *host {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.alive[rng.IntN(len(x.alive))]
}

func (x *torture) isAlive(h *host) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.alive {
		if o == h {
			return true
		}
	}
	return false
}

func (x *torture) run(length time.Duration) {
	stop, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	x.stop = stop
	defer func() {
		if x.t.Failed() {
			x.dump()
		}
	}()
	var programs, faults, anchors, ready, waiters sync.WaitGroup
	anchored, weigh := context.WithCancel(context.Background())
	healed := make(chan struct{})
	for i, p := range x.pipes {
		if p.mode == pipe.Fifo {
			rng := rand.New(rand.NewPCG(x.seed, uint64(1000+i)))
			ready.Add(1)
			anchors.Go(func() { x.anchor(anchored, p, rng, sync.OnceFunc(ready.Done)) })
		}
	}
	ready.Wait()
	for i := range 10 {
		rng := rand.New(rand.NewPCG(x.seed, uint64(100+i)))
		programs.Go(func() {
			for stop.Err() == nil && !x.t.Failed() {
				x.program(rng)
			}
		})
	}
	for i, p := range x.pipes {
		rng := rand.New(rand.NewPCG(x.seed, uint64(2000+i)))
		waiters.Go(func() { x.waiter(p, rng, healed) })
	}
	faults.Go(func() { x.misbehave(rand.New(rand.NewPCG(x.seed, 1))) })
	faults.Wait()
	programs.Wait()
	x.heal()
	close(healed)
	waiters.Wait()
	x.audit(weigh, &anchors)
	x.meetings()
}

func (x *torture) heal() {
	x.net.SetAll(link.Conditions{})
	for _, a := range x.hosts {
		for _, b := range x.hosts {
			if a.id.Node < b.id.Node {
				x.net.SetLink(a.id.Node, b.id.Node, link.Conditions{})
				x.net.SetLink(b.id.Node, a.id.Node, link.Conditions{})
			}
		}
	}
	x.agree(nil)
}

// misbehave is the network, the membership and the hosts.
func (x *torture) misbehave(rng *rand.Rand) {
	for x.stop.Err() == nil {
		x.pause(time.Duration(rng.IntN(100)) * time.Millisecond)
		a, b := x.someHost(rng), x.someHost(rng)
		what := rng.IntN(4)
		if x.level == cutting && rng.IntN(2) == 0 {
			what = 4 + rng.IntN(4)
		}
		if x.level >= breaking && rng.IntN(4) == 0 {
			what = 8
		}
		switch what {
		case 0, 1:
			x.net.SetAll(link.Conditions{Delay: time.Duration(rng.IntN(4000)) * time.Microsecond, Drop: float64(rng.IntN(3)) / 100})
		case 2, 3:
			x.cut(a, b, time.Duration(rng.IntN(250))*time.Millisecond)
		case 4:
			x.cut(a, b, 1500*time.Millisecond)
		case 5, 6: // membership errs, and takes it back
			x.sees(a, b, false)
			x.pause(time.Duration(rng.IntN(150)) * time.Millisecond)
			x.agree(rng)
		case 7: // a partition that membership sees, at times that differ
			for _, o := range x.hosts {
				x.net.Cut(a.id.Node, o.id.Node, a != o)
			}
			for _, o := range x.others(a) {
				x.sees(o, a, false)
				x.pause(time.Duration(rng.IntN(50)) * time.Millisecond)
				x.sees(a, o, false)
			}
			x.pause(time.Duration(rng.IntN(300)) * time.Millisecond)
			for _, o := range x.hosts {
				x.net.Cut(a.id.Node, o.id.Node, false)
			}
			x.agree(rng)
		case 8:
			x.restart(a, rng)
		}
	}
}

func (x *torture) cut(a, b *host, d time.Duration) {
	if a.id.Node != b.id.Node {
		x.net.Cut(a.id.Node, b.id.Node, true)
		x.pause(d)
		x.net.Cut(a.id.Node, b.id.Node, false)
	}
}

func (x *torture) others(h *host) (others []*host) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.alive {
		if o != h {
			others = append(others, o)
		}
	}
	return others
}

func (x *torture) restart(h *host, rng *rand.Rand) {
	others := x.others(h)
	x.mu.Lock()
	x.alive = append([]*host(nil), others...)
	x.mu.Unlock()
	if len(others) == 0 {
		return
	}
	h.kill()
	for _, o := range others {
		if rng.IntN(3) > 0 { // else the new life is the first news
			x.sees(o, h, false)
			x.pause(time.Duration(rng.IntN(50)) * time.Millisecond)
		}
	}
	x.pause(time.Duration(rng.IntN(200)) * time.Millisecond)
	x.boot(h.id.Node)
	x.agree(rng)
}

// anchor keeps a fifo open for reading, so that nothing vanishes, and reads now and
// then; with another host's when its own is killed.
func (x *torture) anchor(ctx context.Context, p *subject, rng *rand.Rand, ready func()) {
	defer ready()
	for ctx.Err() == nil && !x.t.Failed() {
		h := x.someHost(rng)
		o := h.start(p.name, readNow)
		select {
		case <-o.over:
		case <-time.After(patience):
			x.t.Errorf("%v: an open that does not wait has not ended", h.id)
			return
		}
		if o.Err != nil {
			continue
		}
		ready()
		r := &student{x: x, p: p, o: o, next: make(map[*author]int)}
		for x.isAlive(h) && ctx.Err() == nil && !x.t.Failed() {
			r.read(rng)
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rng.IntN(10)) * time.Millisecond):
			}
		}
		p.mu.Lock()
		p.errors++ // what was left may vanish before the next is there
		p.mu.Unlock()
		o.close()
	}
}

// audit checks that every record of a fifo was read, once, when those who wrote and
// read have gone but for the anchors. Hosts that are killed take records with them, and
// new ones do not know at once of the anchors.
func (x *torture) audit(weigh context.CancelFunc, anchors *sync.WaitGroup) {
	if !x.t.Failed() && x.level == calm {
		end := time.Now().Add(patience)
		for x.missing(false) > 0 && time.Now().Before(end) && !x.t.Failed() {
			time.Sleep(5 * time.Millisecond)
		}
		x.missing(true)
	}
	weigh()
	anchors.Wait()
}

func (x *torture) missing(report bool) (missing int) {
	for _, p := range x.pipes {
		if p.mode != pipe.Fifo {
			continue
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for id, w := range p.writers {
			for n := range w.wrote {
				switch times := w.read[n]; {
				case times == 0:
					if missing++; report {
						x.t.Fatalf("%s: record %d of %d of writer %d at %v is missing", p.name, n, w.wrote, id, w.host.id)
					}
				case times > 1 && report:
					x.t.Errorf("%s: record %d of writer %d was read %d times", p.name, n, id, times)
				}
			}
		}
	}
	return missing
}

// meetings checks that ends on any two hosts meet now.
func (x *torture) meetings() {
	for _, h := range x.alive {
		x.eventually(h.id.Node+" is idle", h.idle)
	}
	for _, p := range x.pipes {
		for _, a := range x.alive {
			for _, b := range x.alive {
				if x.t.Failed() {
					return
				}
				x.t.Logf("%s: %v to %v", p.name, b.id, a.id)
				rd, wr := a.start(p.name, reading), b.start(p.name, writing)
				if rd.wait(); rd.Err != nil {
					x.t.Fatalf("%s: %v to %v: open for reading: %v", p.name, b.id, a.id, rd.Err)
				}
				if wr.wait(); wr.Err != nil {
					x.t.Fatalf("%s: %v to %v: open for writing: %v", p.name, b.id, a.id, wr.Err)
				}
				wr.writes("met")
				rd.reads("met")
				wr.close()
				rd.readsErr(io.EOF)
				rd.close()
				for _, h := range x.alive {
					x.eventually(h.id.Node+" is idle", h.idle)
				}
			}
		}
	}
}

// dump tells what is left on all hosts.
func (x *torture) dump() {
	for _, h := range x.alive {
		_ = h.cluster.do(context.Background(), func() {
			c := h.cluster
			x.t.Logf("%v: live %v, %d calls", h.id, c.live, len(c.calls))
			for _, t := range c.ties {
				r, w := t.pipe.Ends()
				x.t.Logf("  tie %d %s: ends %d %d, entering %v, home %v told %d unmet %v waiting %d round %+v voices %d alone %v %+v", t.reg, t.path, r, w,
					t.entering, t.home, t.told, t.unmet, len(t.waiting), t.round, len(t.voices), t.alone(), t.pipe.Stat())
			}
			for _, f := range c.ins {
				x.t.Logf("  in %d of %s from %v: ended %v contended %v asked %v attached %v", f.stream, f.t.path, f.from, f.ended, f.contended, f.asked, f.writer.Load() != nil)
			}
			for _, o := range c.outs {
				o.mu.Lock()
				x.t.Logf("  out %d of %s to %v: sent %d settled %d limit %d flowing %v ended %v held %v contended %v asked %d recalling %v", o.stream, o.t.path, o.to,
					o.sent, o.settled, o.limit, o.flowing, o.ended, o.held, o.contended, o.asked, o.recalling)
				o.mu.Unlock()
			}
			for name, m := range c.registry.names {
				for k, reg := range m.regs {
					x.t.Logf("  home of %s: %v %d ends %d spent %v", name, k.id, k.reg, reg.ends, reg.spent)
				}
			}
		})
	}
}
