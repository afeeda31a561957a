// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// A round is a writer and a reader that open, move bytes and close, each on any
// host, in any order and with any pauses.
type round struct {
	name           string
	writer, reader *player
	seed, size     int64
	pauses         [6]time.Duration // before each call of the writer, then of the reader
	limit          time.Duration    // for each call
}

func newRound(rnd *rand.Rand, players []*player, name string) round {
	r := round{
		name: name, seed: rnd.Int64(), limit: 30 * time.Second,
		writer: players[rnd.IntN(len(players))], reader: players[rnd.IntN(len(players))],
	}
	switch rnd.IntN(4) {
	case 0: // opened and closed
	case 1:
		r.size = rnd.Int64N(3 << 20)
	default:
		r.size = rnd.Int64N(5000)
	}
	for i := range r.pauses {
		if rnd.IntN(2) == 0 {
			r.pauses[i] = upTo(rnd, 4*time.Millisecond)
		}
	}
	return r
}

func upTo(rnd *rand.Rand, d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }

func (r round) String() string {
	return fmt.Sprintf("%s, %d bytes from %s to %s", r.name, r.size, r.writer.host.Name, r.reader.host.Name)
}

// side is how a round went for one end.
type side struct {
	opened bool
	moved  int64
	sum    string
	errno  string // of the first call that failed
	hung   error
}

// step makes a call after its pause; ok tells whether the side goes on.
func (s *side) step(p *player, pause, limit time.Duration, r actor.Request) (res actor.Result, ok bool) {
	timer := time.NewTimer(pause)
	<-timer.C
	res, s.hung = p.begin(r).await(limit)
	if s.errno == "" {
		s.errno = res.Errno
	}
	return res, res.Errno == ""
}

func (r round) write() (s side) {
	res, ok := s.step(r.writer, r.pauses[0], r.limit, open(r.name, unix.O_WRONLY))
	if !ok {
		return s
	}
	s.opened = true
	fd := res.Ret
	res, _ = s.step(r.writer, r.pauses[1], r.limit, stream(fd, r.size, r.seed))
	s.moved, s.sum = res.Ret, res.Sum
	if s.hung == nil {
		r.close(&s, r.writer, r.pauses[2], fd)
	}
	return s
}

func (r round) read() (s side) {
	res, ok := s.step(r.reader, r.pauses[3], r.limit, open(r.name, unix.O_RDONLY))
	if !ok {
		return s
	}
	s.opened = true
	fd := res.Ret
	res, _ = s.step(r.reader, r.pauses[4], r.limit, drain(fd, everything))
	s.moved, s.sum = res.Ret, res.Sum
	if s.hung == nil {
		r.close(&s, r.reader, r.pauses[5], fd)
	}
	return s
}

func (r round) close(s *side, p *player, pause time.Duration, fd int64) {
	s.step(p, pause, r.limit, closing(fd))
}

// play runs both sides. One whose partner has failed may wait for another to
// open the pipe, as is right for a FIFO: it is then rescued.
func (r round) play() (w, rd side, rescued bool) {
	written, was := make(chan side, 1), make(chan side, 1)
	go func() { written <- r.write() }()
	go func() { was <- r.read() }()
	var done [2]bool
	var grace <-chan time.Time
	for !done[0] || !done[1] {
		select {
		case w = <-written:
			done[0] = true
			if w.errno != "" && grace == nil {
				grace = time.After(failureTimeout() + 2*time.Second)
			}
		case rd = <-was:
			done[1] = true
			if rd.errno != "" && grace == nil {
				grace = time.After(failureTimeout() + 2*time.Second)
			}
		case <-grace:
			rescued = true
			if !done[0] {
				rescue(r.writer, r.name)
			}
			if !done[1] {
				rescue(r.reader, r.name)
			}
			grace = time.After(time.Second) // its broker may have been dead
		}
	}
	return w, rd, rescued
}

// rescue opens and closes both ends, beside one that waits to open.
func rescue(p *player, name string) {
	res, err := p.begin(open(name, unix.O_RDWR|unix.O_NONBLOCK)).await(soon)
	if err == nil && res.Errno == "" {
		_, _ = p.begin(closing(res.Ret)).await(soon) // what matters is seen by who waits
	}
}

// verdict judges a round in which hosts may fail: either all bytes are delivered,
// or one of the ends has got an error; what came is in any case what was written.
func (r round) verdict(w, rd side, rescued bool) error {
	switch {
	case w.hung != nil || rd.hung != nil:
		return errors.Join(w.hung, rd.hung)
	case rd.opened && (rd.moved > r.size || rd.sum != actor.PatternSum(r.seed, 0, rd.moved)):
		return fmt.Errorf("%d bytes came that are not what was written", rd.moved)
	case rd.errno == "" && rd.moved < r.size && w.errno == "":
		return fmt.Errorf("only %d bytes came, and nobody got an error", rd.moved)
	case rd.errno == "" && rd.moved < r.size && w.opened && !rescued:
		return fmt.Errorf("a clean end of file after %d bytes, where the writer got %s", rd.moved, w.errno)
	}
	return nil
}

// perfect judges a round in which no host fails.
func (r round) perfect(w, rd side, rescued bool) error {
	if w.errno+rd.errno != "" {
		return fmt.Errorf("the writer got %q, the reader %q", w.errno, rd.errno)
	}
	return r.verdict(w, rd, rescued)
}

