// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// HandleBroker makes the server answer for a broker: "info", and "create",
// "remove" and "list" with the permissions that the caller would have in the
// mount. Of info it takes Version, Endpoints, MountPoints and AllowOther.
func HandleBroker(s *Server, b *broker.Broker, info Info) {
	h := &brokerHandler{b}
	info.Name, info.PID, info.UID, info.Started, info.Capacity = s.name, os.Getpid(), os.Geteuid(), time.Now(), b.Capacity()
	Handle(s, "info", func(context.Context, Peer, struct{}) (Info, error) {
		now, u := info, b.Usage()
		now.Uptime, now.Names, now.Buffered = time.Since(info.Started), u.Names, u.Buffered
		return now, nil
	})
	Handle(s, "create", h.create)
	Handle(s, "remove", h.remove)
	Handle(s, "list", h.list)
}

type brokerHandler struct{ broker *broker.Broker }

// Permissions on a directory.
const (
	search = 1
	change = 3 // of what is in it
	look   = 5

	setgid = 0o2000
	sticky = 0o1000
)

func (h *brokerHandler) create(ctx context.Context, p Peer, r CreateRequest) (struct{}, error) {
	var done struct{}
	mode := pipe.Fifo
	if r.Mode != "" {
		var err error
		if mode, err = pipe.ParseMode(r.Mode); err != nil {
			return done, err
		}
	}
	if r.Perm > 0o7777 {
		return done, fmt.Errorf("%w: permissions %#o", ErrRequest, r.Perm)
	}
	dir, name, err := h.parent(ctx, p, string(r.Path), r.Parents)
	if err != nil {
		return done, err
	}
	d := h.broker.Attr(dir).Owner
	if !p.may(d, change) {
		return done, fs.ErrPermission
	}
	_, err = h.broker.Mkpipe(ctx, dir, name, broker.Owner{Perm: r.Perm, UID: p.UID, GID: groupIn(d, p)}, mode)
	return done, err
}

func (h *brokerHandler) remove(ctx context.Context, p Peer, r RemoveRequest) (struct{}, error) {
	var done struct{}
	dir, name, err := h.parent(ctx, p, string(r.Path), false)
	if err != nil {
		return done, err
	}
	n, err := h.broker.Lookup(ctx, dir, name)
	if err != nil {
		return done, err
	}
	d, owner := h.broker.Attr(dir).Owner, h.broker.Attr(n).Owner
	kept := d.Perm&sticky != 0 && p.UID != 0 && p.UID != d.UID && p.UID != owner.UID
	if kept || !p.may(d, change) {
		return done, fs.ErrPermission
	}
	if r.Dir && n.Kind() == broker.Dir {
		return done, h.broker.RemoveDir(ctx, dir, name)
	}
	return done, h.broker.Remove(ctx, dir, name)
}

// parent finds the directory that a path's last component is in, or makes it and
// those above it.
func (h *brokerHandler) parent(ctx context.Context, p Peer, path string, create bool) (*broker.Node, string, error) {
	if err := broker.CheckName(path); err != nil {
		return nil, "", err
	}
	dir := h.broker.Root()
	parts := strings.Split(path, "/")
	for _, part := range parts[:len(parts)-1] {
		owner := h.broker.Attr(dir).Owner
		if !p.may(owner, search) {
			return nil, "", fs.ErrPermission
		}
		next, err := h.broker.Lookup(ctx, dir, part)
		if errors.Is(err, fs.ErrNotExist) && create {
			next, err = h.mkdir(ctx, p, dir, part)
		}
		if err != nil {
			return nil, "", err
		}
		if next.Kind() != broker.Dir {
			return nil, "", broker.ErrNotDir
		}
		dir = next
	}
	if !p.may(h.broker.Attr(dir).Owner, search) {
		return nil, "", fs.ErrPermission
	}
	return dir, parts[len(parts)-1], nil
}

// mkdir is content with a directory that somebody else has made meanwhile.
func (h *brokerHandler) mkdir(ctx context.Context, p Peer, dir *broker.Node, name string) (*broker.Node, error) {
	d := h.broker.Attr(dir).Owner
	if !p.may(d, change) {
		return nil, fs.ErrPermission
	}
	n, err := h.broker.Mkdir(ctx, dir, name, broker.Owner{Perm: 0o755 | d.Perm&setgid, UID: p.UID, GID: groupIn(d, p)})
	if errors.Is(err, fs.ErrExist) {
		return h.broker.Lookup(ctx, dir, name)
	}
	return n, err
}

// groupIn is the group of what a peer makes in a directory: the directory's own
// if it is set-group-ID (inode(7)).
func groupIn(dir broker.Owner, p Peer) uint32 {
	if dir.Perm&setgid != 0 {
		return dir.GID
	}
	return p.GID
}

func (h *brokerHandler) list(ctx context.Context, p Peer, r ListRequest) ([]Pipe, error) {
	l := lister{h.broker, p, string(r.Prefix), []Pipe{}}
	if err := l.walk(ctx, h.broker.Root(), ""); err != nil {
		return nil, err
	}
	slices.SortFunc(l.pipes, func(a, b Pipe) int { return cmp.Compare(a.Path, b.Path) })
	return l.pipes, nil
}

// lister collects the pipes that a peer can see.
type lister struct {
	broker *broker.Broker
	peer   Peer
	prefix string
	pipes  []Pipe
}

// walk passes over a directory that another host removes meanwhile.
func (l *lister) walk(ctx context.Context, dir *broker.Node, path string) error {
	if ctx.Err() != nil || !l.peer.may(l.broker.Attr(dir).Owner, look) {
		return ctx.Err()
	}
	list, err := l.broker.List(ctx, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range list {
		name := path + e.Name
		switch {
		case e.Node.Kind() == broker.Dir:
			if name += "/"; strings.HasPrefix(name, l.prefix) || strings.HasPrefix(l.prefix, name) {
				if err := l.walk(ctx, e.Node, name); err != nil {
					return err
				}
			}
		case strings.HasPrefix(name, l.prefix):
			l.add(name, l.broker.Attr(e.Node))
		}
	}
	return nil
}

func (l *lister) add(path string, a broker.Attr) {
	l.pipes = append(l.pipes, Pipe{
		Path: Path(path), Mode: a.Mode.String(), Perm: a.Perm, UID: a.UID, GID: a.GID,
		Readers: a.Stat.Readers, Writers: a.Stat.Writers,
		Buffered: a.Stat.Buffered, Written: a.Bytes, Changed: a.Mtime,
	})
}
