// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

func TestCreateListRemove(t *testing.T) {
	s, c := newPair(t)
	b := broker.New(broker.Config{Capacity: 8192})
	HandleBroker(s, b, Info{Version: "v1", MountPoints: []string{"/mnt/zp"}})
	s.Serve(Options{})
	ctx := t.Context()
	names := []Path{"%41", "a", "b/c", "new\nline", "q\xff", "ä"}
	for _, name := range names {
		if err := c.Create(ctx, CreateRequest{Path: name, Mode: "fanout", Perm: 0o640, Parents: true}); err != nil {
			t.Errorf("create %q: %v", name, err)
		}
	}
	list, err := c.List(ctx, ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []Path
	for _, p := range list {
		got = append(got, p.Path)
		if p.Mode != "fanout" || p.Perm != 0o640 {
			t.Errorf("%q has mode %s and permissions %o", p.Path, p.Mode, p.Perm)
		}
	}
	if !slices.Equal(got, names) {
		t.Errorf("list is %q, want %q", got, names)
	}
	for prefix, want := range map[Path]int{"b": 1, "b/": 1, "b/c": 1, "b/cc": 0, "%": 1, "q\xff": 1, "zz": 0} {
		if list, err := c.List(ctx, ListRequest{Prefix: prefix}); err != nil || len(list) != want {
			t.Errorf("list %q: %d pipes, %v; want %d", prefix, len(list), err, want)
		}
	}
	info, err := c.Info(ctx)
	if err != nil || info.Name != s.name || info.Names != 8 || info.Capacity != 8192 || info.Version != "v1" || info.MountPoints[0] != "/mnt/zp" {
		t.Errorf("info is %+v, %v", info, err)
	}
	for _, name := range names {
		if err := c.Remove(ctx, RemoveRequest{Path: name}); err != nil {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if err := c.Remove(ctx, RemoveRequest{Path: "b", Dir: true}); err != nil {
		t.Errorf("remove directory: %v", err)
	}
	if u := b.Usage(); u.Names != 1 {
		t.Errorf("%d names are left, want the root alone", u.Names)
	}
}

func TestRefusals(t *testing.T) {
	s, c := newPair(t)
	HandleBroker(s, broker.New(broker.Config{}), Info{})
	s.Serve(Options{})
	ctx := t.Context()
	for _, path := range []Path{"d/pipe", "d/sub/pipe"} {
		if err := c.Create(ctx, CreateRequest{Path: path, Parents: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		what string
		err  error
		want error
	}{
		{"taken", c.Create(ctx, CreateRequest{Path: "d/pipe"}), fs.ErrExist},
		{"taken by a directory", c.Create(ctx, CreateRequest{Path: "d"}), fs.ErrExist},
		{"no directory", c.Create(ctx, CreateRequest{Path: "none/pipe"}), fs.ErrNotExist},
		{"below a pipe", c.Create(ctx, CreateRequest{Path: "d/pipe/x"}), broker.ErrNotDir},
		{"below a pipe with parents", c.Create(ctx, CreateRequest{Path: "d/pipe/x/y", Parents: true}), broker.ErrNotDir},
		{"bad name", c.Create(ctx, CreateRequest{Path: "d/../x"}), broker.ErrName},
		{"long name", c.Create(ctx, CreateRequest{Path: Path(make([]byte, broker.MaxPath+1))}), broker.ErrTooLong},
		{"bad mode", c.Create(ctx, CreateRequest{Path: "x", Mode: "queue"}), pipe.ErrMode},
		{"bad permissions", c.Create(ctx, CreateRequest{Path: "x", Perm: 0o10000}), ErrRequest},
		{"remove nothing", c.Remove(ctx, RemoveRequest{Path: "none"}), fs.ErrNotExist},
		{"remove a directory", c.Remove(ctx, RemoveRequest{Path: "d/sub"}), broker.ErrIsDir},
		{"remove a full directory", c.Remove(ctx, RemoveRequest{Path: "d", Dir: true}), broker.ErrNotEmpty},
		{"remove an empty name", c.Remove(ctx, RemoveRequest{}), broker.ErrName},
	} {
		if !errors.Is(x.err, x.want) {
			t.Errorf("%s: got %v, want %v", x.what, x.err, x.want)
		}
	}
}

// far has a pipe on another host, which is silent about all else.
type far struct {
	broker.Names
	b *broker.Broker
}

func (f *far) tell(ctx context.Context, path string) error {
	if path != "far" && path != "far/p" {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	f.b.Apply(broker.Entry{Path: "far/p", Kind: broker.Pipe})
	return nil
}

func (f *far) Find(ctx context.Context, path string) error { return f.tell(ctx, path) }
func (f *far) List(ctx context.Context, dir string) error  { return f.tell(ctx, "far/p") }

func (f *far) Remove(ctx context.Context, path string, _ broker.Kind) error {
	if err := f.tell(ctx, path); err != nil {
		return err
	}
	f.b.Erase(path)
	return nil
}

// TestOtherHosts: other hosts are asked, for as long as the caller waits.
func TestOtherHosts(t *testing.T) {
	names := &far{}
	names.b = broker.New(broker.Config{Names: names})
	h := &brokerHandler{names.b}
	if list, err := h.list(t.Context(), Peer{}, ListRequest{}); err != nil || len(list) != 1 || list[0].Path != "far/p" {
		t.Error(list, err)
	}
	if _, err := h.remove(t.Context(), Peer{}, RemoveRequest{Path: "far/p"}); err != nil {
		t.Error(err)
	}
	given := errors.New("given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(given)
	if _, err := h.remove(ctx, Peer{}, RemoveRequest{Path: "silent"}); !errors.Is(err, given) {
		t.Error(err)
	}
	if _, err := h.create(ctx, Peer{}, CreateRequest{Path: "silent/p", Parents: true}); !errors.Is(err, given) {
		t.Error(err)
	}
}

// The rules are the kernel's for the same calls in the mount.
func TestPermissions(t *testing.T) {
	const (
		owner, member, other = 10, 11, 12
		group                = 20
	)
	peers := map[string]Peer{
		"root":   {},
		"owner":  {UID: owner, GID: 99},
		"member": {UID: member, GID: 99, Groups: []uint32{7, group}},
		"group":  {UID: other, GID: group},
		"other":  {UID: other, GID: 99},
	}
	for _, x := range []struct {
		perm    uint32
		may     []string // make and remove their own pipe, and remove the owner's
		removes []string // nil: as may
		sees    []string
	}{
		{perm: 0o755, may: []string{"root", "owner"}, sees: []string{"root", "owner", "member", "group", "other"}},
		{perm: 0o770, may: []string{"root", "owner", "member", "group"}, sees: []string{"root", "owner", "member", "group"}},
		{perm: 0o077, may: []string{"root", "member", "group", "other"}, sees: []string{"root", "member", "group", "other"}},
		{perm: 0o707, may: []string{"root", "owner", "other"}, sees: []string{"root", "owner", "other"}},
		{perm: 0o766, may: []string{"root", "owner"}, sees: []string{"root", "owner"}},
		{perm: 0o733, may: []string{"root", "owner", "member", "group", "other"}, sees: []string{"root", "owner"}},
		{perm: 0o1777, may: []string{"root", "owner", "member", "group", "other"}, removes: []string{"root", "owner"}, sees: []string{"root", "owner", "member", "group", "other"}},
	} {
		for name, p := range peers {
			h := &brokerHandler{broker.New(broker.Config{Owner: broker.Owner{Perm: x.perm, UID: owner, GID: group}})}
			if _, err := h.broker.Mkpipe(t.Context(), h.broker.Root(), "theirs", broker.Owner{UID: owner}, pipe.Fifo); err != nil {
				t.Fatal(err)
			}
			check := func(what string, err error, allowed []string) {
				if want := slices.Contains(allowed, name); want != (err == nil) || err != nil && !errors.Is(err, fs.ErrPermission) {
					t.Errorf("directory %o: %s %s: %v", x.perm, name, what, err)
				}
			}
			_, err := h.create(t.Context(), p, CreateRequest{Path: "mine", Perm: 0o600})
			check("creates", err, x.may)
			_, err = h.create(t.Context(), p, CreateRequest{Path: "sub/mine", Perm: 0o600, Parents: true})
			check("creates below", err, x.may)
			list, err := h.list(t.Context(), p, ListRequest{})
			if err == nil && len(list) == 0 {
				err = fs.ErrPermission
			}
			check("lists", err, x.sees)
			if slices.Contains(x.may, name) {
				_, err = h.remove(t.Context(), p, RemoveRequest{Path: "mine"})
				check("removes its own", err, x.may)
			}
			if x.removes == nil {
				x.removes = x.may
			}
			_, err = h.remove(t.Context(), p, RemoveRequest{Path: "theirs"})
			check("removes the owner's", err, x.removes)
		}
	}
}

func TestSetGroupIDDirectory(t *testing.T) {
	h := &brokerHandler{broker.New(broker.Config{Owner: broker.Owner{Perm: 0o2777, GID: 20}})}
	if _, err := h.create(t.Context(), Peer{UID: 5, GID: 6}, CreateRequest{Path: "d/p", Perm: 0o600, Parents: true}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]broker.Owner{"d": {Perm: 0o2755, UID: 5, GID: 20}, "d/p": {Perm: 0o600, UID: 5, GID: 20}} {
		n, err := h.broker.Walk(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.broker.Attr(n).Owner; got != want {
			t.Errorf("%s belongs to %+v, want %+v", path, got, want)
		}
	}
}
