// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// try reads what is there, as with O_NONBLOCK.
func (o *opening) try(max int) (int, error) {
	done := make(chan struct{})
	op := &pipe.ReadOp{Min: 1, Max: max, NonBlock: true, Done: func(*pipe.ReadOp) { close(done) }}
	o.Reader.Start(op)
	<-done
	for _, c := range op.Chunks {
		c.Release()
	}
	return op.N, op.Err
}

// polled tells what comes of a poll, when it has something to tell; 0: nothing has come.
func (o *opening) polled() pipe.Ready {
	for {
		told := make(chan struct{}, 1)
		if s := o.Reader.Ready(func() { told <- struct{}{} }); s != 0 {
			return s
		}
		select {
		case <-told:
		case <-time.After(patience):
			return 0
		}
	}
}

// A program that opens for reading and writing, polls and only writes keeps bytes from
// nobody, nor slows down who reads. The other reader goes by edges, as epoll(7) does:
// after a read that found nothing it does not poll again before it is told.
func TestReaderByEdges(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	rd := a.start("p", readNow).ok()
	both := b.start("p", func(op *pipe.OpenOp) { op.Read, op.Write = true, true }).ok()
	both.Reader.Ready(func() {})
	const size, block = 1 << 20, 32 << 10
	event := make(chan struct{}, 1)
	arm := func() {
		rd.Reader.Ready(func() {
			select {
			case event <- struct{}{}:
			default:
			}
		})
	}
	arm()
	written := make(chan error, 1)
	go func() { written <- both.write(string(pattern(size))) }()
	events := 0
	for total := 0; total < size; {
		n, err := rd.try(block)
		total += n
		if err == nil {
			continue
		}
		if !errors.Is(err, pipe.ErrAgain) {
			t.Fatal(err)
		}
		select {
		case <-event:
			events++
			arm()
		case <-time.After(patience):
			t.Fatalf("no event after %d bytes", total)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	if most := size / pipe.SegmentSize * 10; events > most {
		t.Errorf("%d events for %d bytes", events, size)
	}
}

// All that poll are told of bytes, on every host, in their turn.
func TestPollersEverywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, a, b *host, name string) {
		far, near := a.start(name, readNow).ok(), b.start(name, readNow).ok()
		wr := b.start(name, writeNow).ok()
		told := make(chan pipe.Ready, 2)
		for _, rd := range []*opening{far, near} {
			go func() { told <- rd.polled() }()
		}
		a.sync()
		wr.writes("hello")
		for range 2 {
			if s := <-told; s != pipe.Readable {
				t.Fatalf("a reader that polls is told %b", s)
			}
		}
	})
}
