// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"sync"
	"time"
)

// deadline is a moment that waits end at; it may be moved while they last.
type deadline struct {
	mu    sync.Mutex // guards below
	at    time.Time
	timer *time.Timer
	past  chan struct{} // closed once the deadline has passed
}

func newDeadline() *deadline { return &deadline{past: make(chan struct{})} }

// set moves the deadline; the zero time is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	select {
	case <-d.past:
		d.past = make(chan struct{})
	default:
	}
	d.at = t
	if t.IsZero() {
		return
	}
	past := d.past
	after := time.Until(t)
	if after <= 0 {
		close(past)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer { // it was not moved meanwhile
			close(past)
			d.timer = nil
		}
	})
	d.timer = timer
}

// passed returns a channel that is closed when the deadline passes.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past
}

// time returns the deadline, zero for none.
func (d *deadline) time() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}
