// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// seen is what ls -lR shows.
func (h *host) seen() string {
	var b strings.Builder
	var walk func(n *broker.Node, path string)
	walk = func(n *broker.Node, path string) {
		entries, err := h.b.List(h.w.t.Context(), n)
		if err != nil {
			fmt.Fprintln(&b, path, err)
		}
		slices.SortFunc(entries, func(x, y broker.Child) int { return strings.Compare(x.Name, y.Name) })
		for _, e := range entries {
			a := h.b.Attr(e.Node)
			fmt.Fprintf(&b, "%s/%s kind %d mode %d %o %d\n", path, e.Name, a.Kind, a.Mode, a.Perm, a.UID)
			if a.Kind == broker.Dir {
				walk(e.Node, path+"/"+e.Name)
			}
		}
	}
	walk(h.b.Root(), "")
	return b.String()
}

// does something as a program would.
func (h *host) act(rng *rand.Rand) error {
	ctx := h.w.t.Context()
	some := func() (*broker.Node, string) {
		n := h.b.Root()
		for rng.IntN(2) == 0 {
			c, err := h.b.Lookup(ctx, n, string('a'+rune(rng.IntN(3))))
			if err != nil || c.Kind() != broker.Dir {
				break
			}
			n = c
		}
		return n, string('a' + rune(rng.IntN(3)))
	}
	d, name := some()
	switch rng.IntN(10) {
	case 0, 1:
		_, err := h.b.Mkpipe(ctx, d, name, broker.Owner{Perm: 0o600}, pipe.Mode(rng.IntN(3)))
		return err
	case 2, 3, 4:
		_, err := h.b.Mkdir(ctx, d, name, broker.Owner{Perm: 0o700})
		return err
	case 5:
		return h.b.Remove(ctx, d, name)
	case 6:
		return h.b.RemoveDir(ctx, d, name)
	case 7:
		n, err := h.b.Lookup(ctx, d, name)
		if err == nil {
			perm := uint32(rng.IntN(0o777))
			_, err = h.b.SetAttr(ctx, n, broker.Change{Perm: &perm})
		}
		return err
	case 8:
		d2, name2 := some()
		return h.b.Rename(ctx, d, name, d2, name2, false)
	default:
		_, err := h.b.List(ctx, d)
		return err
	}
}

// TestStormOfPrograms: brokers on four hosts, whose programs make, change, move and
// remove the same few names while the network falls apart and comes together. In the
// end all show the same.
func TestStormOfPrograms(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{})
				w.real = true
				defer w.close()
				h := w.cluster(4)
				stop := make(chan struct{})
				results := make(chan int)
				for i, x := range h {
					rng := rand.New(rand.NewPCG(seed, uint64(i)))
					go func() {
						done := 0
						for {
							select {
							case <-stop:
								results <- done
								return
							case <-time.After(time.Duration(rng.IntN(100)) * time.Millisecond):
							}
							if x.act(rng) == nil {
								done++
							}
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
					<-results
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				first := h[0].seen()
				for _, x := range h[1:] {
					if got := x.seen(); got != first {
						t.Errorf("seed %d: %s has:\n%s%s has:\n%s", seed, h[0].id.Node, first, x.id.Node, got)
					}
				}
			})
		})
	}
}
