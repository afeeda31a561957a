// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/fs/device"
)

// file is an open file description: one or both ends of a pipe, or a listing.
type file struct {
	node   *node
	reader *pipe.Reader
	writer *pipe.Writer
	list   []fuse.DirEntry // of a directory

	once   sync.Once
	notify func() // wakes pollers; made at the first poll

	owners []uint64 // who has locked records through it; guarded by lockTable.mu
}

func (f *file) close() {
	switch {
	case f.reader != nil:
		f.reader.Pipe().Close(f.reader, f.writer, nil)
	case f.writer != nil:
		f.writer.Close()
	}
}

// fileTable gives open files their numbers (fh). The kernel uses one only
// between the answer to OPEN and RELEASE.
type fileTable struct {
	mu   sync.RWMutex // guards below
	list []*file
	free []uint64
	gone bool // closeAll has run
}

// add returns false once the mount has gone.
func (t *fileTable) add(f *file) (fh uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return 0, false
	}
	if n := len(t.free); n > 0 {
		fh := t.free[n-1]
		t.free = t.free[:n-1]
		t.list[fh] = f
		return fh, true
	}
	t.list = append(t.list, f)
	return uint64(len(t.list) - 1), true
}

// get returns nil for a number that is not in use.
func (t *fileTable) get(fh uint64) *file {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if fh >= uint64(len(t.list)) {
		return nil
	}
	return t.list[fh]
}

func (t *fileTable) remove(fh uint64) *file {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fh >= uint64(len(t.list)) || t.list[fh] == nil {
		return nil
	}
	f := t.list[fh]
	t.list[fh] = nil
	t.free = append(t.free, fh)
	return f
}

// closeAll closes what is open: the mount has gone and no RELEASE will come.
func (t *fileTable) closeAll() {
	t.mu.Lock()
	list := t.list
	t.list, t.free, t.gone = nil, nil, true
	t.mu.Unlock()
	for _, f := range list {
		if f != nil {
			f.close()
		}
	}
}

func (m *Mount) release(in *device.Inbox) {
	req := (*fuse.ReleaseIn)(in.Head())
	if f := m.files.remove(req.Fh); f != nil {
		f.close()
		m.unlockFile(f, req)
	}
	m.answer(req.Unique, 0)
}
