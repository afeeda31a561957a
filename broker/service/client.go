// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"log/slog"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// end is what a client has open.
type end uint8

const (
	none end = iota
	reader
	writer
)

// client is a routing id that has sent something: at most one open end, and the
// requests that wait for their turn. The loop owns it.
type client struct {
	loop *loop
	id   string // routing id
	rid  []byte // the same, to be sent
	fd   string // its connection's descriptor, as libzmq names it
	pid  int    // its process; 0: unknown

	reused bool   // its connection has ended, and another has the descriptor
	name   string // the pipe's

	end    end
	ended  bool         // READ-END was answered, and is for ever
	reader *pipe.Reader // nil once the data has ended
	writer *pipe.Writer

	// One request is under way with the engine at a time.
	busy     bool
	doing    request
	deadline time.Time // of the request under way; zero: none
	gone     bool      // dropped while busy
	openOp   pipe.OpenOp
	readOp   pipe.ReadOp
	writeOp  pipe.WriteOp

	waiting queue
	closes  int // CLOSEs among the waiting: they do not wait for what is under way

	heard   time.Time // of the last request, or the answer to it
	unsent  []byte    // an answer that libzmq had no room for; nothing is served meanwhile
	stuckAt time.Time // since when

	babbles bool // it has sent a malformed message

	due   time.Time // when to look at it next
	timer int       // its place in the heap, or -1
}

func newClient(l *loop, id, fd string) *client {
	c := &client{loop: l, id: id, rid: []byte(id), fd: fd, heard: l.now, timer: -1}
	box := l.box
	// When the box is closed nobody will see the event: what came with it is
	// given back here.
	tell := func(k kind) {
		if !box.Put(event{kind: k, client: c}) {
			c.discard(k)
		}
	}
	c.openOp.Done = func(*pipe.OpenOp) { tell(opened) }
	c.readOp.Done = func(*pipe.ReadOp) { tell(read) }
	c.writeOp.Done = func(*pipe.WriteOp) { tell(wrote) }
	return c
}

// discard gives back what a completed operation brought for a client that is gone.
func (c *client) discard(k kind) {
	switch k {
	case opened:
		if c.openOp.Reader != nil {
			c.openOp.Reader.Close()
		}
		if c.openOp.Writer != nil {
			c.openOp.Writer.Close()
		}
	case read:
		for _, chunk := range c.readOp.Chunks {
			chunk.Release()
		}
	}
}

// abandon closes the end of a client that is dropped.
func (c *client) abandon() {
	c.gone = true
	c.loop.stats.queued.Add(-int64(c.held()))
	c.waiting = queue{}
	c.unsent = nil
	c.closeEnd()
	c.openOp.Cancel()
}

// closeEnd closes the end. An operation under way completes with pipe.ErrClosed.
func (c *client) closeEnd() {
	switch c.end {
	case reader:
		c.loop.stats.readers.Add(-1)
	case writer:
		c.loop.stats.writers.Add(-1)
	}
	c.end = none
	c.shut()
}

// shut closes the engine's end, but leaves the client where it is: requests
// still in line before a CLOSE belong to that end.
func (c *client) shut() {
	if c.reader != nil {
		c.reader.Close()
		c.reader = nil
	}
	if c.writer != nil {
		c.writer.Close()
		c.writer = nil
	}
}

// attributes describe the client in the log.
func (c *client) attributes() []any {
	return []any{"client", slog.StringValue(c.label()), "pid", c.pid, "pipe", c.name}
}

func (c *client) label() string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(c.id))
	for _, b := range []byte(c.id) {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}

// request is a message of a client that waits for its turn. A message that is
// none, or came when the client had too many, has no id and is answered INVALID.
type request struct {
	id      zpipes.ID
	flood   bool // too many requests: the end is closed
	name    string
	size    uint32
	timeout uint32
	chunk   []byte
	evicted bool // its chunk was given up
	cost    int  // bytes it holds
}

// queue is a client's requests in the order they came.
type queue struct {
	items []request
	head  int
	bytes int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(r request) {
	q.items = append(q.items, r)
	q.bytes += r.cost
}

func (q *queue) pop() request {
	r := q.items[q.head]
	q.items[q.head] = request{}
	q.head++
	q.bytes -= r.cost
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head >= 64 && q.head*2 >= len(q.items):
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return r
}
