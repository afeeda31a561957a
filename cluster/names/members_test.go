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

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

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
