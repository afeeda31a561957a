// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"io"
	"testing"
)

// lose closes writers as the loss of their host does.
func (r *rig) lose(ws ...*Writer) {
	for _, w := range ws {
		r.Close(nil, w, ErrPeerLost)
	}
}

// TestLoss: the bytes that arrived, then the error once, then what else is true.
func TestLoss(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		for _, n := range []int{0, 1, 5000} {
			r := newRig(t, mode, 8192)
			from, to := r.pair()
			data := pattern(1, n)
			r.write(to, data)
			waiting := r.write(to, pattern(2, 8192), whole)
			if n > 0 {
				r.lose(to)
				waiting.is(t, 0, ErrClosed)
				r.read(from, 8192, 8192).is(t, data, nil)
			} else {
				r.read(from, 1, 8192)
				r.lose(to)
			}
			r.read(from, 1, 1, restOf).is(t, nil, io.EOF)
			r.read(from, 1, 1).is(t, nil, ErrPeerLost)
			r.read(from, 1, 1).is(t, nil, io.EOF)
		}
	}
}

// TestLossUnderRead: a read that waits gets what there is, or the error.
func TestLossUnderRead(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 0)
		from, to := r.pair()
		x := r.read(from, 10, 10)
		r.write(to, []byte("abc"))
		r.lose(to)
		x.is(t, []byte("abc"), nil)
		r.read(from, 1, 1).is(t, nil, ErrPeerLost)

		r = newRig(t, mode, 0)
		from, to = r.pair()
		x = r.read(from, 1, 10)
		r.lose(to)
		x.is(t, nil, ErrPeerLost)
		r.read(from, 1, 1).is(t, nil, io.EOF)
	}
}

// TestLossToldOncePerReader, also when the host had several writers.
func TestLossToldOncePerReader(t *testing.T) {
	for _, mode := range []Mode{Fifo, Fanout} {
		r := newRig(t, mode, 0)
		a, b, c := r.reader(), r.reader(), r.reader()
		w1, w2, stays := r.writer(), r.writer(), r.writer()
		r.lose(w1, w2)
		r.read(c, 1, 1, noWaitR).is(t, nil, ErrPeerLost)
		r.read(a, 1, 1, noWaitR).is(t, nil, ErrPeerLost)
		r.read(b, 1, 1, noWaitR).is(t, nil, ErrPeerLost)
		for _, from := range []*Reader{a, b, c} {
			r.read(from, 1, 1, noWaitR).is(t, nil, ErrAgain)
		}
		r.write(stays, []byte("on")).is(t, 2, nil)
		r.read(a, 1, 10).is(t, []byte("on"), nil)
	}
}

// TestLossStopsARead: no read joins the bytes before a loss with those after it.
func TestLossStopsARead(t *testing.T) {
	for _, mode := range []Mode{Fifo, Fanout} {
		r := newRig(t, mode, 0)
		from, lost := r.pair()
		stays := r.writer()
		r.write(lost, []byte("before"))
		r.lose(lost)
		r.write(stays, []byte("after"))
		r.read(from, 11, 11).is(t, []byte("before"), nil)
		r.read(from, 1, 1, restOf).is(t, nil, ErrAgain)
		r.read(from, 1, 11).is(t, nil, ErrPeerLost)
		r.read(from, 1, 11).is(t, []byte("after"), nil)
	}
}

// TestLossBetweenReaders: bytes of a lost writer that wait for the next reader
// are not whole for it either.
func TestLossBetweenReaders(t *testing.T) {
	r := newRig(t, Fifo, 0)
	first, lost := r.pair()
	r.writer()
	r.write(lost, []byte("torn"))
	first.Close()
	r.lose(lost)
	next := r.reader()
	r.read(next, 1, 10).is(t, []byte("torn"), nil)
	r.read(next, 1, 10).is(t, nil, ErrPeerLost)
	r.read(next, 1, 10, noWaitR).is(t, nil, ErrAgain)
}

// TestLossBeforeReader: a loss that took nothing from a reader that comes later
// is not its concern.
func TestLossBeforeReader(t *testing.T) {
	r := newRig(t, Fifo, 0)
	first, lost := r.pair()
	second := r.writer()
	r.writer()
	r.lose(lost)
	first.Close()
	r.lose(second)
	r.read(r.reader(), 1, 10, noWaitR).is(t, nil, ErrAgain)
}

// TestLossMemory: marks that nobody reads do not pile up.
func TestLossMemory(t *testing.T) {
	for _, mode := range []Mode{Fifo, Fanout} {
		r := newRig(t, mode, 0)
		from := r.reader()
		for range 10_000 {
			o := &OpenOp{Write: true, Done: func(*OpenOp) {}}
			if err := r.Open(o); err != nil {
				t.Fatal(err)
			}
			r.lose(o.Writer)
		}
		if n := len(from.from.queues[0].items); n != 1 {
			t.Errorf("%v: %d marks", mode, n)
		}
		r.read(from, 1, 1).is(t, nil, ErrPeerLost)
		r.read(from, 1, 1).is(t, nil, io.EOF)
	}
}

// TestLossOfAnotherAudience: a reader that was to get nothing of a fanout writer
// does not get its error either.
func TestLossOfAnotherAudience(t *testing.T) {
	r := newRig(t, Fanout, 0)
	a, lost := r.pair()
	r.write(lost, []byte("x"))
	late := r.reader()
	r.lose(lost)
	r.read(late, 1, 1).is(t, nil, io.EOF)
	r.read(a, 1, 1).is(t, []byte("x"), nil)
	r.read(a, 1, 1).is(t, nil, ErrPeerLost)
}

// TestLossBeforeFirstByte: a remote writer's loss is told to those who wait for its
// first byte and to those who were on their way, but not to who comes later.
func TestLossBeforeFirstByte(t *testing.T) {
	for _, mode := range []Mode{Fifo, Fanout} {
		r := newRig(t, mode, 0)
		arrive := func() *opened {
			o := &opened{OpenOp: OpenOp{Read: true, NonBlock: true}}
			o.Done = func(*OpenOp) { o.dones++ }
			r.Arrive(&o.OpenOp)
			return o
		}
		open := func(o *opened) *Reader {
			if err := r.Pipe.Open(&o.OpenOp); err != nil || o.Err != nil {
				t.Fatal(err, o.Err)
			}
			r.ends = append(r.ends, o)
			return o.Reader
		}
		here, onItsWay := r.reader(), arrive()
		far, err := r.AttachWriter(Info{Host: "a"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.lose(far)
		after := arrive()
		for _, from := range []*Reader{open(onItsWay), here} {
			r.read(from, 1, 1).is(t, nil, ErrPeerLost)
			r.read(from, 1, 1).is(t, nil, io.EOF)
		}
		r.read(open(after), 1, 1).is(t, nil, io.EOF)
	}
}
