// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/fs/device"
)

// lock is a record lock (fcntl(2)) or a whole-file lock (flock(2)). The kernel
// cannot keep them for us: every open has an inode of its own.
type lock struct {
	flock      bool // flock(2)'s; the two kinds do not see each other
	write      bool
	owner      uint64 // process for fcntl, open file for flock, as the kernel numbers them
	pid        uint32
	start, end uint64 // bytes, both included
}

func lockOf(in *fuse.LkIn) lock {
	return lock{
		flock: in.LkFlags&fuse.FUSE_LK_FLOCK != 0, write: in.Lk.Typ == syscall.F_WRLCK,
		owner: in.Owner, pid: in.Lk.Pid, start: in.Lk.Start, end: in.Lk.End,
	}
}

func (l lock) conflicts(o lock) bool {
	return l.flock == o.flock && l.owner != o.owner && (l.write || o.write) && l.start <= o.end && o.start <= l.end
}

// lockTable has the locks of all pipes and the calls that wait for one.
type lockTable struct {
	mu      sync.Mutex // guards below, and file.owners
	held    map[*broker.Node][]lock
	waiting []*lockCall // in the order they came
}

// lockCall is an F_SETLKW or a flock(2) that waits.
type lockCall struct {
	call
	node *broker.Node
	file *file
	want lock
}

func (c *lockCall) withdraw() withdrawal {
	t := &c.m.locks
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, c)
	if i < 0 {
		return running
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	return taken
}

func (c *lockCall) interrupted() { c.m.answer(c.unique, syscall.EINTR) }

// conflict returns a lock that stands against want.
func (t *lockTable) conflict(n *broker.Node, want lock) (lock, bool) {
	for _, l := range t.held[n] {
		if l.conflicts(want) {
			return l, true
		}
	}
	return lock{}, false
}

// set gives l to its owner in place of what he had of that range.
func (t *lockTable) set(n *broker.Node, f *file, l lock) {
	if t.held == nil {
		t.held = make(map[*broker.Node][]lock)
	}
	t.unset(n, l)
	t.held[n] = append(t.held[n], l)
	if !l.flock && !slices.Contains(f.owners, l.owner) {
		f.owners = append(f.owners, l.owner)
	}
}

// unset takes a range from its owner; a lock around it is cut in two.
func (t *lockTable) unset(n *broker.Node, cut lock) {
	var keep []lock
	for _, l := range t.held[n] {
		if l.flock != cut.flock || l.owner != cut.owner || l.end < cut.start || cut.end < l.start {
			keep = append(keep, l)
			continue
		}
		if l.start < cut.start {
			left := l
			left.end = cut.start - 1
			keep = append(keep, left)
		}
		if l.end > cut.end {
			right := l
			right.start = cut.end + 1
			keep = append(keep, right)
		}
	}
	if len(keep) == 0 {
		delete(t.held, n)
		return
	}
	t.held[n] = keep
}

// grant gives waiting calls what has become free and returns them to be answered.
func (t *lockTable) grant() (granted []*lockCall) {
	t.waiting = slices.DeleteFunc(t.waiting, func(c *lockCall) bool {
		if _, taken := t.conflict(c.node, c.want); taken {
			return false
		}
		t.set(c.node, c.file, c.want)
		granted = append(granted, c)
		return true
	})
	return granted
}

// deadlock reports that a process which want would wait for waits, itself or
// through others, for want's: EDEADLK of fcntl(2).
func (t *lockTable) deadlock(n *broker.Node, want lock) bool {
	return !want.flock && t.leads(n, want, want.owner, make(map[uint64]bool))
}

// leads reports that waiting for want is waiting for owner, in the end.
func (t *lockTable) leads(n *broker.Node, want lock, owner uint64, seen map[uint64]bool) bool {
	for _, l := range t.held[n] {
		if !l.conflicts(want) || seen[l.owner] {
			continue
		}
		if l.owner == owner {
			return true
		}
		seen[l.owner] = true
		for _, c := range t.waiting {
			if !c.want.flock && c.want.owner == l.owner && t.leads(c.node, c.want, owner, seen) {
				return true
			}
		}
	}
	return false
}

