// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"container/heap"
	"time"
)

// timer is something that is due at a time; what it belongs to embeds it. Its
// zero value is not set.
type timer struct {
	at    time.Time
	fire  func() // runs in the loop, once, with the timer unset
	index int    // its place in the heap, from 1; 0: not set
}

// timers is a heap of those that are set.
type timers []*timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i+1, j+1
}

// Push is for package heap.
func (t *timers) Push(x any) {
	n := x.(*timer)
	*t = append(*t, n)
	n.index = len(*t)
}

// Pop is for package heap.
func (t *timers) Pop() any {
	last := len(*t) - 1
	n := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	n.index = 0
	return n
}

// set makes n due at a time, whether it was set before or not.
func (t *timers) set(n *timer, at time.Time) {
	n.at = at
	if n.index > 0 {
		heap.Fix(t, n.index-1)
	} else {
		heap.Push(t, n)
	}
}

// unset makes n never due.
func (t *timers) unset(n *timer) {
	if n.index > 0 {
		heap.Remove(t, n.index-1)
	}
}

// run fires what is due.
func (t *timers) run(now time.Time) {
	for len(*t) > 0 && !(*t)[0].at.After(now) {
		n := (*t)[0]
		heap.Pop(t)
		n.fire()
	}
}

// wait is how long a poll may last, in whole milliseconds as zmq_poll(3) counts.
func (t timers) wait(now time.Time, most time.Duration) time.Duration {
	if len(t) == 0 {
		return most
	}
	d := t[0].at.Sub(now)
	if d <= 0 {
		return 0
	}
	return min(most, (d + time.Millisecond - 1).Truncate(time.Millisecond))
}
