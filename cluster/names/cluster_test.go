// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// TestCost: a create, and a look-up of what is not here, cost the same messages with
// 200 brokers as with 10.
func TestCost(t *testing.T) {
	for _, n := range []int{10, 200} {
		in(t, Config{SyncInterval: time.Hour}, func(w *world) {
			h := w.cluster(n)
			time.Sleep(90 * time.Minute) // all have met
			synctest.Wait()
			far, own := h[0].pathAt("far", h[1]), h[0].pathAt("own", h[0])
			stranger := h[2] // who is not told of it at once
			if without := slices.DeleteFunc(nodesOf(h), func(node string) bool { return node == h[1].id.Node }); peer.Home(far, without) == h[2].id.Node {
				stranger = h[4]
			}
			for _, c := range []struct {
				what string
				want int
				do   func()
			}{
				{"create, home elsewhere", 3, func() { w.must(h[0].mkfifo(far)) }},
				{"create, home here", 1, func() { w.must(h[0].mkfifo(own)) }},
				{"find, home elsewhere", 2, func() { w.must(stranger.look(far)) }},
				{"transient, home elsewhere", 2, func() { w.must(h[0].open(h[0].pathAt("t", h[3]))) }},
				{"list", 2 * (n - 1), func() { h[5].ls("") }},
				{"chmod, home elsewhere", 2 + 2*(n-2), func() { w.must(h[0].chmod(far, 0o600)) }},
				{"remove, home here", 2 * (n - 1), func() { w.must(h[0].rm(own)) }},
			} {
				if got := w.counted(c.do); got != c.want {
					t.Errorf("%d brokers: %s: %d messages, want %d", n, c.what, got, c.want)
				}
			}
		})
	}
}

func nodesOf(hosts []*host) (nodes []string) {
	for _, h := range hosts {
		nodes = append(nodes, h.id.Node)
	}
	return nodes
}

// TestQuietBackground: when nothing changes a broker says a few octets a second.
func TestQuietBackground(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(20)
		for i := range 100 {
			w.must(h[i%20].mkfifo(fmt.Sprint("n", i)))
		}
		w.same(h...)
		time.Sleep(time.Minute)
		octets := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.bytes
		}
		before, seconds := octets(), 100
		if got := w.counted(func() { time.Sleep(time.Duration(seconds) * time.Second) }); got > 2*20*(seconds+1) {
			t.Errorf("%d messages in %d s of 20 brokers", got, seconds)
		}
		if per := (octets() - before) / 20 / seconds; per > 100 {
			t.Errorf("%d octets a second and broker", per)
		}
	})
}

// TestPartition: both sides go on; healed, they agree: the later change of each
// name holds, what one side has made is there, and nothing that both had removed.
func TestPartition(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(5)
		for _, p := range []string{"both", "gone", "dir", "kept"} {
			w.must(h[0].mkdir(p))
		}
		w.same(h...)
		left, right := h[:2], h[2:]
		w.split(left, right)
		synctest.Wait()
		w.must(left[0].mkfifo("only-left"))
		w.must(right[0].mkfifo("only-right"))
		w.must(left[1].chmod("both", 0o700))
		time.Sleep(time.Second)
		w.must(right[1].chmod("both", 0o711))
		w.must(left[0].rmdir("gone"))
		w.must(left[0].rmdir("dir")) // and meanwhile somebody puts something there
		w.must(right[2].mkfifo("dir/x"))
		w.must(left[1].rmdir("kept"))
		time.Sleep(time.Second)
		w.must(right[2].chmod("kept", 0o711)) // later than its removal
		w.must(left[1].mkfifo("clash"))
		w.must(right[1].mkdir("clash"))
		w.must(right[1].mkfifo("clash/below"))
		time.Sleep(10 * time.Minute)
		w.must(left[1].chmod("clash", 0o640)) // so it is a pipe, and nothing is below it
		w.heal(h...)
		w.same(h...)
		time.Sleep(time.Minute)
		got := w.same(h...)
		want := []string{"both", "clash", "dir", "kept", "only-left", "only-right"}
		for _, x := range h {
			if l := x.ls(""); !slices.Equal(l, want) {
				t.Errorf("%s lists %q, want %q", x.id.Node, l, want)
			}
		}
		if e, _ := h[0].tree.get("both"); e.Owner.Perm != 0o711 {
			t.Errorf("the later chmod did not win:\n%s", got)
		}
		if l := h[0].ls("dir"); !slices.Equal(l, []string{"x"}) {
			t.Errorf("dir has %q", l)
		}
		// What was below the pipe does not come back when that is removed.
		w.must(h[3].rm("clash"))
		if l := h[4].ls(""); slices.Contains(l, "clash") {
			t.Errorf("after its removal there is still %q", l)
		}
	})
}

