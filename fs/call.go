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
// there is of it: no goroutine, no buffer, unless it is an askCall.
type call struct {
	m      *Mount
	unique uint64
	pid    uint32 // the thread that asks; 0: in another pid namespace
	next   *call  // in callTable
	held   bool   // an interrupt looks at it: it must not be reused
	op     interface {
		withdraw() withdrawal // takes the operation back if it waits
		interrupted()         // answers a request that was taken back
	}
}

// withdrawal is what came of taking an operation back.
type withdrawal int

const (
	running withdrawal = iota // it does not wait: it is over, or has not begun to
	noted                     // it will not wait, or not for long
	taken                     // nothing completes it any more
)

// takenIf is for operations that wait or are running.
func takenIf(waited bool) withdrawal {
	if waited {
		return taken
	}
	return running
}

// callTable has the calls that may be interrupted, by their unique number.
type callTable struct {
	mu      sync.Mutex // guards the buckets, and the calls' next and held; not held while an operation is withdrawn, which may complete others
	buckets [256]*call
	let     sync.Cond // a call is no longer held
}

func (t *callTable) init() { t.let.L = &t.mu }

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
	for c.held {
		t.let.Wait()
	}
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

// withdraw takes back the waiting call with that number and returns it if it was
// taken. Two that withdraw at once cannot wait for each other: what one
// has completed the other finds not waiting, and then completes nothing itself.
func (t *callTable) withdraw(unique uint64) (*call, withdrawal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := t.buckets[bucket(unique)]; c != nil; c = c.next {
		if c.unique == unique && !c.held {
			return t.takeBack(c)
		}
	}
	return nil, running
}

// takeBack is called with the lock held and gives it up in between.
func (t *callTable) takeBack(c *call) (*call, withdrawal) {
	c.held = true
	t.mu.Unlock()
	w := c.op.withdraw()
	t.mu.Lock()
	c.held = false
	t.let.Broadcast()
	if w != taken {
		return nil, w
	}
	t.unlink(c)
	return c, taken
}

// asking returns the askCall with that number; nil if there is none.
func (t *callTable) asking(unique uint64) *askCall {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := t.buckets[bucket(unique)]; c != nil; c = c.next {
		if c.unique == unique {
			a, _ := c.op.(*askCall)
			return a
		}
	}
	return nil
}

// withdrawAll takes back every call that waits: nobody is left to answer.
func (t *callTable) withdrawAll() (all []*call) {
	t.mu.Lock()
	var waiting []uint64
	for _, c := range t.buckets {
		for ; c != nil; c = c.next {
			waiting = append(waiting, c.unique)
		}
	}
	t.mu.Unlock()
	for _, unique := range waiting {
		if c, _ := t.withdraw(unique); c != nil {
			all = append(all, c)
		}
	}
	return all
}

// interrupt serves FUSE_INTERRUPT. A request that does not wait is answered
// already, then this answer finds nobody, or in the hands of another loop that
// has yet to park it, then EAGAIN makes the kernel send the interrupt again
// (Documentation/filesystems/fuse.rst, "Interrupting filesystem operations").
//
// mkdir(2) and its like are not interrupted by a signal that has a handler on any
// other file system, and programs do not expect it: those calls give up only for
// a thread that is being killed.
func (m *Mount) interrupt(in *device.Inbox) {
	unique := (*fuse.InterruptIn)(in.Head()).Unique
	if c := m.calls.asking(unique); c != nil && !dying(c.pid) {
		m.asks.running.Go(c.watch)
		return
	}
	switch c, w := m.calls.withdraw(unique); w {
	case taken:
		c.op.interrupted()
	case noted: // the answer is on its way
	default:
		_ = m.conn.ReplyError(in.Header().Unique, syscall.EAGAIN)
	}
}
