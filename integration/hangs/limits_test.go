// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package hangs

import (
	"slices"
	"syscall"
	"testing"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// The kernel keeps a lock on a regular file's inode while a write to it is under
// way, and a pipe in the mount is a regular file to it. Every open by name has
// an inode of its own, so the lock is felt by those alone who come by a blocked
// writer's own descriptor. No signal reaches who waits for it. The tests below
// pin who that is, and that nobody waits on when the blocked writer has gone.

// TestLockOfADescriptor has commands change the inode of a descriptor in which
// somebody is blocked.
func TestLockOfADescriptor(t *testing.T) {
	m := lab.NewMount(t)
	one := situations[slices.IndexFunc(situations, func(s situation) bool { return s.shared })]
	for _, c := range []command{
		{name: "open-and-truncate", script: `exec bash -c ': >"/proc/$B/fd/1"'`},
		{name: "chmod", script: `exec chmod 600 "/proc/$B/fd/1"`},
		{name: "touch", script: `exec touch -c "/proc/$B/fd/1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFolder(t, m)
			p, _ := one.arrange(f)
			asking := f.start(with(p, c.script))
			if lab.Mounted() && !lab.Until(tolerated, func() bool { return len(asking.Uninterruptible()) == 1 }) {
				t.Errorf("does not wait for the blocked write: %v", asking.Result())
			}
			if lab.Mounted() {
				one.end(f, p)
			}
			if !asking.Wait(mortal) {
				t.Fatalf("still waits:\n%s", asking.Describe())
			}
			if r := asking.Result(); r.Status != "exit 0" {
				t.Errorf("got %v", r)
			}
		})
	}
}

// TestAppendersOfOneDescriptor kills one of two writers that share a descriptor
// opened with >>: the one whose turn it is not dies when the other has gone.
func TestAppendersOfOneDescriptor(t *testing.T) {
	m := lab.NewMount(t)
	s := situations[slices.IndexFunc(situations, func(s situation) bool { return s.lockstep })]
	f := newFolder(t, m)
	p, _ := s.arrange(f)
	victim := p.Members()[0]
	if lab.Mounted() {
		waiting := p.Uninterruptible()
		if len(waiting) != 1 {
			t.Fatalf("want one process in its turn and one that waits, have\n%s", p.Describe())
		}
		victim = waiting[0]
	}
	kill := func(pid int) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("kill %d: %v", pid, err)
		}
	}
	kill(victim)
	dies := lab.Until(mortal/4, func() bool { return !slices.Contains(p.Members(), victim) })
	if dies == lab.Mounted() {
		t.Errorf("killed alone: dies %v, mounted %v", dies, lab.Mounted())
	}
	for _, pid := range p.Members() {
		if pid != victim {
			kill(pid)
		}
	}
	if !lab.Until(mortal, func() bool { return len(p.Members()) == 0 }) {
		t.Errorf("outlive kill -9:\n%s", p.Describe())
	}
}