// TestHomeKilled: the home dies between create and use, and others still find the
// name, at once and after a while; nobody makes it twice.
func TestHomeKilled(t *testing.T) {
	for round := range 20 {
		in(t, Config{}, func(w *world) {
			h := w.cluster(5)
			path := h[0].pathAt(fmt.Sprint("p", round), h[1])
			w.must(h[0].mkfifo(path))
			w.kill(h[1])
			alive := []*host{h[0], h[2], h[3], h[4]}
			results := make(chan error, 3)
			for _, x := range alive[1:] {
				go func() { results <- x.mkdir(path) }() // before anybody sees that the home has gone
			}
			time.Sleep(3 * time.Second)
			w.view(alive...)
			for range 3 {
				w.want(<-results, fs.ErrExist)
			}
			for _, x := range alive {
				w.must(x.Find(w.t.Context(), path))
				if e, _ := x.tree.get(path); e.Kind != broker.Pipe {
					t.Errorf("%s has %+v", x.id.Node, e)
				}
			}
			w.same(alive...)
		})
	}
}

// TestNewHomeAsks: a new home knows what only the creator and the old home knew, also
// while the creator has not yet seen that the home has changed.
func TestNewHomeAsks(t *testing.T) {
	in(t, Config{SyncInterval: time.Hour}, func(w *world) {
		h := w.cluster(4)
		for _, x := range h {
			x.ls("")
		}
		path := h[0].pathAt("p", h[1])
		for i := 0; peer.Home(path, []string{h[0].id.Node, h[2].id.Node, h[3].id.Node}) != h[2].id.Node; i++ {
			path = h[0].pathAt(fmt.Sprint("p", i, "-"), h[1])
		}
		w.must(h[0].mkfifo(path))
		w.kill(h[1])
		for _, x := range h[2:] {
			x.see([]peer.ID{h[0].id, h[2].id, h[3].id})
		}
		synctest.Wait()
		w.want(h[3].mkdir(path), fs.ErrExist)
		w.must(h[3].Find(w.t.Context(), path))
	})
}

// TestAnswerLost: a request whose answer is lost with the home is sent again, and is
// still one request: a create is not refused because of itself.
func TestAnswerLost(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(4)
		path := h[0].pathAt("p", h[1])
		for _, step := range []struct {
			what string
			do   func() error
		}{
			{"make", func() error { return h[0].mkfifo(path) }},
			{"rename", func() error { return h[0].mv(path, path+"b") }},
			{"rename back", func() error { return h[0].mv(path+"b", path) }},
			{"remove", func() error { return h[0].rm(path) }},
		} {
			// The answer does not arrive; the next attempt's does.
			w.mu.Lock()
			for _, x := range h[1:] {
				w.cut[[2]string{x.id.Node, h[0].id.Node}] = true
			}
			w.mu.Unlock()
			result := make(chan error, 1)
			go func() { result <- step.do() }()
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			for _, x := range h[1:] {
				w.mu.Lock()
				w.cut[[2]string{x.id.Node, h[0].id.Node}] = false
				w.mu.Unlock()
				h[0].post(func() { h[0].Lost(x.id) })
				x.post(func() { x.Lost(h[0].id) })
			}
			if err := <-result; err != nil {
				t.Errorf("%s: %v", step.what, err)
			}
		}
		if s := w.same(h...); s != "" {
			t.Errorf("left over:\n%s", s)
		}
	})
}

// TestSentTwice: the second copy of a request, which comes late, does not undo what
// others have done since.
func TestSentTwice(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(3)
		path := h[0].pathAt("p", h[1])
		w.mu.Lock()
		w.twice = true
		w.mu.Unlock()
		w.must(h[0].mkfifo(path))
		w.must(h[0].chmod(path, 0o600))
		w.mu.Lock()
		w.twice = false
		late := w.late
		w.mu.Unlock()
		w.must(h[2].chmod(path, 0o640))
		for _, f := range late {
			h[1].post(f)
		}
		synctest.Wait()
		w.must(h[0].look(path))
		if e, _ := h[0].tree.get(path); e.Owner.Perm != 0o640 {
			t.Errorf("an old request came back: %o", e.Owner.Perm)
		}
		w.must(h[2].rm(path))
		for _, f := range late {
			h[1].post(f)
		}
		synctest.Wait()
		w.want(h[2].Find(w.t.Context(), path), errNone)
	})
}

