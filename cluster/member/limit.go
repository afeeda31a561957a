// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"sync"
	"time"
)

const (
	// limitEvery is how often a line about one matter is logged.
	limitEvery = time.Minute

	// limitMatters bounds the memory that strangers can fill.
	limitMatters = 1024
)

// limiter keeps lines that repeat themselves out of the log.
type limiter struct {
	mu      sync.Mutex
	matters map[string]*matter // guarded by mu
}

type matter struct {
	told     time.Time
	withheld int // lines since told
}

// allow reports whether a line about a matter may be logged now, and how many
// lines about it were not since the one before.
func (l *limiter) allow(about string) (withheld int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	m := l.matters[about]
	if m == nil {
		if len(l.matters) >= limitMatters {
			l.forget(now)
		}
		if len(l.matters) >= limitMatters {
			return 0, false
		}
		if l.matters == nil {
			l.matters = make(map[string]*matter)
		}
		l.matters[about] = &matter{told: now}
		return 0, true
	}
	if now.Sub(m.told) < limitEvery {
		m.withheld++
		return 0, false
	}
	withheld, m.withheld, m.told = m.withheld, 0, now
	return withheld, true
}

// forget drops what may be told again. The caller holds mu.
func (l *limiter) forget(now time.Time) {
	for about, m := range l.matters {
		if now.Sub(m.told) >= limitEvery {
			delete(l.matters, about)
		}
	}
}

// reset forgets one matter: its next line is told at once.
func (l *limiter) reset(about string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.matters, about)
}
