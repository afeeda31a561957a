// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"math/rand/v2"
	"testing"
	"time"
)

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
	rngs := make([]*rand.Rand, len(h))
	for i, x := range h { // all clocks first: once there are requests none goes back
		rngs[i] = rand.New(rand.NewPCG(seed, uint64(i)))
		x.mu.Lock()
		x.clock = time.Duration(rngs[i].IntN(7200)-3600) * time.Second
		x.mu.Unlock()
	}
	for i, x := range h {
		rng := rngs[i]
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