// doomed takes out and returns the calls that wait in a ring, one of each: a
// lock that has changed hands may have closed it.
func (t *lockTable) doomed() (out []*lockCall) {
	for i := 0; i < len(t.waiting); {
		if c := t.waiting[i]; t.deadlock(c.node, c.want) {
			t.waiting = slices.Delete(t.waiting, i, i+1)
			out = append(out, c)
			continue
		}
		i++
	}
	return out
}

func (m *Mount) grantLocks() {
	m.locks.mu.Lock()
	granted := m.locks.grant()
	var doomed []*lockCall
	if len(granted) > 0 {
		doomed = m.locks.doomed()
	}
	m.locks.mu.Unlock()
	m.endLocks(granted, 0)
	m.endLocks(doomed, syscall.EDEADLK)
}

func (m *Mount) endLocks(calls []*lockCall, errno syscall.Errno) {
	for _, c := range calls {
		m.calls.remove(&c.call)
		m.answer(c.unique, errno)
	}
}

// tryLock takes or gives back a lock. Errors: EAGAIN if another has it.
func (m *Mount) tryLock(f *file, in *fuse.LkIn) syscall.Errno {
	t, n, l := &m.locks, f.node.of, lockOf(in)
	if in.Lk.Typ == syscall.F_UNLCK {
		t.mu.Lock()
		t.unset(n, l)
		t.mu.Unlock()
		m.grantLocks()
		return 0
	}
	t.mu.Lock()
	_, taken := t.conflict(n, l)
	if !taken {
		t.set(n, f, l)
	}
	t.mu.Unlock()
	if taken {
		return syscall.EAGAIN
	}
	m.grantLocks() // a write lock may have become a read lock
	return 0
}

// setlkw serves SETLKW: takes a lock, waiting for it if need be.
func (m *Mount) setlkw(in *device.Inbox) {
	req := (*fuse.LkIn)(in.Head())
	f := m.files.get(req.Fh)
	if f == nil {
		m.answer(req.Unique, syscall.EBADF)
		return
	}
	if errno := m.tryLock(f, req); errno != syscall.EAGAIN {
		m.answer(req.Unique, errno)
		return
	}
	c := &lockCall{call: call{m: m, unique: req.Unique, pid: req.Pid}, node: f.node.of, file: f, want: lockOf(req)}
	c.call.op = c
	t := &m.locks
	m.calls.add(&c.call)
	t.mu.Lock()
	deadlock := t.deadlock(c.node, c.want)
	if !deadlock {
		t.waiting = append(t.waiting, c)
	}
	t.mu.Unlock()
	if deadlock {
		m.calls.remove(&c.call)
		m.answer(req.Unique, syscall.EDEADLK)
		return
	}
	m.grantLocks() // it may have become free in between
}

// unlockFile drops what a file that is being closed held, and returns what then
// falls free to others. The kernel names flock's owner only; of the processes
// that locked records through the file the last has now closed it.
func (m *Mount) unlockFile(f *file, in *fuse.ReleaseIn) {
	const flockUnlock = 1 << 1 // FUSE_RELEASE_FLOCK_UNLOCK
	t := &m.locks
	t.mu.Lock()
	all := lock{end: ^uint64(0)}
	for _, owner := range f.owners {
		all.owner = owner
		t.unset(f.node.of, all)
	}
	locked := len(f.owners) > 0 || in.ReleaseFlags&flockUnlock != 0
	if in.ReleaseFlags&flockUnlock != 0 {
		all.flock, all.owner = true, in.LockOwner
		t.unset(f.node.of, all)
	}
	t.mu.Unlock()
	if locked {
		m.grantLocks()
	}
}

// GetLk tells of a lock that stands against the one asked for.
func (s *names) GetLk(_ <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	f := s.m.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	t := &s.m.locks
	t.mu.Lock()
	defer t.mu.Unlock()
	l, taken := t.conflict(f.node.of, lockOf(in))
	if !taken {
		out.Lk = fuse.FileLock{Typ: syscall.F_UNLCK}
		return fuse.OK
	}
	out.Lk = fuse.FileLock{Start: l.start, End: l.end, Typ: syscall.F_RDLCK, Pid: l.pid}
	if l.write {
		out.Lk.Typ = syscall.F_WRLCK
	}
	return fuse.OK
}

// SetLk takes or gives back a lock and does not wait.
func (s *names) SetLk(_ <-chan struct{}, in *fuse.LkIn) fuse.Status {
	f := s.m.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	return fuse.Status(s.m.tryLock(f, in))
}
