// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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