// TestViewsDiffer: while brokers disagree about who is alive requests still end.
func TestViewsDiffer(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(4)
		h[1].see([]peer.ID{h[1].id, h[2].id}) // does not see 0 and 3
		h[3].see([]peer.ID{h[3].id, h[0].id})
		synctest.Wait()
		for i := range 20 {
			path := fmt.Sprint("n", i)
			w.must(h[i%4].mkfifo(path))
			w.must(h[i%4].chmod(path, 0o600))
		}
		w.view(h...)
		synctest.Wait()
		if got := len(h[1].ls("")); got != 20 {
			t.Errorf("%d names, not 20", got)
		}
		w.same(h...)
	})
}

// TestSilentPeer: a host that takes nothing in holds a removal up for AckTimeout, and
// a listing; a create not at all unless it is the home, and then for Limit.
func TestSilentPeer(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(3)
		w.must(h[0].mkfifo("p"))
		w.same(h...)
		h[2].mu.Lock()
		h[2].silent = true
		h[2].mu.Unlock()
		path := h[0].pathAt("n", h[1])
		for _, c := range []struct {
			what string
			want time.Duration
			do   func()
		}{
			{"create", 0, func() { w.must(h[0].mkfifo(path)) }},
			{"remove", 2 * time.Second, func() { w.must(h[0].rm(path)) }},
			{"list", 2 * time.Second, func() { h[0].ls("") }},
		} {
			start := time.Now()
			c.do()
			if took := time.Since(start); took != c.want {
				t.Errorf("%s took %v, want %v", c.what, took, c.want)
			}
		}
		h[2].mu.Lock()
		h[2].silent = false
		h[2].mu.Unlock()
		if h[2].tree.has(path) {
			t.Error("a host knows what it was not told")
		}
		h[2].mu.Lock()
		h[2].silent = true
		h[2].mu.Unlock()
		start := time.Now()
		w.want(h[0].mkfifo(h[0].pathAt("theirs", h[2])), ErrSilent)
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("a silent home was waited for %v", took)
		}
		h[2].mu.Lock()
		h[2].silent = false
		h[2].mu.Unlock()
		w.same(h...)
	})
}

// TestSkew: a host whose clock is hours ahead, or behind, neither keeps others from
// changing what it has made nor loses what it changes.
func TestSkew(t *testing.T) {
	for _, skew := range []time.Duration{5 * time.Hour, -5 * time.Hour} {
		in(t, Config{}, func(w *world) {
			h := w.cluster(3)
			h[1].mu.Lock()
			h[1].clock = skew
			h[1].mu.Unlock()
			for i := range 10 {
				path := fmt.Sprint("p", i)
				w.must(h[1].mkfifo(path))
				w.must(h[0].chmod(path, 0o600))
				w.must(h[1].chmod(path, 0o640))
				w.must(h[2].look(path))
				if e, _ := h[2].tree.get(path); e.Owner.Perm != 0o640 {
					t.Errorf("skew %v: %+v", skew, e)
				}
				w.must(h[2].rm(path))
				for _, x := range h {
					w.want(x.look(path), errNone)
				}
				w.must(h[0].mkfifo(path))
				w.must(h[1].look(path))
			}
			w.same(h...)
		})
	}
}

// TestStorm: hosts make, change, move and remove the same few names at once, while
// the network falls apart and comes together. In the end all have the same.
func TestStorm(t *testing.T) {
	for seed := range uint64(12) {
		in(t, Config{}, func(w *world) { storm(w, seed) })
	}
}

