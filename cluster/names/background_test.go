// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"testing"
	"time"
)

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
