// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

const (
	// inFlight is how many chunks of one Write are under way together when
	// Window does not say.
	inFlight = 4
	// keepFrames bounds the frames kept to be used again.
	keepFrames = 16

	// A broker takes a client that has more unanswered for one that floods it
	// (service.DefaultMaxRequests and DefaultMaxQueue), and libzmq queues no more
	// than 1000 frames.
	maxSent      = 512
	maxSentBytes = 32 << 20
)

// Writer is a pipe's writing end. Write and Close may be called at the same time.
type Writer struct {
	link     *link
	deadline *deadline
	writing  sync.Mutex // one Write at a time

	mu      sync.Mutex // guards below
	queue   []*chunk   // not yet sent, oldest first; the last may still be filled
	sent    int        // chunks sent and not yet answered
	onWay   int        // bytes in them
	put     uint64     // bytes that Write has put in the queue ever
	taken   uint64     // bytes that the broker has taken ever
	expired bool       // the chunk sent last met its timeout
	err     error      // what Write tells
	closed  bool
	spare   []*chunk      // to be used again
	changed chan struct{} // holds one: a chunk was sent or answered, or err is set

	answers []*chunk // the link's goroutine owns it: sent, by the order of answers
}

// chunk is a WRITE: its frame but for the timeout behind it.
type chunk struct {
	frame   []byte
	timeout uint32 // ms, 0 is for ever
	more    bool   // bytes of a later Write may follow
	size    int    // bytes, set when it is sent
}