func storm(w *world, seed uint64) {
	h := w.cluster(4)
	stop := make(chan struct{})
	results := make(chan int)
	for i, x := range h {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		x.mu.Lock()
		x.clock = time.Duration(rng.IntN(7200)-3600) * time.Second
		x.mu.Unlock()
		go func() {
			done := 0
			for {
				select {
				case <-stop:
					results <- done
					return
				default:
				}
				if x.any(rng) == nil {
					done++
				}
				time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
			}
		}()
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	for range 8 {
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		cut := 1 + rng.IntN(3)
		w.split(h[:cut], h[cut:])
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		w.heal(h...)
	}
	close(stop)
	for range h {
		if done := <-results; done == 0 {
			w.t.Error("a host could do nothing")
		}
	}
	w.same(h...)
	time.Sleep(5 * time.Minute)
	shown := w.same(h...)
	for _, x := range h {
		x.ls("")
		if x.tree.String() != shown {
			w.t.Errorf("a listing changes what %s has", x.id.Node)
		}
		x.Service.mu.Lock()
		if len(x.calls)+len(x.tells)+len(x.served)+len(x.busy)+len(x.claims) > 0 {
			w.t.Errorf("%s keeps %d calls, %d announcements, %d requests, %d turns, %d claims", x.id.Node, len(x.calls), len(x.tells), len(x.served), len(x.busy), len(x.claims))
		}
		x.Service.mu.Unlock()
	}
}

// any does something to some name.
func (h *host) any(rng *rand.Rand) error {
	some := func() string {
		path := string('a' + rune(rng.IntN(3)))
		for rng.IntN(2) == 0 && len(path) < 6 {
			path += "/" + string('a'+rune(rng.IntN(3)))
		}
		return path
	}
	path := some()
	switch rng.IntN(10) {
	case 0, 1:
		return h.mkfifo(path)
	case 2, 3, 4:
		return h.mkdir(path)
	case 5:
		return h.rm(path)
	case 6:
		return h.rmdir(path)
	case 7:
		return h.chmod(path, uint32(rng.IntN(0o777)))
	case 8:
		return h.mv(path, some())
	default:
		return h.List(h.w.t.Context(), path)
	}
}

// TestSpread: without a listing, too, every host knows every name soon.
func TestSpread(t *testing.T) {
	for _, n := range []int{10, 50} {
		in(t, Config{}, func(w *world) {
			h := w.cluster(n)
			time.Sleep(10 * time.Second)
			for i := range 100 {
				w.must(h[i%n].mkfifo(fmt.Sprint("n", i)))
			}
			start := time.Now()
			w.same(h...)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%d hosts have the same after %v", n, took)
			}
		})
	}
}

// TestSkewIsReported: once, with how much.
func TestSkewIsReported(t *testing.T) {
	var lines bytes.Buffer
	now := time.Unix(1000, 0)
	c := clock{node: "here", wall: func() time.Time { return now }, maxSkew: time.Hour, warned: map[string]time.Time{}}
	c.log = slog.New(slog.NewTextHandler(&lines, nil))
	for range 5 {
		now = now.Add(time.Second)
		c.see(peer.Stamp{Time: now.Add(2 * time.Hour).UnixNano(), Node: "there"})
		c.see(peer.Stamp{Time: now.Add(time.Minute).UnixNano(), Node: "fine"})
	}
	if n := strings.Count(lines.String(), "ahead=2h0m0s"); n != 1 || strings.Contains(lines.String(), "fine") {
		t.Errorf("log: %s", &lines)
	}
	if s := c.now(); s.Time <= now.Add(2*time.Hour).UnixNano() {
		t.Error("behind what it has seen")
	}
}

// TestTombstones: they are forgotten after their age, on all hosts, and what is as old
// does not come back from one that still has them.
func TestTombstones(t *testing.T) {
	in(t, Config{TombstoneAge: time.Hour}, func(w *world) {
		h := w.cluster(3)
		for i := range 50 {
			path := fmt.Sprint("d", i)
			w.must(h[i%3].mkdir(path))
			w.must(h[(i+1)%3].rmdir(path))
		}
		time.Sleep(50 * time.Minute)
		count := func(x *host) int {
			x.Service.mu.Lock()
			defer x.Service.mu.Unlock()
			return x.Service.names.count
		}
		if n := count(h[0]); n != 50 {
			t.Errorf("%d tombstones remembered, not 50", n)
		}
		time.Sleep(20 * time.Minute)
		for _, x := range h {
			if n := count(x); n != 0 {
				t.Errorf("%s remembers %d names", x.id.Node, n)
			}
		}
	})
}

// TestJoin: a host that comes later learns all, and what it brings is learned.
func TestJoin(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(3)
		for i := range 3000 {
			w.must(h[i%3].mkfifo(fmt.Sprint("old", i)))
		}
		late := w.boot("late", 7, Config{})
		synctest.Wait()
		w.must(late.mkfifo("mine"))
		w.view(append(h, late)...)
		synctest.Wait()
		for _, x := range h {
			w.must(x.look("mine"))
		}
		w.want(late.mkdir("old17"), fs.ErrExist)
		if got := len(late.ls("")); got != 3001 {
			t.Errorf("%d names listed, want 3001", got)
		}
		w.same(append(h, late)...)
	})
}

// TestClose: calls under way end when the service closes.
func TestClose(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(2)
		path := h[0].pathAt("p", h[1])
		h[1].mu.Lock()
		h[1].silent = true
		h[1].mu.Unlock()
		result := make(chan error, 1)
		go func() { result <- h[0].mkfifo(path) }()
		synctest.Wait()
		w.kill(h[0])
		w.want(<-result, ErrClosed)
		w.want(h[0].mkfifo("q"), ErrClosed)
	})
}
