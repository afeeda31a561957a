// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// pairs calls f with three hosts in all roles: who asks, who is the home, who looks.
func roles(t *testing.T, f func(w *world, asks, home, looks *host, path string)) {
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				t.Run(fmt.Sprint(i, j, k), func(t *testing.T) {
					in(t, Config{}, func(w *world) {
						hosts := w.cluster(3)
						synctest.Wait()
						f(w, hosts[i], hosts[j], hosts[k], hosts[0].pathAt("p", hosts[j]))
					})
				})
			}
		}
	}
}

// TestLife: what one host does the next command on another sees, whoever is home.
func TestLife(t *testing.T) {
	roles(t, func(w *world, asks, home, looks *host, path string) {
		w.must(asks.mkfifo(path))
		w.want(asks.mkfifo(path), fs.ErrExist)
		w.must(looks.look(path))
		w.want(looks.mkdir(path), fs.ErrExist)
		w.must(asks.chmod(path, 0o600))
		if e, _ := looks.tree.get(path); e.Owner != (broker.Owner{Perm: 0o600, UID: 7}) {
			t.Errorf("after chmod another host has %+v", e)
		}
		w.must(looks.SetMode(w.t.Context(), path, pipe.Fanout))
		if e, _ := asks.tree.get(path); e.Mode != pipe.Fanout {
			t.Errorf("after a change of mode another host has %+v", e)
		}
		home.tree.setOpen(path, true)
		w.want(asks.SetMode(w.t.Context(), path, pipe.Fifo), broker.ErrOpen)
		w.want(asks.mv(path, "other"), broker.ErrOpen)
		home.tree.setOpen(path, false)
		w.want(asks.rmdir(path), broker.ErrNotDir)
		w.must(looks.rm(path))
		for _, h := range w.hosts {
			if h.tree.has(path) {
				t.Errorf("%s has a name that was removed", h.id.Node)
			}
			if h.tree.String() != "" {
				t.Errorf("%s still has:\n%s", h.id.Node, h.tree)
			}
		}
		w.want(asks.look(path), errNone)
		w.want(looks.rm(path), errNone)
		w.must(looks.mkfifo(path))
		w.must(asks.look(path))
	})
}

// TestRetired: when a pipe's name goes, the arbiter of every host that has it is told.
func TestRetired(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(3)
		w.must(h[0].mkfifo("p"))
		for _, x := range h {
			w.must(x.look("p"))
		}
		w.must(h[1].mv("p", "q"))
		w.must(h[2].rm("q"))
		for _, x := range h {
			if !slices.Equal(x.tree.retired, []string{"p", "q"}) {
				t.Errorf("%s retired %q", x.id.Node, x.tree.retired)
			}
		}
	})
}

// TestDirectories: emptiness is decided by what any host has made.
func TestDirectories(t *testing.T) {
	roles(t, func(w *world, asks, home, looks *host, dir string) {
		w.must(asks.mkdir(dir))
		w.must(looks.look(dir))
		w.must(looks.mkfifo(dir + "/x"))
		w.want(asks.rmdir(dir), broker.ErrNotEmpty)
		w.want(asks.rm(dir), broker.ErrIsDir)
		w.want(asks.mkfifo(dir+"/x/y"), broker.ErrNotDir)
		if got := asks.ls(dir); !slices.Equal(got, []string{"x"}) {
			t.Errorf("listed %q", got)
		}
		w.must(asks.rm(dir + "/x"))
		w.must(looks.rmdir(dir))
		for _, h := range w.hosts {
			if s := h.tree.String(); s != "" {
				t.Errorf("%s still has:\n%s", h.id.Node, s)
			}
		}
	})
}

// TestListing: every host lists what all have made, at once.
func TestListing(t *testing.T) {
	in(t, Config{}, func(w *world) {
		hosts := w.cluster(5)
		var want []string
		for i := range 40 {
			want = append(want, fmt.Sprintf("n%02d", i))
			w.must(hosts[i%5].mkfifo(want[i]))
			if i%10 == 9 {
				for _, h := range hosts {
					if got := h.ls(""); !slices.Equal(got, want) {
						t.Errorf("%s lists %q, want %q", h.id.Node, got, want)
					}
				}
			}
		}
	})
}

// TestMkdirRace: of two hosts that make one name at the same time one wins.
func TestMkdirRace(t *testing.T) {
	in(t, Config{}, func(w *world) {
		hosts := w.cluster(4)
		for i := range 50 {
			path := fmt.Sprint("d", i)
			errs := make(chan error, len(hosts))
			for _, h := range hosts {
				go func() { errs <- h.mkdir(path) }()
			}
			won := 0
			for range hosts {
				if err := <-errs; err == nil {
					won++
				} else {
					w.want(err, fs.ErrExist)
				}
			}
			if won != 1 {
				t.Errorf("%d hosts have made %q", won, path)
			}
		}
		w.same(hosts...)
	})
}