// workers play rounds at the same time, each on pipes of its own.
const workers = 4

// rounds plays until more says no; each round's name is made on one host and
// removed on another.
func rounds(t *testing.T, players []*player, judge func(round, side, side, bool) error, more func(played int64) bool) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var played, failed atomic.Int64
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := 0; more(played.Load()) && !t.Failed(); n++ {
				r := newRound(rnd, players, fmt.Sprintf("w%d-%d", i, n))
				if err := anyHost(rnd, players, mkfifo(r.name), "EEXIST"); err != nil {
					t.Errorf("%v: %v", r, err)
					return
				}
				w, rd, rescued := r.play()
				if err := judge(r, w, rd, rescued); err != nil {
					t.Errorf("%v: %v\nthe writer: %+v\nthe reader: %+v", r, err, w, rd)
					return
				}
				if w.errno+rd.errno != "" {
					failed.Add(1)
				}
				if err := anyHost(rnd, players, unlinking(r.name), "ENOENT"); err != nil {
					t.Errorf("%v: %v", r, err)
					return
				}
				played.Add(1)
			}
		})
	}
	all.Wait()
	t.Logf("%d rounds, %d with an error", played.Load(), failed.Load())
	if failed.Load() > played.Load()/2 {
		t.Errorf("of %d rounds %d ended with an error", played.Load(), failed.Load())
	}
}

// anyHost makes a call on one host after the other until it succeeds, or fails
// as it does when an earlier try has.
func anyHost(rnd *rand.Rand, players []*player, r actor.Request, done string) error {
	var last actor.Result
	var hung error
	tried := 0
	ok := lab.Until(soon, func() bool {
		tried++
		last, hung = players[rnd.IntN(len(players))].begin(r).await(soon)
		return hung != nil || last.Errno == "" || (tried > 1 && last.Errno == done)
	})
	if hung != nil {
		return hung
	}
	if !ok {
		return fmt.Errorf("%s: fails on all hosts: %s", r.Op, last.Errno)
	}
	return nil
}

func TestRounds(t *testing.T) {
	players := newPlayers(t, newCluster(t, 3))
	judge := func(r round, w, rd side, rescued bool) error { return r.perfect(w, rd, rescued) }
	rounds(t, players, judge, func(played int64) bool { return played < 1000 })
}

// The same, while one broker after the other is killed and started again.
func TestRoundsWithKills(t *testing.T) {
	hosts := newFragile(t, 3)
	players := newPlayers(t, hosts)
	const wanted, kills = 200, 5
	var killed atomic.Int64
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 99))
		for {
			select {
			case <-stop:
				return
			case <-time.After(2*time.Second + upTo(rnd, 2*time.Second)):
			}
			h := hosts[rnd.IntN(len(hosts))]
			h.Kill()
			select { // short enough to be back unnoticed, or not
			case <-stop:
			case <-time.After(upTo(rnd, 4*time.Second)):
			}
			h.Again()
			killed.Add(1)
		}
	})
	judge := func(r round, w, rd side, rescued bool) error { return r.verdict(w, rd, rescued) }
	rounds(t, players, judge, func(played int64) bool { return played < wanted || killed.Load() < kills })
	close(stop)
	killer.Wait()
	t.Logf("%d kills", killed.Load())
}

// A name whose ends have all closed is at once a new pipe: nothing of the old
// one is in it, and nothing that is written to the new one is lost.
//
// close(2) does not wait for another host to know of it, so a reader may meet a
// writer that is closing, and the end of file: it then reads on. That the
// writer meets no reader that is closing is waited for.
func TestReopened(t *testing.T) {
	players := newPlayers(t, newCluster(t, 3))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	players[0].must(mkfifo("again"))
	early := 0
	for n := range 300 {
		r := newRound(rnd, players, "again")
		r.size = 1 + rnd.Int64N(5000)
		r.writer.until(open("again", unix.O_WRONLY|unix.O_NONBLOCK), "ENXIO")
		written := make(chan side, 1)
		go func() { written <- r.write() }()
		rfd := r.reader.begin(open("again", unix.O_RDONLY)).result(r.limit).Ret
		var got actor.Result
		if !lab.Until(r.limit, func() bool {
			got = r.reader.must(drain(rfd, everything))
			early++
			return got.Ret > 0
		}) {
			t.Fatalf("round %d: %v: nothing comes", n, r)
		}
		early--
		r.reader.must(closing(rfd))
		if w := <-written; w.errno != "" || w.hung != nil || got.Ret != r.size || got.Sum != w.sum {
			t.Fatalf("round %d: %v: came %d bytes\nthe writer: %+v", n, r, got.Ret, w)
		}
	}
	t.Logf("%d reads met a writer that was closing", early)
}

// until repeats an open until it fails so, and closes what it has opened.
func (p *player) until(r actor.Request, errno string) {
	p.t.Helper()
	if !lab.Until(soon, func() bool {
		res := p.do(r)
		if res.Errno == "" {
			p.must(closing(res.Ret))
		}
		return res.Errno == errno
	}) {
		p.t.Fatalf("%s: %s %s never gives %s", p.host.Name, r.Op, r.Path, errno)
	}
}
