// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import "time"

// agenda knows when flush is due for each peer. One goroutine owns it.
type agenda struct {
	dues map[*remote]time.Time
	next time.Time // not later than the first of them
}

// far is when nothing is due.
const far = time.Hour

func newAgenda() agenda { return agenda{dues: make(map[*remote]time.Time)} }

// set notes when r is due; never, if at is zero.
func (a *agenda) set(r *remote, at time.Time) {
	if at.IsZero() {
		delete(a.dues, r)
		return
	}
	a.dues[r] = at
	if at.Before(a.next) {
		a.next = at
	}
}

// due appends those that are due to list. The first due time moves away mostly,
// so looking through all, when it is over, is rare.
func (a *agenda) due(now time.Time, list []*remote) []*remote {
	if now.Before(a.next) {
		return list
	}
	a.next = now.Add(far)
	for r, at := range a.dues {
		if !now.Before(at) {
			list = append(list, r)
		} else if at.Before(a.next) {
			a.next = at
		}
	}
	return list
}
