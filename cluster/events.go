// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"sync"
)

// events is what other goroutines tell the core: functions that it runs one after
// the other, in the order they came.
type events struct {
	mu     sync.Mutex // guards below
	list   []func()
	closed bool
	rouse  chan struct{} // holds one: something has come
}

func newEvents() *events { return &events{rouse: make(chan struct{}, 1)} }

// post never waits. What comes after close is dropped: false.
func (e *events) post(f func()) bool {
	e.mu.Lock()
	wake := len(e.list) == 0
	open := !e.closed
	if open {
		e.list = append(e.list, f)
	}
	e.mu.Unlock()
	if wake {
		select {
		case e.rouse <- struct{}{}:
		default:
		}
	}
	return open
}

// take waits for events; nil: there are none and the context has ended. The slice of an earlier take
// is used again.
func (e *events) take(ctx context.Context, spare []func()) []func() {
	clear(spare)
	for {
		e.mu.Lock()
		list := e.list
		if len(list) > 0 {
			e.list = spare[:0]
			e.mu.Unlock()
			return list
		}
		e.mu.Unlock()
		select {
		case <-e.rouse:
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
}
