// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// Reader is a pipe's reading end. Read and Close may be called at the same time.
type Reader struct {
	link     *link
	deadline *deadline
	reading  sync.Mutex // one Read at a time

	mu      sync.Mutex // guards below
	chunks  [][]byte   // arrived and not yet read
	held    int        // sum of their lengths
	demand  int        // room of the Read that waits, or 0
	err     error      // what Read tells once chunks are out
	closed  bool
	idle    bool          // the link sends nothing for want of room
	changed chan struct{} // holds one: chunks or err have changed

	// The link's goroutine owns the rest.
	pacer   pacer
	asked   []ask // requests not yet answered, oldest first
	onWay   int   // bytes they ask for
	pairs   int   // pairs of them
	probing bool  // the last pair lacks its second request
	pings   int   // PINGs behind probes that are not yet answered
	stopped bool  // the data has ended or a READ failed
}

// ask is a READ that was sent.
type ask struct {
	size   int
	probe  bool // READ 1, which waits
	last   bool // of its pair
	atOnce bool // the pair's probe did not wait, as far as known
}

// OpenReader opens a pipe for reading. It does not wait for a writer. The
// context bounds the opening alone.
//
// Errors: ErrRefused, ErrBrokerGone, or the context's cause.
func OpenReader(ctx context.Context, endpoint, name string, opts ...Option) (*Reader, error) {
	r := &Reader{deadline: newDeadline(), changed: make(chan struct{}, 1), pacer: newPacer()}
	open := zpipes.Message{ID: zpipes.Input, Name: name}
	err := dial(ctx, endpoint, open, collect(opts), func(l *link) role {
		r.link = l
		return (*readerRole)(r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Read waits for bytes and returns those that have come, at least one unless p
// is empty. Nothing is lost when p is shorter than a chunk.
//
// Errors: io.EOF when the writer has closed and all was read, ErrTimeout at the
// deadline (nothing is lost then either), ErrClosed, ErrBrokerGone, ErrRefused,
// ErrInvalid.
func (r *Reader) Read(p []byte) (int, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	for {
		n, err := r.take(p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		select {
		case <-r.changed:
		case <-r.deadline.passed():
			r.stopDemand()
			return 0, ErrTimeout
		}
	}
}

// take moves bytes that are there into p, or tells the link that p waits.
func (r *Reader) take(p []byte) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) && len(r.chunks) > 0 {
		moved := copy(p[n:], r.chunks[0])
		n += moved
		if moved == len(r.chunks[0]) {
			r.chunks[0] = nil
			r.chunks = r.chunks[1:]
		} else {
			r.chunks[0] = r.chunks[0][moved:]
		}
	}
	r.held -= n
	r.demand = 0
	if n == 0 && r.err != nil {
		return 0, r.err
	}
	if n == 0 {
		r.demand = len(p)
	}
	if r.idle && r.room() > 0 {
		r.idle = false
		r.link.box.Put(pump)
	}
	return n, nil
}

// room is how many bytes may be held or on the way, beyond those that are held.
// The lock is held.
func (r *Reader) room() int { return max(r.link.opts.ahead, r.demand) - r.held }

func (r *Reader) stopDemand() {
	r.mu.Lock()
	r.demand = 0
	r.mu.Unlock()
}

// SetReadDeadline sets when a Read that waits, now or later, gives up; the zero
// time is never.
func (r *Reader) SetReadDeadline(t time.Time) error {
	r.deadline.set(t)
	return nil
}

// Close closes the end and waits for the broker to say so. Bytes that were asked
// for ahead are gone. A Read that waits gets ErrClosed. Closing again is harmless.
func (r *Reader) Close() error {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.chunks, r.held = nil, 0
	r.mu.Unlock()
	r.tell()
	r.link.box.Put(finish)
	<-r.link.done
	if again {
		return nil
	}
	return closeError(r.link.result)
}

// closeError wraps why a link ended otherwise than by CLOSE.
func closeError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("close: %w", err)
}

func (r *Reader) tell() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// readerRole is a Reader as its link sees it.
type readerRole Reader

// pump asks for more if there is room.
func (r *readerRole) pump() error {
	for !r.stopped && !r.probing && r.pairs < r.pacer.ahead() {
		room := r.vacant()
		if room <= 0 {
			return nil
		}
		if err := r.begin(room); err != nil {
			return err
		}
	}
	return nil
}

// vacant is how many more bytes may be asked for; if none, Read will tell.
func (r *readerRole) vacant() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0
	}
	room := (*Reader)(r).room() - r.onWay
	r.idle = room <= 0
	return room
}

