// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

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
