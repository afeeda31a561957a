// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"context"
	"sync"
)

// Kind says what an Event tells of its tuple.
type Kind uint8

const (
	Deliver Kind = iota // it is new, or has another value than before
	Expire              // its ttl has passed: it is forgotten
)

// String returns the kind as a command line shows it.
func (k Kind) String() string {
	if k == Expire {
		return "EXPIRE"
	}
	return "DELIVER"
}

// Event tells of a tuple, published here or learned.
type Event struct {
	Kind       Kind
	Key, Value string
}

// freeEvents is how many events are kept before older ones of a key give way to
// newer.
const freeEvents = 4096

// stream is a queue of events that whoever reads it may be slow to take: then it
// keeps the newest of each key, so it is no larger than the tuples that were.
type stream struct {
	ready chan struct{} // holds one: there is something
	ended chan struct{}

	mu     sync.Mutex // guards below
	queue  []Event
	pruned int // how long the queue was after it was last pruned
}

func newStream() *stream {
	return &stream{ready: make(chan struct{}, 1), ended: make(chan struct{})}
}

func (s *stream) put(e Event) {
	s.mu.Lock()
	s.queue = append(s.queue, e)
	if len(s.queue) > max(freeEvents, 2*s.pruned) {
		s.prune()
	}
	s.mu.Unlock()
	s.signal()
}

// prune leaves the last event of each key. It runs with the lock held.
func (s *stream) prune() {
	newest := make(map[string]int, len(s.queue))
	for i, e := range s.queue {
		newest[e.Key] = i
	}
	kept := make([]Event, 0, len(newest))
	for i, e := range s.queue {
		if newest[e.Key] == i {
			kept = append(kept, e)
		}
	}
	s.queue, s.pruned = kept, len(kept)
}

func (s *stream) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take returns the oldest event.
func (s *stream) take() (Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.queue, s.pruned = nil, 0
		return Event{}, false
	}
	e := s.queue[0]
	s.queue[0] = Event{}
	s.queue = s.queue[1:]
	if len(s.queue) > 0 {
		s.signal()
	}
	return e, true
}

// next waits for an event. What was put in before the end is still returned.
func (s *stream) next(ctx context.Context) (Event, error) {
	for {
		if e, ok := s.take(); ok {
			return e, nil
		}
		select {
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		case <-s.ready:
		case <-s.ended:
			if e, ok := s.take(); ok {
				return e, nil
			}
			return Event{}, ErrClosed
		}
	}
}