// begin sends a probe. When bytes flow the rest of the pair goes with it; else
// that waits until it is known whether the probe has to, which a PING tells.
func (r *readerRole) begin(room int) error {
	r.pairs++
	r.probing = r.pacer.ahead() == 1
	if err := r.ask(ask{size: 1, probe: true, atOnce: true}, 0); err != nil {
		return err
	}
	if r.probing {
		r.pings++
		return r.link.ping()
	}
	return r.follow(room, true)
}

// follow sends the rest of the pair whose probe was sent last.
func (r *readerRole) follow(room int, atOnce bool) error {
	r.probing = false
	size := r.pacer.next(room)
	if size > 1 {
		return r.ask(ask{size: size - 1, last: true, atOnce: atOnce}, 1)
	}
	if n := len(r.asked); n > 0 {
		r.asked[n-1].last, r.asked[n-1].atOnce = true, atOnce
		return nil
	}
	r.pairs--
	r.pacer.full(atOnce)
	return nil
}

func (r *readerRole) ask(a ask, timeout uint32) error {
	r.asked = append(r.asked, a)
	r.onWay += a.size
	return r.link.send(zpipes.Message{ID: zpipes.Read, Size: uint32(a.size), Timeout: timeout})
}

// pong tells that the probe before the PING waits, unless it has been answered.
func (r *readerRole) pong() error {
	if r.pings == 0 {
		return nil // it was a sign of life that was asked for
	}
	r.pings--
	if r.pings > 0 || r.stopped || len(r.asked) == 0 || !r.asked[0].probe {
		return nil
	}
	r.pacer.waited()
	if r.probing {
		return r.follow(r.vacant()+1, false)
	}
	return nil
}

func (r *readerRole) answer(m zpipes.Message) error {
	if len(r.asked) == 0 {
		return fmt.Errorf("%v without a READ: %w", m.ID, ErrInvalid)
	}
	a := r.asked[0]
	r.asked = slices.Delete(r.asked, 0, 1)
	r.onWay -= a.size
	if a.last {
		r.pairs--
	}
	switch {
	case m.ID == zpipes.ReadEnd:
		r.finish(io.EOF)
	case m.ID == zpipes.ReadOK:
		r.pacer.came(len(m.Chunk))
		if a.last && len(m.Chunk) == a.size {
			r.pacer.full(a.atOnce)
		}
		r.deliver(m.Chunk)
		if a.probe && r.probing && len(r.asked) == 0 {
			return r.follow(r.vacant()+1, true)
		}
	case m.ID == zpipes.ReadTimeout && !a.probe:
		r.pacer.short()
	default:
		r.finish(verdict(zpipes.Read, m))
	}
	// Of pairs sent together the second's probe can be asked about only now.
	if a.last && len(r.asked) > 0 && r.pings == 0 {
		r.pings++
		return r.link.ping()
	}
	return nil
}

// finish stops the reading; the first error is what Read tells.
func (r *readerRole) finish(err error) {
	r.stopped = true
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	(*Reader)(r).tell()
}

func (r *readerRole) deliver(chunk []byte) {
	r.mu.Lock()
	if !r.closed && len(chunk) > 0 {
		r.chunks = append(r.chunks, chunk)
		r.held += len(chunk)
		r.demand = 0
	}
	r.mu.Unlock()
	(*Reader)(r).tell()
}

func (r *readerRole) closing() bool { return true }

func (r *readerRole) fail(err error) {
	if errors.Is(err, errDone) {
		err = ErrClosed
	}
	r.finish(err)
}