// TestRename: pipes and directories with all they hold; nodes of the tree move.
func TestRename(t *testing.T) {
	roles(t, func(w *world, asks, home, looks *host, from string) {
		for i, to := range []string{"to", asks.pathAt("to", home), asks.pathAt("to", looks)} {
			w.must(asks.mkdir(from))
			w.must(looks.mkfifo(from + "/x"))
			w.must(home.mkdir(from + "/sub"))
			w.must(asks.mkfifo(from + "/sub/y"))
			w.want(asks.Rename(w.t.Context(), from, from+"/in", false), broker.ErrLoop)
			w.must(asks.mv(from, to))
			for _, h := range w.hosts {
				if got := h.ls(""); !slices.Equal(got, []string{to}) {
					t.Errorf("%s lists %q", h.id.Node, got)
				}
				if got := h.tree.list(to + "/sub"); !slices.Equal(got, []string{"y"}) {
					t.Errorf("%s lists %q in sub", h.id.Node, got)
				}
			}
			if e, _ := looks.tree.get(to + "/x"); e.Owner.UID != 7 {
				t.Errorf("moved: %+v", e)
			}
			w.must(looks.mkdir("empty"))
			w.want(looks.Rename(w.t.Context(), to, "empty", true), fs.ErrExist)
			w.must(looks.mv(to, "empty"))
			w.must(looks.mkfifo("pipe"))
			w.want(asks.mv("pipe", "empty"), broker.ErrIsDir)
			w.want(asks.mv("empty", "pipe"), broker.ErrNotDir)
			w.must(asks.mkdir("full"))
			w.must(asks.mkfifo("full/z"))
			w.want(looks.mv("empty", "full"), broker.ErrNotEmpty)
			w.must(looks.mv("pipe", "full/z"))
			w.must(looks.mv("full/z", from))
			for _, p := range []string{from, "empty/x", "empty/sub/y"} {
				w.must(asks.rm(p))
			}
			for _, p := range []string{"empty/sub", "empty", "full"} {
				w.must(home.rmdir(p))
			}
			if s := w.same(asks, home, looks); s != "" {
				t.Errorf("round %d: left over:\n%s", i, s)
			}
		}
	})
}

// TestRenameOpenBelow: a directory with an open pipe stays, wherever the pipe's home is.
func TestRenameOpenBelow(t *testing.T) {
	in(t, Config{}, func(w *world) {
		hosts := w.cluster(4)
		w.must(hosts[0].mkdir("d"))
		for i, home := range hosts {
			path := hosts[0].pathAt("d/x", home)
			w.must(hosts[i].mkfifo(path))
			home.tree.setOpen(path, true)
			w.want(hosts[1].mv("d", "e"), broker.ErrOpen)
			home.tree.setOpen(path, false)
		}
		w.must(hosts[2].mv("d", "e"))
		if got := len(hosts[3].ls("e")); got != 4 {
			t.Errorf("%d names have moved, not 4", got)
		}
	})
}

// TestTransient: the creator and the home know a client's name, others find and list
// it, and it goes with its last end.
func TestTransient(t *testing.T) {
	roles(t, func(w *world, asks, home, looks *host, _ string) {
		path := asks.pathAt("dir/x", home)
		w.must(asks.open(path))
		home.tree.setOpen(path, true)
		w.want(looks.open(path), fs.ErrExist)
		if got := looks.ls("dir"); len(got) != 1 {
			t.Errorf("listed %q", got)
		}
		for _, h := range []*host{asks, looks} {
			h.tree.drop(path)
			h.Drop(path)
		}
		synctest.Wait()
		w.must(home.Find(w.t.Context(), path))
		home.tree.setOpen(path, false)
		time.Sleep(3 * time.Second)
		for _, h := range w.hosts {
			w.want(h.Find(w.t.Context(), path), errNone)
			if got := h.ls(""); len(got) != 0 {
				t.Errorf("%s lists %q", h.id.Node, got)
			}
		}
	})
}

// TestTransientLeftBehind: a client's name whose host has died goes, too, and one
// that has ends stays when its home dies.
func TestTransientLeftBehind(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(3)
		gone, kept := h[0].pathAt("gone", h[1]), h[0].pathAt("kept", h[2])
		for i := 0; peer.Home(kept, []string{h[0].id.Node, h[1].id.Node}) != h[0].id.Node; i++ {
			kept = h[0].pathAt(fmt.Sprint("kept", i, "-"), h[2]) // whose home will not be its creator
		}
		w.must(h[0].open(gone))
		w.must(h[1].open(kept))
		w.must(h[1].Find(w.t.Context(), gone))
		w.kill(h[2])
		h[1].tree.setOpen(kept, true)
		h[0].tree.setOpen(kept, true)
		w.view(h[0], h[1])
		synctest.Wait()
		w.must(h[0].Find(w.t.Context(), kept))
		time.Sleep(2 * idleTransient)
		w.want(h[1].Find(w.t.Context(), gone), errNone)
		w.must(h[0].Find(w.t.Context(), kept))
		w.must(h[1].Find(w.t.Context(), kept))
	})
}

// TestImplied: a directory that only a client's name holds becomes one that stays
// when somebody makes something of his own in it.
func TestImplied(t *testing.T) {
	in(t, Config{}, func(w *world) {
		h := w.cluster(3)
		w.must(h[0].open("d/client"))
		for _, x := range h {
			x.tree.setOpen("d/client", true)
		}
		w.must(h[1].look("d"))
		w.want(h[2].rmdir("d"), broker.ErrNotEmpty)
		w.must(h[1].mkfifo("d/own"))
		for _, x := range h {
			x.tree.setOpen("d/client", false)
		}
		h[0].tree.drop("d/client")
		h[0].Drop("d/client")
		time.Sleep(time.Minute)
		w.must(h[2].rm("d/own"))
		for _, x := range h {
			if got := x.ls(""); !slices.Equal(got, []string{"d"}) {
				t.Errorf("%s lists %q", x.id.Node, got)
			}
		}
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
