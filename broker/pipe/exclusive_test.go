// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"io"
	"testing"
)

// TestExclusiveSession: once a pair has parted the pipe takes no new end, and who
// is left finishes.
func TestExclusiveSession(t *testing.T) {
	t.Run("writer leaves", func(t *testing.T) {
		r := newRig(t, Exclusive, 0)
		from, to := r.open(rd|pt).Reader, r.open(wr|pt).Writer
		r.write(to, []byte("hello")).is(t, 5, nil)
		to.Close()
		for _, how := range []int{rd | pt, wr | pt, wr, rd, rd | wr, wr | nb} {
			if o, err := r.start(how); err != ErrSpent || o.dones != 0 {
				t.Fatalf("open %b: %v, done %d times", how, err, o.dones)
			}
		}
		r.read(from, 10, 10).is(t, []byte("hello"), nil)
		for range 3 {
			r.read(from, 1, 1).is(t, nil, io.EOF)
		}
		from.Close()
		if s := r.Stat(); !s.Spent || s.Open() || r.idles.Load() != 1 {
			t.Errorf("%+v, idle told %d times", s, r.idles.Load())
		}
	})
	t.Run("reader leaves", func(t *testing.T) {
		r := newRig(t, Exclusive, 8192)
		from, to := r.open(rd|pt).Reader, r.open(wr|pt).Writer
		x := r.write(to, pattern(1, 10000), whole)
		y := r.write(to, []byte("x"))
		x.is(t, 10000, nil)
		from.Close()
		y.is(t, 0, ErrBroken)
		if _, err := r.start(rd | pt); err != ErrSpent {
			t.Error(err)
		}
		r.write(to, []byte("y")).is(t, 0, ErrBroken)
	})
	t.Run("no pair, no session", func(t *testing.T) {
		r := newRig(t, Exclusive, 0)
		for range 3 {
			r.open(rd | pt).Reader.Close()
			r.open(wr | pt).Writer.Close()
		}
		from, to := r.open(rd|pt).Reader, r.open(wr|pt).Writer
		r.write(to, []byte("x")).is(t, 1, nil)
		r.read(from, 1, 1).is(t, []byte("x"), nil)
	})
}

// TestPatientWriter waits for a reader with its bytes, and takes them back when
// its time is up.
func TestPatientWriter(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 0)
		to := r.open(wr | pt).Writer
		x, y := r.write(to, []byte("one")), r.write(to, []byte("two"))
		x.waits(t)
		r.write(to, []byte("now"), noWait).is(t, 0, ErrAgain)
		if !to.Cancel(&x.WriteOp) || x.N != 0 {
			t.Fatal(x.N)
		}
		from := r.open(rd | pt).Reader
		y.is(t, 3, nil)
		r.read(from, 1, 10).is(t, []byte("two"), nil)
	}
}

// TestCloseUnderOperations: what waits on an end that closes gets ErrClosed.
func TestCloseUnderOperations(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 8192)
		from, to := r.pair()
		x := r.read(from, 10, 10)
		r.write(to, []byte("abc")).is(t, 3, nil)
		from.Close()
		x.is(t, nil, ErrClosed)

		r = newRig(t, mode, 8192)
		from, to = r.pair()
		y := r.write(to, pattern(1, 9000))
		z := r.write(to, pattern(2, 9))
		to.Close()
		y.is(t, 8192, ErrClosed)
		z.is(t, 0, ErrClosed)
		r.read(from, 8193, 10000).is(t, pattern(1, 8192), nil)
		r.read(from, 1, 1).is(t, nil, io.EOF)
	}
}

func TestShutdown(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		t.Run(mode.String(), func(t *testing.T) {
			r := newRig(t, mode, 8192)
			opener, _ := r.start(rd)
			r.Shutdown()
			if opener.dones != 1 || opener.Err != ErrClosed || opener.Reader != nil {
				t.Errorf("opener: done %d times, %v", opener.dones, opener.Err)
			}
			if r.idles.Load() != 1 {
				t.Errorf("idle told %d times", r.idles.Load())
			}

			r = newRig(t, mode, 8192)
			from, to := r.pair()
			x := r.read(from, 1, 1)
			var in, out flag
			from.Ready(in.up)
			to.Ready(out.up)
			r.Shutdown()
			r.Shutdown()
			x.is(t, nil, io.EOF)
			if in != 1 || out != 1 {
				t.Errorf("reader told %d times, writer %d", in, out)
			}
			if from.Ready(nil)&Hangup == 0 || to.Ready(nil)&Broken == 0 {
				t.Error("poll does not show it")
			}
			r.write(to, []byte("x")).is(t, 0, ErrBroken)
			r.read(from, 1, 1).is(t, nil, io.EOF)
			if o, err := r.start(rd | wr); err != nil || o.Err != ErrClosed {
				t.Error(err, o.Err)
			}
			from.Close()
			to.Close()

			r = newRig(t, mode, 8192)
			from, to = r.pair()
			y := r.write(to, pattern(1, 9000))
			r.Shutdown()
			y.is(t, 8192, ErrBroken)
			r.read(from, 1, 9000).is(t, pattern(1, 8192), nil)
			r.read(from, 1, 9000).is(t, nil, io.EOF)
		})
	}
}
