// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"container/heap"
	"time"
)

// forever is how long the loop sleeps when no client is there.
const forever = time.Minute

// timers is a heap of clients by when they are next to be looked at, which may
// be earlier than anything is due: moving on a deadline costs nothing then.
type timers []*client

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i, j
}

// Push is for package heap.
func (t *timers) Push(x any) {
	c := x.(*client)
	c.timer = len(*t)
	*t = append(*t, c)
}

// Pop is for package heap.
func (t *timers) Pop() any {
	last := len(*t) - 1
	c := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	c.timer = -1
	return c
}

// wait is how long a poll may last, in whole milliseconds as zmq_poll(3) counts.
func (t timers) wait(now time.Time) time.Duration {
	if len(t) == 0 {
		return forever
	}
	d := t[0].due.Sub(now)
	if d <= 0 {
		return 0
	}
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// schedule makes sure that c is looked at no later than at due.
func (l *loop) schedule(c *client, due time.Time) {
	switch {
	case c.timer < 0:
		c.due = due
		heap.Push(&l.timers, c)
	case due.Before(c.due):
		c.due = due
		heap.Fix(&l.timers, c.timer)
	}
}

// expire looks at the clients that are due.
func (l *loop) expire() {
	for len(l.timers) > 0 && !l.timers[0].due.After(l.now) {
		c := l.timers[0]
		heap.Pop(&l.timers)
		if next, ok := l.look(c); ok {
			l.schedule(c, next)
		}
	}
}

// look ends what has lasted too long, and returns when to look again unless the
// client is dropped.
func (l *loop) look(c *client) (time.Time, bool) {
	timeout := l.cfg.ClientTimeout
	silent := c.heard.Add(timeout)
	switch {
	case c.unsent != nil:
		if blocked := c.stuckAt.Add(timeout); blocked.After(l.now) {
			return blocked, true
		}
		l.stats.stuck.Add(1)
		l.log.Warn("dropped a ZPIPES client: it does not read its answers", c.attributes()...)
		l.drop(c)
		return time.Time{}, false
	case c.busy:
		if c.deadline.IsZero() {
			return l.now.Add(timeout), true
		}
		if c.deadline.After(l.now) {
			return c.deadline, true
		}
		c.timedOut()
		return l.now.Add(timeout), true
	case silent.After(l.now):
		return silent, true
	}
	l.stats.expired.Add(1)
	l.log.Info("dropped a ZPIPES client: it is silent", c.attributes()...)
	l.drop(c)
	return time.Time{}, false
}
