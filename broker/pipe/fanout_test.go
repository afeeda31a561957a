// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"bytes"
	"io"
	"testing"
)

// TestFanoutAudience: a reader gets a writer whole from its first byte, or
// nothing of it.
func TestFanoutAudience(t *testing.T) {
	r := newRig(t, Fanout, 0)
	a, b := r.reader(), r.reader()
	w1 := r.writer()
	w2 := r.writer()
	r.write(w1, []byte("one.")).is(t, 4, nil)
	late := r.reader()
	r.write(w1, []byte("more.")).is(t, 5, nil)
	r.write(w2, []byte("two.")).is(t, 4, nil)
	w1.Close()
	w2.Close()
	for _, from := range []*Reader{a, b} {
		r.read(from, 100, 100).is(t, []byte("one.more.two."), nil)
		r.read(from, 1, 1).is(t, nil, io.EOF)
	}
	r.read(late, 100, 100).is(t, []byte("two."), nil)
	r.read(late, 1, 1).is(t, nil, io.EOF)
}

// TestFanoutFirstByte: the first byte fixes the audience, not the attempt to
// write it.
func TestFanoutFirstByte(t *testing.T) {
	r := newRig(t, Fanout, 8192)
	a := r.reader()
	w1, w2 := r.writer(), r.writer()
	r.write(w1, pattern(1, 8192)).is(t, 8192, nil)
	r.write(w2, []byte("no"), noWait).is(t, 0, ErrAgain)
	x := r.write(w2, []byte("yes"))
	x.waits(t)
	b := r.reader()
	a.Close()
	x.is(t, 3, nil)
	r.read(b, 1, 10).is(t, []byte("yes"), nil)
}

// TestFanoutDeserted: a writer whose audience has gone is broken, though others
// read.
func TestFanoutDeserted(t *testing.T) {
	r := newRig(t, Fanout, 8192)
	a, w := r.pair()
	x := r.write(w, pattern(1, 10000))
	b := r.reader()
	a.Close()
	x.is(t, 8192, ErrBroken)
	r.read(b, 1, 1, noWaitR).is(t, nil, ErrAgain)
	w.Close()
	r.read(b, 1, 1).is(t, nil, io.EOF)
}

// TestFanoutPace: the slowest reader sets the pace, and memory is bounded by the
// capacity, not by the readers.
func TestFanoutPace(t *testing.T) {
	r := newRig(t, Fanout, 16384)
	slow, quick := r.reader(), r.reader()
	w := r.writer()
	data := pattern(1, 100_000)
	x := r.write(w, data)
	var fromSlow, fromQuick []byte
	for len(fromSlow) < len(data) {
		if y := r.read(quick, 1, len(data), noWaitR); y.Err == nil {
			fromQuick = append(fromQuick, y.got...)
		}
		if ahead := len(fromQuick) - len(fromSlow); ahead > 16384 {
			t.Fatalf("the quick reader is %d bytes ahead", ahead)
		}
		if n := r.Stat().Buffered; n > 16384 {
			t.Fatalf("%d bytes buffered", n)
		}
		fromSlow = append(fromSlow, r.read(slow, 1, 1000).got...)
	}
	x.is(t, len(data), nil)
	if !bytes.Equal(fromSlow, data) || !bytes.Equal(fromQuick, data) {
		t.Error("bytes differ")
	}
}

// TestFanoutOrder: a writer's later write does not pass its earlier one that
// waits for room, and a long one is not passed for ever.
func TestFanoutOrder(t *testing.T) {
	r := newRig(t, Fanout, 8192)
	from, w := r.pair()
	r.write(w, pattern(0, 8092)).is(t, 8092, nil)
	x, y := r.write(w, pattern(1, 4000)), r.write(w, pattern(2, 50))
	other := r.writer()
	z := r.write(other, pattern(3, 50))
	x.waits(t)
	y.waits(t)
	z.waits(t)
	want := bytes.Join([][]byte{pattern(0, 8092), pattern(1, 4000), pattern(2, 50), pattern(3, 50)}, nil)
	var got []byte
	for len(got) < len(want) {
		got = append(got, r.read(from, 1, 99).got...)
	}
	if !bytes.Equal(got, want) {
		t.Error("out of order")
	}
}

// TestFanoutSlowReaderOfAnother: a writer that waits for a slow reader does not
// hold up one whose readers have room.
func TestFanoutSlowReaderOfAnother(t *testing.T) {
	r := newRig(t, Fanout, 8192)
	slow, w1 := r.pair()
	r.write(w1, pattern(1, 8192))
	x := r.write(w1, []byte("waits"))
	quick := r.reader()
	w2 := r.open(wr).Writer
	y := r.write(w2, []byte("both"))
	x.waits(t)
	y.waits(t)
	slow.Close()
	x.is(t, 0, ErrBroken)
	y.is(t, 4, nil)
	r.read(quick, 1, 10).is(t, []byte("both"), nil)

	r = newRig(t, Fanout, 8192)
	slow, w1 = r.pair()
	r.write(w1, pattern(1, 10)).is(t, 10, nil)
	w2 = r.writer()
	second := r.reader()
	slow2 := r.write(w1, pattern(1, 9000))
	slow2.waits(t)
	r.read(slow, 1, 8192)
	slow2.is(t, 9000, nil)
	r.write(w2, []byte("z")).is(t, 1, nil)
	r.read(second, 1, 10).is(t, []byte("z"), nil)
}
