// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// listenAs makes a broker with ZeroMQ links on loopback.
func listenAs(t testing.TB, node string, shape ...func(*Config)) *party {
	t.Helper()
	p := &party{recorder: newRecorder(), id: peer.ID{Node: node, Boot: 1}}
	cfg := Config{ID: p.id, Handler: p.recorder, Bind: "tcp://127.0.0.1:0", Log: logger(t)}
	for _, s := range shape {
		s(&cfg)
	}
	p.id = cfg.ID
	links, err := Listen(cfg)
	must(t, err)
	t.Cleanup(func() { links.Close() })
	p.Links = links
	return p
}

func withCurve(c *Config) { c.Curve = true }

func TestSocketsDeliver(t *testing.T) {
	for _, curve := range []bool{false, true} {
		t.Run(fmt.Sprint("curve ", curve), func(t *testing.T) {
			shape := func(c *Config) { c.Curve = curve }
			a, b := listenAs(t, "a", shape), listenAs(t, "b", shape)
			acquaint(a, b)
			var want []string
			for i := range 1000 {
				head := fmt.Sprint("m", i)
				want = append(want, head)
				a.Send(b.id, note(head, "body"))
			}
			b.until(t, "all messages", func() bool { return len(b.got(a.id)) == len(want) })
			if got := b.got(a.id); !slices.Equal(got, want) {
				t.Errorf("got %q", got)
			}
			a.until(t, "all is acknowledged", func() bool { return a.stat(b.id).Unacked == 0 })
			a.Down(b.id, errors.New("gone"))
			a.until(t, "a knows", func() bool { return len(a.lost(b.id)) == 1 })
			b.until(t, "b knows", func() bool { return len(b.lost(a.id)) == 1 })
		})
	}
}
