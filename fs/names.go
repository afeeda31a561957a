// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"sort"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// names serves the requests that make, find, list and remove names, through
// go-fuse's protocol code. Those that ask the broker with a context may wait.
type names struct {
	fuse.RawFileSystem
	m *Mount
	b *broker.Broker
}

func newNames(m *Mount) *names {
	return &names{RawFileSystem: fuse.NewDefaultRawFileSystem(), m: m, b: m.cfg.Broker}
}

// String names the file system in go-fuse's messages.
func (s *names) String() string { return "zpipesfs" }

func status(err error) fuse.Status { return fuse.Status(errno(err)) }

// dir returns the directory with a number, or nil.
func (s *names) dir(id uint64) *broker.Node {
	if n := s.m.nodes.get(id); n != nil {
		return n.of
	}
	return nil
}

// entry tells the kernel of a node, with nothing to be remembered: other hosts
// change names too, and a pipe wants a fresh node with every lookup.
func (s *names) entry(of *broker.Node, fifo bool, out *fuse.EntryOut) {
	n := s.m.nodes.lookup(of, fifo)
	*out = fuse.EntryOut{NodeId: n.id}
	s.fill(n, &out.Attr)
	if of.Kind() == broker.Pipe {
		out.Size = inodeSize
	}
}

// Lookup finds a name in a directory.
func (s *names) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	dir := s.dir(h.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if len(name) > broker.MaxPath {
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	of, err := s.b.Lookup(s.m.context(h), dir, name)
	if err != nil {
		return status(err)
	}
	s.entry(of, false, out)
	return fuse.OK
}

// Forget drops the kernel's references to a node.
func (s *names) Forget(id, times uint64) { s.m.nodes.forget(id, times) }

// owner is who owns what a request makes in dir; a set-group-ID directory hands
// its group down (inode(7)).
func (s *names) owner(dir *broker.Node, h *fuse.InHeader, mode uint32) broker.Owner {
	o := broker.Owner{Perm: mode & 0o7777, UID: h.Uid, GID: h.Gid}
	if a := s.b.Attr(dir); a.Perm&syscall.S_ISGID != 0 {
		o.GID = a.GID
		if mode&syscall.S_IFMT == syscall.S_IFDIR {
			o.Perm |= syscall.S_ISGID
		}
	}
	return o
}

// Create sends the kernel to MKNOD and OPEN for good: it holds the directory's
// lock while CREATE waits, so one opener would hang the whole directory.
func (s *names) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.ENOSYS
}

// Mknod makes a pipe: what mkfifo(1), touch(1) and open(2) with O_CREAT end in.
func (s *names) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	fifo := in.Mode&syscall.S_IFMT == syscall.S_IFIFO
	if kind := in.Mode & syscall.S_IFMT; !fifo && kind != syscall.S_IFREG && kind != 0 {
		return fuse.EPERM
	}
	return s.create(in.NodeId, name, out, fifo, func(dir *broker.Node) (*broker.Node, error) {
		return s.b.Mkpipe(s.m.context(&in.InHeader), dir, name, s.owner(dir, &in.InHeader, in.Mode), pipe.Fifo)
	})
}

// Mkdir makes a directory.
func (s *names) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.create(in.NodeId, name, out, false, func(dir *broker.Node) (*broker.Node, error) {
		return s.b.Mkdir(s.m.context(&in.InHeader), dir, name, s.owner(dir, &in.InHeader, in.Mode|syscall.S_IFDIR))
	})
}

func (s *names) create(id uint64, name string, out *fuse.EntryOut, fifo bool, make func(*broker.Node) (*broker.Node, error)) fuse.Status {
	dir := s.dir(id)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	of, err := make(dir)
	if err != nil {
		return status(err)
	}
	s.entry(of, fifo, out)
	return fuse.OK
}

// Unlink removes a pipe's name.
func (s *names) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.in(h.NodeId, func(dir *broker.Node) error { return s.b.Remove(s.m.context(h), dir, name) })
}

// Rmdir removes an empty directory.
func (s *names) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.in(h.NodeId, func(dir *broker.Node) error { return s.b.RemoveDir(s.m.context(h), dir, name) })
}

func (s *names) in(id uint64, f func(dir *broker.Node) error) fuse.Status {
	dir := s.dir(id)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(f(dir))
}

// renameNoReplace is RENAME_NOREPLACE of renameat2(2).
const renameNoReplace = 1

// Rename moves a name.
func (s *names) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, to string) fuse.Status {
	toDir := s.dir(in.Newdir)
	if toDir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if in.Flags&^renameNoReplace != 0 {
		return fuse.EINVAL
	}
	return s.in(in.NodeId, func(dir *broker.Node) error {
		return s.b.Rename(s.m.context(&in.InHeader), dir, name, toDir, to, in.Flags&renameNoReplace != 0)
	})
}

// Link and Symlink are refused: a name is a pipe or a directory.
func (s *names) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Symlink: see Link.
func (s *names) Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// OpenDir takes a snapshot: names that come and go while it is read are in it or
// not, none twice.
func (s *names) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := s.m.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if n.of.Kind() != broker.Dir {
		return fuse.ENOTDIR
	}
	entries, err := s.b.List(s.m.context(&in.InHeader), n.of)
	if err != nil {
		return status(err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	list := make([]fuse.DirEntry, 0, len(entries)+2)
	for _, name := range []string{".", ".."} {
		list = append(list, fuse.DirEntry{Mode: syscall.S_IFDIR, Name: name, Ino: n.of.ID})
	}
	for _, e := range entries {
		list = append(list, fuse.DirEntry{Mode: fileType(e.Node.Kind()), Name: e.Name, Ino: e.Node.ID})
	}
	fh, ok := s.m.files.add(&file{node: n, list: list})
	if !ok {
		return fuse.Status(syscall.ENOTCONN)
	}
	out.Fh = fh
	return fuse.OK
}

// ReadDir lists names from in.Offset on.
func (s *names) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f := s.m.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	for i := in.Offset; i < uint64(len(f.list)); i++ {
		e := f.list[i]
		e.Off = i + 1
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// ReleaseDir drops the snapshot.
func (s *names) ReleaseDir(in *fuse.ReleaseIn) { s.m.files.remove(in.Fh) }

// Fsync, FsyncDir and Fallocate answer what they do for a FIFO.
func (s *names) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.EINVAL }

// FsyncDir has nothing to do.
func (s *names) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// Fallocate: see Fsync.
func (s *names) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status {
	return fuse.Status(syscall.ESPIPE)
}

// StatFs fills df(1): the space is the bytes that the pipes may hold.
func (s *names) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const block, manyNames = 4096, 1 << 20
	u := s.b.Usage()
	out.Bsize, out.Frsize = block, block
	out.Blocks = uint64(max(u.Names-1, 1)) * uint64(s.b.Capacity()) / block
	used := (uint64(u.Buffered) + block - 1) / block
	out.Bfree = out.Blocks - min(used, out.Blocks)
	out.Bavail = out.Bfree
	out.Files, out.Ffree = manyNames, uint64(max(manyNames-u.Names, 0))
	out.NameLen = broker.MaxPath
	return fuse.OK
}