// OpenWriter opens a pipe for writing. It does not wait for a reader; the first
// Write does. The context bounds the opening alone.
//
// Errors: ErrRefused, ErrBrokerGone, or the context's cause.
func OpenWriter(ctx context.Context, endpoint, name string, opts ...Option) (*Writer, error) {
	w := &Writer{deadline: newDeadline(), changed: make(chan struct{}, 1)}
	open := zpipes.Message{ID: zpipes.Output, Name: name}
	err := dial(ctx, endpoint, open, collect(opts), func(l *link) role {
		w.link = l
		return (*writerRole)(w)
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Write sends p as chunks and waits until the broker has taken them all; with
// Window it returns as soon as p is in the window. It returns how many bytes
// are in the pipe, or in the window, for good.
//
// A deadline that is set when Write begins ends it with ErrTimeout; more can be
// written then. After any other error the end can only be closed: ErrRefused
// (the reader has closed), ErrBrokerGone, ErrInvalid, ErrClosed.
func (w *Writer) Write(p []byte) (int, error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	if by := w.deadline.time(); !by.IsZero() && w.link.opts.window == 0 {
		return w.writeBy(p, by)
	}
	var passed <-chan struct{} // no deadline, unless Window lets bytes be left behind
	if w.link.opts.window > 0 {
		passed = w.deadline.passed()
	}
	start := w.begin()
	n := 0
	for n < len(p) {
		moved, err := w.fill(p[n:])
		n += moved
		if err == nil && moved == 0 {
			err = w.wait(passed)
		}
		if err != nil {
			return w.settled(start, n), err
		}
	}
	if w.link.opts.window > 0 {
		return n, nil
	}
	err := w.flush(start + uint64(n))
	return w.settled(start, n), err
}

// begin returns how many bytes were put in the queue before.
func (w *Writer) begin() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.put
}

// settled is how many of n bytes put in the queue since start count as written.
func (w *Writer) settled(start uint64, n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link.opts.window > 0 && w.err == nil {
		return n
	}
	if w.taken < start {
		return 0
	}
	return int(min(w.taken-start, uint64(n)))
}

// writeBy sends one chunk at a time, each with what is left of the time: a chunk
// that the broker drops for its timeout must be the last that was sent.
func (w *Writer) writeBy(p []byte, by time.Time) (int, error) {
	n := 0
	for n < len(p) {
		left := time.Until(by)
		if left <= 0 {
			return n, ErrTimeout
		}
		piece := p[n:min(n+w.link.opts.chunk, len(p))]
		if err := w.putTimed(piece, uint32(min((left+time.Millisecond-1)/time.Millisecond, 1<<31))); err != nil {
			return n, err
		}
		start := w.begin()
		if err := w.flush(start); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

func (w *Writer) putTimed(p []byte, timeout uint32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.state(); err != nil {
		return err
	}
	c := w.chunk()
	c.frame = append(c.frame, p...)
	c.timeout = timeout
	w.expired = false
	w.push(c)
	w.put += uint64(len(p))
	return nil
}

// fill puts as much of p in the queue as there is room for.
func (w *Writer) fill(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.state(); err != nil {
		return 0, err
	}
	window := w.link.opts.window
	if window == 0 {
		window = inFlight
	}
	n := 0
	for n < len(p) {
		c := w.last()
		if c == nil {
			if len(w.queue)+w.sent >= window {
				break
			}
			c = w.chunk()
			c.more = true
			w.push(c)
		}
		room := w.link.opts.chunk - (len(c.frame) - zpipes.ChunkHeadLen)
		moved := min(room, len(p)-n)
		c.frame = append(c.frame, p[n:n+moved]...)
		n += moved
		c.more = moved < room
	}
	w.put += uint64(n)
	return n, nil
}

// last returns the chunk that more bytes may be added to, or nil.
func (w *Writer) last() *chunk {
	if len(w.queue) == 0 || !w.queue[len(w.queue)-1].more {
		return nil
	}
	return w.queue[len(w.queue)-1]
}

// chunk returns an empty one: room for the head, which is known when it is sent.
func (w *Writer) chunk() *chunk {
	c := &chunk{}
	if n := len(w.spare); n > 0 {
		c, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	c.frame = append(c.frame[:0], make([]byte, zpipes.ChunkHeadLen)...)
	c.timeout, c.more, c.size = 0, false, 0
	return c
}

func (w *Writer) push(c *chunk) {
	w.queue = append(w.queue, c)
	if len(w.queue) == 1 {
		w.link.box.Put(pump)
	}
}

func (w *Writer) state() error {
	if w.closed {
		return ErrClosed
	}
	return w.err
}

// flush waits until the broker has taken all bytes up to a count.
func (w *Writer) flush(count uint64) error {
	for {
		w.mu.Lock()
		err, done, expired := w.state(), w.taken >= count, w.expired
		w.mu.Unlock()
		switch {
		case done:
			return nil
		case err != nil:
			return err
		case expired:
			w.forget()
			return ErrTimeout
		}
		<-w.changed // the link tells, at the latest when it ends
	}
}

// forget takes a chunk that the broker has dropped out of the count.
func (w *Writer) forget() {
	w.mu.Lock()
	w.put, w.expired = w.taken, false
	w.mu.Unlock()
}

// wait waits until something has changed.
func (w *Writer) wait(passed <-chan struct{}) error {
	select {
	case <-w.changed:
		return nil
	case <-passed:
		return ErrTimeout
	}
}

// SetWriteDeadline sets when Writes that begin from now on give up; the zero
// time is never. With Window it bounds the wait for room in the window.
func (w *Writer) SetWriteDeadline(t time.Time) error {
	w.deadline.set(t)
	return nil
}

// Close closes the end. With Window it first waits for the broker to take what
// was written, at most for CloseTimeout. It returns the error that Write has not
// told yet. A Write that waits gets ErrClosed. Closing again is harmless.
func (w *Writer) Close() error {
	w.mu.Lock()
	again := w.closed
	told := w.err
	w.closed = true
	w.mu.Unlock()
	w.tell()
	w.link.box.Put(finish)
	<-w.link.done
	if again {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link.opts.window > 0 && told == nil && w.taken < w.put {
		err := w.err
		if err == nil || errors.Is(err, ErrClosed) {
			err = ErrTimeout
		}
		return fmt.Errorf("close: %d bytes were not taken: %w", w.put-w.taken, err)
	}
	return closeError(w.link.result)
}

func (w *Writer) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// writerRole is a Writer as its link sees it.
type writerRole Writer

// pump sends what is in the queue, as far as the window and the connection go.
func (w *writerRole) pump() error {
	for len(w.link.unsent) == 0 {
		c := w.next()
		if c == nil {
			return nil
		}
		head, err := w.link.limits.AppendHead(c.frame[:0], zpipes.Write, c.size)
		if err != nil {
			return fmt.Errorf("encode WRITE: %w", err)
		}
		frame := zpipes.AppendTimeout(c.frame[:len(head)+c.size], c.timeout)
		c.frame = frame
		w.answers = append(w.answers, c)
		if err := w.link.sendFrame(frame); err != nil {
			return err
		}
	}
	return nil
}

// next takes the next chunk to be sent off the queue.
func (w *writerRole) next() *chunk {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.err != nil || w.closed && w.link.opts.window == 0 {
		return nil
	}
	c := w.queue[0]
	size := len(c.frame) - zpipes.ChunkHeadLen
	limit := min(max(w.link.opts.window, inFlight), maxSent)
	if w.sent >= limit || w.sent > 0 && w.onWay+size > maxSentBytes {
		return nil
	}
	w.queue = slices.Delete(w.queue, 0, 1)
	c.more = false
	c.size = size
	w.sent++
	w.onWay += size
	return c
}

func (w *writerRole) pong() error { return nil }

func (w *writerRole) answer(m zpipes.Message) error {
	if len(w.answers) == 0 {
		return fmt.Errorf("%v without a WRITE: %w", m.ID, ErrInvalid)
	}
	c := w.answers[0]
	w.answers = slices.Delete(w.answers, 0, 1)
	err := verdict(zpipes.Write, m)
	w.mu.Lock()
	w.sent--
	w.onWay -= c.size
	switch {
	case w.err != nil:
	case err == nil:
		w.taken += uint64(c.size)
	case errors.Is(err, ErrTimeout) && c.timeout > 0:
		w.expired = true
	case w.link.closeOut: // failed by our own CLOSE, when CloseTimeout had passed
	default:
		w.err = err
	}
	if len(w.spare) < keepFrames {
		w.spare = append(w.spare, c)
	}
	w.mu.Unlock()
	(*Writer)(w).tell()
	return nil
}

// closing reports that nothing is left that Close waits for.
func (w *writerRole) closing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.link.opts.window == 0 || w.err != nil || w.sent == 0 && len(w.queue) == 0
}

func (w *writerRole) fail(err error) {
	if errors.Is(err, errDone) {
		err = ErrClosed
	}
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	(*Writer)(w).tell()
}
