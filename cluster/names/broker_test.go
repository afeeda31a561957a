// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// at returns the node of a directory that is there.
func (h *host) at(path string) *broker.Node {
	h.w.t.Helper()
	n, err := h.b.Walk(h.w.t.Context(), path)
	if err != nil {
		h.w.t.Fatalf("%s: %q: %v", h.id.Node, path, err)
	}
	return n
}

func (h *host) names(dir string) []string {
	h.w.t.Helper()
	entries, err := h.b.List(h.w.t.Context(), h.at(dir))
	if err != nil {
		h.w.t.Error(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// client opens an end as a ZPIPES client does and returns what closes it.
func (h *host) client(path string, write bool) (func(), error) {
	done := make(chan struct{})
	op := &pipe.OpenOp{Read: !write, Write: write, Patient: true, Done: func(*pipe.OpenOp) { close(done) }}
	h.b.OpenName(path, op)
	<-done
	switch {
	case op.Err != nil:
		return nil, op.Err
	case write:
		return op.Writer.Close, nil
	default:
		return op.Reader.Close, nil
	}
}

// TestBrokers: brokers that share names do what one alone does, whichever is asked.
func TestBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.real = true
		defer w.close()
		h := w.cluster(4)
		ctx := t.Context()
		for i := range 16 {
			a, b, c := h[i%4], h[(i+1)%4], h[(i/4)%4]
			dir, name := fmt.Sprint("d", i), fmt.Sprint("p", i)
			d, err := a.b.Mkdir(ctx, a.b.Root(), dir, broker.Owner{Perm: 0o700})
			w.must(err)
			bd, err := b.b.Lookup(ctx, b.b.Root(), dir)
			w.must(err)
			_, err = b.b.Mkpipe(ctx, bd, name, broker.Owner{Perm: 0o600, UID: 3}, pipe.Fanout)
			w.must(err)
			_, err = a.b.Mkpipe(ctx, d, name, broker.Owner{}, pipe.Fifo)
			w.want(err, fs.ErrExist)
			w.want(a.b.RemoveDir(ctx, a.b.Root(), dir), broker.ErrNotEmpty)
			if got := c.names(dir); !slices.Equal(got, []string{name}) {
				t.Errorf("%d: listed %q", i, got)
			}
			cd := c.at(dir)
			node, err := c.b.Lookup(ctx, cd, name)
			w.must(err)
			if at := c.b.Attr(node); at.Mode != pipe.Fanout || at.UID != 3 {
				t.Errorf("%d: %+v", i, at)
			}
			w.must(a.b.Rename(ctx, a.b.Root(), dir, a.b.Root(), dir+"moved", false))
			if path, ok := c.b.Path(node); !ok || path != dir+"moved/"+name {
				t.Errorf("%d: the node has path %q, %v after a rename elsewhere", i, path, ok)
			}
			perm := uint32(0o644)
			_, err = b.b.SetAttr(ctx, b.at(dir+"moved/"+name), broker.Change{Perm: &perm})
			w.must(err)
			if at := c.b.Attr(node); at.Perm != perm {
				t.Errorf("%d: %o after a chmod elsewhere", i, at.Perm)
			}
			w.must(c.b.Remove(ctx, c.at(dir+"moved"), name))
			w.must(b.b.RemoveDir(ctx, b.b.Root(), dir+"moved"))
			for _, x := range h {
				if got := x.names(""); len(got) > 0 {
					t.Errorf("%d: %s lists %q", i, x.id.Node, got)
				}
			}
		}
	})
}

// TestBrokersClients: clients' names on several hosts are one name, with the
// directories they need, and leave nothing behind.
func TestBrokersClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.real = true
		defer w.close()
		h := w.cluster(4)
		for i := range 32 {
			a, b, c := h[i%4], h[(i+1+i/16)%4], h[(i/4)%4]
			path := fmt.Sprintf("q%d/r/s%d", i%3, i%5)
			closeReader, err := a.client(path, false)
			w.must(err)
			closeWriter, err := b.client(path, true)
			w.must(err)
			synctest.Wait() // what was closed last goes without anybody waiting for it
			if got := c.names(""); len(got) != 1 {
				t.Errorf("%d: listed %q", i, got)
			}
			if _, err := c.b.Lookup(t.Context(), c.at(path[:4]), path[5:]); err != nil {
				t.Errorf("%d: %v", i, err)
			}
			if i%2 == 0 {
				closeReader()
				closeWriter()
			} else {
				closeWriter()
				closeReader()
			}
			if i%3 == 0 {
				continue // the next open comes while names are on their way out
			}
			time.Sleep(5 * time.Second)
			for _, x := range h {
				x.names("")
				if _, err := x.b.Lookup(t.Context(), x.b.Root(), path[:2]); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%d: %s still has a client's directory: %v, %q", i, x.id.Node, err, x.names(""))
				}
			}
		}
		time.Sleep(5 * time.Minute)
		for _, x := range h {
			if u := x.b.Usage(); u.Names != 1 {
				t.Errorf("%s has %d names", x.id.Node, u.Names-1)
			}
			x.Service.mu.Lock()
			if n := x.Service.names.count; n > 0 {
				t.Errorf("%s knows %d names", x.id.Node, n)
			}
			x.Service.mu.Unlock()
		}
	})
}
