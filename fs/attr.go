// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// inodeSize is the size that the kernel holds for a pipe, while stat(2) shows 0.
// With 0, sendfile(2) and splice(2) see the end of the file without asking us;
// and a write within the size takes the inode's lock shared, so that processes
// that share a descriptor do not hang behind each other (fs/fuse/file.c,
// fuse_dio_wr_exclusive_lock). No write(2) is as large.
const inodeSize = 1 << 40

// fill makes the attributes that stat(2) shows.
func (s *names) fill(n *node, out *fuse.Attr) {
	a := s.b.Attr(n.of)
	*out = fuse.Attr{Ino: a.ID, Mode: a.Perm | fileType(a.Kind), Nlink: a.Links, Blksize: 4096}
	if n.fifo {
		out.Mode = a.Perm | syscall.S_IFIFO
	}
	out.Uid, out.Gid = a.UID, a.GID
	out.SetTimes(&a.Atime, &a.Mtime, &a.Ctime)
}

func fileType(k broker.Kind) uint32 {
	if k == broker.Dir {
		return syscall.S_IFDIR
	}
	return syscall.S_IFREG
}

// GetAttr serves stat(2).
func (s *names) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := s.m.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if n.of.Kind() == broker.Pipe && !n.fifo {
		// So that size 0 goes to the program and not into the inode.
		if err := s.m.conn.InvalInode(n.id); err != nil {
			s.m.log.Debug("invalidate inode", "node", n.id, "error", err)
		}
	}
	s.fill(n, &out.Attr)
	out.Size = uint64(s.seen(n))
	return fuse.OK
}

// seen is the size that a program is shown, through a descriptor, of a pipe that
// it has read from: what it has read and what it could read now. tail -f takes a
// file that is smaller than what it has read for truncated. Before, it is 0.
func (s *names) seen(n *node) int64 {
	taken := n.taken.Load()
	if taken == 0 {
		return 0
	}
	return taken + int64(s.b.Attr(n.of).Stat.Buffered)
}

// SetAttr serves chmod(2), chown(2), utimensat(2) and truncate(2). To truncate a
// pipe changes nothing: it is the second half of an open with O_TRUNC, and what
// programs do that take the pipe for the regular file it claims to be (sort -o,
// dd seek=).
func (s *names) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := s.m.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if _, err := s.b.SetAttr(s.m.context(&in.InHeader), n.of, change(in)); err != nil {
		return status(err)
	}
	s.fill(n, &out.Attr)
	if n.of.Kind() == broker.Pipe {
		out.Size = inodeSize
	}
	return fuse.OK
}

func change(in *fuse.SetAttrIn) broker.Change {
	var c broker.Change
	now := time.Now()
	if mode, ok := in.GetMode(); ok {
		c.Perm = &mode
	}
	if uid, ok := in.GetUID(); ok {
		c.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		c.GID = &gid
	}
	if in.Valid&fuse.FATTR_ATIME_NOW != 0 {
		c.Atime = &now
	} else if t, ok := in.GetATime(); ok {
		c.Atime = &t
	}
	if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
		c.Mtime = &now
	} else if t, ok := in.GetMTime(); ok {
		c.Mtime = &t
	}
	return c
}

// The extended attributes of a pipe.
const (
	xattrPrefix = "user.zpipes."
	xattrMode   = xattrPrefix + "mode"

	xattrCreate = 1 // XATTR_CREATE of setxattr(2)
)

// xattrs are read-only but for the mode.
func (s *names) xattrs(n *node) map[string]string {
	a := s.b.Attr(n.of)
	return map[string]string{
		xattrMode:                a.Mode.String(),
		xattrPrefix + "readers":  strconv.Itoa(len(a.Stat.Readers)),
		xattrPrefix + "writers":  strconv.Itoa(len(a.Stat.Writers)),
		xattrPrefix + "buffered": strconv.Itoa(a.Stat.Buffered),
		xattrPrefix + "bytes":    strconv.FormatUint(a.Bytes, 10),
	}
}

func (s *names) pipe(id uint64) *node {
	if n := s.m.nodes.get(id); n != nil && n.of.Kind() == broker.Pipe {
		return n
	}
	return nil
}

// GetXAttr reads an attribute; ERANGE tells the size it needs.
func (s *names) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	n := s.pipe(h.NodeId)
	if n == nil || !strings.HasPrefix(name, xattrPrefix) {
		return 0, fuse.ENOATTR
	}
	value, ok := s.xattrs(n)[name]
	if !ok {
		return 0, fuse.ENOATTR
	}
	return deliver(dest, value)
}

func deliver(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) > 0 && len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	copy(dest, value)
	return uint32(len(value)), fuse.OK
}

// ListXAttr names the attributes.
func (s *names) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n := s.pipe(h.NodeId)
	if n == nil {
		return 0, fuse.OK
	}
	var list strings.Builder
	for _, name := range []string{"mode", "readers", "writers", "buffered", "bytes"} {
		list.WriteString(xattrPrefix + name + "\x00")
	}
	return deliver(dest, list.String())
}

// SetXAttr sets a closed pipe's mode.
func (s *names) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	n := s.pipe(in.NodeId)
	switch {
	case !strings.HasPrefix(name, xattrPrefix):
		return fuse.Status(syscall.EOPNOTSUPP)
	case n == nil || name != xattrMode:
		return fuse.EPERM
	case in.Flags&xattrCreate != 0:
		return fuse.Status(syscall.EEXIST)
	}
	mode, err := pipe.ParseMode(strings.TrimRight(string(data), "\x00\n"))
	if err != nil {
		return fuse.EINVAL
	}
	return status(s.b.SetMode(s.m.context(&in.InHeader), n.of, mode))
}

// RemoveXAttr is refused: the attributes are always there.
func (s *names) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if strings.HasPrefix(name, xattrPrefix) && s.pipe(h.NodeId) != nil {
		return fuse.EPERM
	}
	return fuse.ENOATTR
}
