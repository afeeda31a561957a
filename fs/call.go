// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/fs/device"
)

// call is a request that may have to wait. While it does, this record is all
// there is of it: no goroutine, no buffer.
type call struct {
	m      *Mount
	unique uint64
	pid    uint32 // the thread that asks; 0: in another pid namespace
	next   *call  // in callTable
	op     interface {
		withdraw() bool // takes the operation back if it waits
		interrupted()   // answers a request that was taken back
	}
}

// callTable has the calls that may be interrupted, by their unique number.
type callTable struct {
	mu      sync.Mutex // guards the buckets and the calls' next
	buckets [256]*call
}

// The kernel counts unique numbers up in steps of two.
func bucket(unique uint64) int { return int(unique>>1) & 255 }

func (t *callTable) add(c *call) {
	t.mu.Lock()
	b := &t.buckets[bucket(c.unique)]
	c.next, *b = *b, c
	t.mu.Unlock()
}

// remove takes c out; it returns once no interrupt looks at c any more.
func (t *callTable) remove(c *call) {
	t.mu.Lock()
	t.unlink(c)
	t.mu.Unlock()
}

func (t *callTable) unlink(c *call) {
	for p := &t.buckets[bucket(c.unique)]; *p != nil; p = &(*p).next {
		if *p == c {
			*p, c.next = c.next, nil
			return
		}
	}
}

// withdraw takes back the waiting call with that number and returns it; nil if
// there is none.
func (t *callTable) withdraw(unique uint64) *call {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := t.buckets[bucket(unique)]; c != nil; c = c.next {
		if c.unique == unique && c.op.withdraw() {
			t.unlink(c)
			return c
		}
	}
	return nil
}

// withdrawAll takes back every call that waits: nobody is left to answer.
func (t *callTable) withdrawAll() (all []*call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.buckets {
		for c := t.buckets[i]; c != nil; {
			next := c.next
			if c.op.withdraw() {
				t.unlink(c)
				all = append(all, c)
			}
			c = next
		}
	}
	return all
}

// interrupt serves FUSE_INTERRUPT. A request that does not wait is answered
// already, then this answer finds nobody, or in the hands of another loop that
// has yet to park it, then EAGAIN makes the kernel send the interrupt again
// (Documentation/filesystems/fuse.rst, "Interrupting filesystem operations").
func (m *Mount) interrupt(in *device.Inbox) {
	if c := m.calls.withdraw((*fuse.InterruptIn)(in.Head()).Unique); c != nil {
		c.op.interrupted()
		return
	}
	_ = m.conn.ReplyError(in.Header().Unique, syscall.EAGAIN)
}
