// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"bytes"
	"context"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// keepFrame bounds the memory kept for assembling answers.
const keepFrame = 4 << 20

var noContext = context.Background()

// answer sends a message to the client, or keeps it until there is room.
func (c *client) answer(m zpipes.Message) {
	l := c.loop
	frame, err := l.limits.Append(l.frame[:0], m)
	if err != nil {
		l.log.Error("cannot encode an answer", append(c.attributes(), "answer", m.ID, "error", err)...)
		return
	}
	c.send(frame)
}

// readOK sends the chunks that a READ took as one.
func (c *client) readOK() {
	l, op := c.loop, &c.readOp
	frame, err := l.limits.AppendHead(l.frame[:0], zpipes.ReadOK, op.N)
	for _, chunk := range op.Chunks {
		if err == nil {
			frame = append(frame, chunk.Bytes()...)
		}
		chunk.Release()
	}
	clear(op.Chunks)
	if err != nil {
		l.log.Error("cannot encode an answer", append(c.attributes(), "answer", zpipes.ReadOK, "error", err)...)
		return
	}
	l.stats.bytesOut.Add(uint64(op.N))
	l.debug(c, "READ", "octets", op.N, "asked", op.Max)
	c.send(frame)
}

// aside sends a message out of turn. It is lost on a client that does not read
// its answers.
func (c *client) aside(id zpipes.ID) {
	frame, err := c.loop.limits.Append(c.loop.frame[:0], zpipes.Message{ID: id})
	if err == nil {
		c.loop.try(c, frame)
	}
}

// send takes over nothing: the frame is the loop's, to be used again.
func (c *client) send(frame []byte) {
	l := c.loop
	if cap(frame) <= keepFrame {
		l.frame = frame[:0]
	}
	if c.gone || l.try(c, frame) {
		return
	}
	c.unsent = bytes.Clone(frame)
	c.stuckAt = l.now
	l.stuck = append(l.stuck, c)
	l.schedule(c, l.now.Add(l.cfg.ClientTimeout))
}

// try sends a frame unless libzmq has no room for it. A client that libzmq does
// not know any more takes everything: it is about to be dropped.
func (l *loop) try(c *client, frame []byte) bool {
	_, err := l.door.router.SendBytes(c.rid, zmq.SNDMORE|zmq.DONTWAIT)
	if err == nil {
		_, err = l.door.router.SendBytes(frame, zmq.DONTWAIT)
	}
	if err == nil {
		return true
	}
	return zmq.AsErrno(err) != zmq.Errno(eagain)
}

// retry sends the answers that there was no room for.
func (l *loop) retry() {
	if len(l.stuck) == 0 {
		return
	}
	waiting := l.stuck
	l.stuck = nil // serve may find the next answer to be stuck as well
	for _, c := range waiting {
		switch {
		case c.gone:
		case l.try(c, c.unsent):
			c.unsent = nil
			c.heard = l.now
			c.serve()
		default:
			l.stuck = append(l.stuck, c)
		}
	}
}
