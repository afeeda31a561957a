// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

func mustMake(t testing.TB, b *Broker, dir *Node, name string, k Kind) *Node {
	t.Helper()
	n, err := b.make(t.Context(), dir, name, Entry{Kind: k, Owner: Owner{Perm: 0o755}})
	if err != nil {
		t.Fatal(name, err)
	}
	return n
}

func TestCheckName(t *testing.T) {
	for _, c := range []struct {
		name string
		want error
	}{
		{"a", nil}, {"a/b", nil}, {"...", nil}, {" ", nil}, {"\xff", nil},
		{strings.Repeat("x", 255), nil}, {strings.Repeat("x/", 127) + "x", nil},
		{"", ErrName}, {"/a", ErrName}, {"a/", ErrName}, {"a//b", ErrName}, {".", ErrName}, {"..", ErrName},
		{"a/./b", ErrName}, {"a/../b", ErrName}, {"a\x00b", ErrName},
		{strings.Repeat("x", 256), ErrTooLong},
	} {
		if err := CheckName(c.name); err != c.want {
			t.Errorf("%.20q: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestBadNames: nothing enters the tree that a path could not lead to.
func TestBadNames(t *testing.T) {
	b := New(Config{})
	p := mustMake(t, b, b.Root(), "p", Pipe)
	for _, name := range []string{"", ".", "..", "a/b", "a\x00"} {
		if _, err := b.Mkdir(t.Context(), b.Root(), name, Owner{}); err != ErrName {
			t.Errorf("mkdir %q: %v", name, err)
		}
		if err := b.Rename(t.Context(), b.Root(), "p", b.Root(), name, false); err != ErrName {
			t.Errorf("rename to %q: %v", name, err)
		}
	}
	d := mustMake(t, b, b.Root(), "d", Dir)
	if err := b.Rename(t.Context(), b.Root(), "d", p, "x", false); err != ErrNotDir {
		t.Errorf("rename into a pipe: %v", err)
	}
	if _, err := b.Mkdir(t.Context(), p, "x", Owner{}); err != ErrNotDir {
		t.Errorf("mkdir in a pipe: %v", err)
	}
	if err := b.Remove(t.Context(), p, "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := b.RemoveDir(t.Context(), b.Root(), "d"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Mkpipe(t.Context(), d, "x", Owner{}, pipe.Fifo); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("mkpipe in a removed directory: %v", err)
	}
	if err := b.Rename(t.Context(), b.Root(), "p", d, "x", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rename into a removed directory: %v", err)
	}
	if a := b.Attr(d); a.Links != 0 {
		t.Errorf("a removed directory has %d links", a.Links)
	}
	if _, ok := b.Path(d); ok {
		t.Error("a removed directory has a path")
	}
}

func TestPathLength(t *testing.T) {
	b := New(Config{})
	d := mustMake(t, b, b.Root(), strings.Repeat("d", 100), Dir)
	e := mustMake(t, b, d, strings.Repeat("e", 100), Dir)
	mustMake(t, b, e, strings.Repeat("p", 53), Pipe) // 255 in all
	if _, err := b.Mkpipe(t.Context(), e, strings.Repeat("q", 54), Owner{}, pipe.Fifo); err != ErrTooLong {
		t.Errorf("256 octets: %v", err)
	}
	if err := b.Rename(t.Context(), b.Root(), strings.Repeat("d", 100), b.Root(), strings.Repeat("d", 101), false); err != ErrTooLong {
		t.Errorf("a directory whose longest name would have 256 octets: %v", err)
	}
	if err := b.Rename(t.Context(), b.Root(), strings.Repeat("d", 100), b.Root(), strings.Repeat("f", 100), false); err != nil {
		t.Error(err)
	}
	if err := b.Rename(t.Context(), e, strings.Repeat("p", 53), b.Root(), strings.Repeat("z", 255), false); err != nil {
		t.Error(err)
	}
}

func TestWalkAndLookup(t *testing.T) {
	b := New(Config{})
	d := mustMake(t, b, b.Root(), "d", Dir)
	p := mustMake(t, b, d, "p", Pipe)
	for path, want := range map[string]*Node{"": b.Root(), "d": d, "/d/": d, "d/p": p, "//d//p": p} {
		if n, err := b.Walk(t.Context(), path); n != want || err != nil {
			t.Errorf("%q: %v %v", path, n, err)
		}
	}
	if _, err := b.Walk(t.Context(), "d/p/x"); err != ErrNotDir {
		t.Error(err)
	}
	if _, err := b.Walk(t.Context(), "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if n, err := b.Lookup(t.Context(), d, "p"); n != p || err != nil {
		t.Error(n, err)
	}
	if _, err := b.Lookup(t.Context(), p, "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestAttributes(t *testing.T) {
	b := New(Config{Owner: Owner{Perm: 0o700, UID: 5, GID: 6}})
	if a := b.Attr(b.Root()); a.Perm != 0o700 || a.UID != 5 || a.Links != 2 || a.ID == 0 {
		t.Errorf("root: %+v", a)
	}
	p := mustMake(t, b, b.Root(), "p", Pipe)
	perm, uid, when := uint32(0o107640), uint32(7), time.Unix(1, 2)
	before := b.Attr(p)
	a, err := b.SetAttr(t.Context(), p, Change{Perm: &perm, UID: &uid, Mtime: &when})
	if err != nil {
		t.Fatal(err)
	}
	if a.Perm != 0o7640 || a.UID != 7 || a.GID != before.GID || !a.Mtime.Equal(when) || !a.Atime.Equal(before.Atime) || a.Ctime.Before(before.Ctime) {
		t.Errorf("%+v", a)
	}
}

func TestEach(t *testing.T) {
	b := New(Config{})
	d := mustMake(t, b, b.Root(), "b", Dir)
	for _, name := range []string{"c", "a", "b.c"} {
		mustMake(t, b, b.Root(), name, Pipe)
	}
	mustMake(t, b, d, "x", Pipe)
	for behind, want := range map[string]string{"": "a b.c b/x c", "a": "b.c b/x c", "b": "b.c b/x c", "b.c": "b/x c", "b0": "c", "c": ""} {
		var got []string
		_ = b.Each(behind, func(path string, _ Attr) error { got = append(got, path); return nil })
		if s := strings.Join(got, " "); s != want {
			t.Errorf("behind %q: %s, want %s", behind, s, want)
		}
	}
	stop, n := errors.New("stop"), 0
	if err := b.Each("", func(string, Attr) error { n++; return stop }); err != stop || n != 1 {
		t.Error(err, n)
	}
}

func TestCapacityIsWhatPipesHave(t *testing.T) {
	for give, want := range map[int]int{0: pipe.DefaultCapacity, 1: pipe.Buf, 1 << 16: 1 << 16} {
		if got := New(Config{Capacity: give}).Capacity(); got != want {
			t.Errorf("%d: %d, want %d", give, got, want)
		}
	}
}
