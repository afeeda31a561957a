// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

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
