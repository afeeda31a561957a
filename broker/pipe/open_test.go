// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"context"
	"errors"
	"testing"
)

// TestOpenRules is fifo(7) and fifo_open in the kernel's fs/pipe.c, for each mode.
func TestOpenRules(t *testing.T) {
	tests := []struct {
		name   string
		before []int // ends that are there
		how    int
		err    error
		waits  bool
		modes  string // where it holds: f, e, o
	}{
		{"reader alone waits", nil, rd, nil, true, "feo"},
		{"writer alone waits", nil, wr, nil, true, "feo"},
		{"both never waits", nil, rd | wr, nil, false, "feo"},
		{"both with O_NONBLOCK", nil, rd | wr | nb, nil, false, "feo"},
		{"reader O_NONBLOCK alone", nil, rd | nb, nil, false, "feo"},
		{"writer O_NONBLOCK alone", nil, wr | nb, ErrNoReader, false, "feo"},
		{"patient reader alone", nil, rd | pt, nil, false, "feo"},
		{"patient writer alone", nil, wr | pt, nil, false, "feo"},
		{"patient writer with O_NONBLOCK alone", nil, wr | nb | pt, nil, false, "feo"},
		{"reader finds writer", []int{wr | pt}, rd, nil, false, "feo"},
		{"writer finds reader", []int{rd | nb}, wr, nil, false, "feo"},
		{"writer O_NONBLOCK finds reader", []int{rd | nb}, wr | nb, nil, false, "feo"},
		{"writer O_NONBLOCK finds a waiting reader", []int{rd}, wr | nb, nil, false, "feo"},
		{"reader O_NONBLOCK finds a waiting writer", []int{wr}, rd | nb, nil, false, "feo"},
		{"second waiting reader", []int{rd}, rd, nil, true, "fo"},
		{"second waiting writer", []int{wr}, wr, nil, true, "fo"},
		{"writer O_NONBLOCK among writers", []int{wr}, wr | nb, ErrNoReader, false, "fo"},
		{"second reader of a pair", []int{rd | nb, wr}, rd, nil, false, "fo"},
		{"second writer of a pair", []int{rd | nb, wr}, wr, nil, false, "fo"},
		{"second reader", []int{rd | nb}, rd | nb, ErrBusy, false, "e"},
		{"second reader of a waiting one", []int{rd}, rd, ErrBusy, false, "e"},
		{"second patient reader", []int{rd | pt}, rd | pt, ErrBusy, false, "e"},
		{"second writer", []int{wr | pt}, wr, ErrBusy, false, "e"},
		{"second writer O_NONBLOCK is busy before it is alone", []int{wr | pt}, wr | nb, ErrBusy, false, "e"},
		{"both beside a reader", []int{rd | nb}, rd | wr, ErrBusy, false, "e"},
		{"both beside a writer", []int{wr | pt}, rd | wr, ErrBusy, false, "e"},
		{"both beside both", []int{rd | wr}, rd | wr, nil, false, "fo"},
		{"reader beside both", []int{rd | wr}, rd, ErrBusy, false, "e"},
		{"writer beside both", []int{rd | wr}, wr, nil, false, "fo"},
	}
	for _, c := range tests {
		for _, m := range []byte(c.modes) {
			mode := map[byte]Mode{'f': Fifo, 'e': Exclusive, 'o': Fanout}[m]
			t.Run(c.name+"/"+mode.String(), func(t *testing.T) {
				r := newRig(t, mode, 0)
				for _, how := range c.before {
					if _, err := r.start(how); err != nil {
						t.Fatal(err)
					}
				}
				o, err := r.start(c.how)
				if err != nil {
					t.Fatal(err)
				}
				if got := o.dones == 0; got != c.waits {
					t.Fatalf("waits %v, want %v (%v)", got, c.waits, o.Err)
				}
				if !errors.Is(o.Err, c.err) {
					t.Fatalf("error %v, want %v", o.Err, c.err)
				}
				if !c.waits && c.err == nil && ((o.Reader != nil) != o.Read || (o.Writer != nil) != o.Write) {
					t.Error("the ends are not those that were asked for")
				}
				if c.err != nil && (o.Reader != nil || o.Writer != nil) {
					t.Error("a failed open has an end")
				}
			})
		}
	}
}

// TestOpenMeets: openers that wait complete, all of them, when the partner comes.
func TestOpenMeets(t *testing.T) {
	for _, mode := range []Mode{Fifo, Fanout} {
		r := newRig(t, mode, 0)
		var waiting []*opened
		for range 3 {
			o, _ := r.start(rd)
			waiting = append(waiting, o)
		}
		r.open(wr)
		for i, o := range waiting {
			if o.dones != 1 || o.Err != nil {
				t.Fatalf("%v: opener %d: done %d times, %v", mode, i, o.dones, o.Err)
			}
		}
	}
}

// TestOpenSeesPartnerThatLeft: fs/pipe.c counts opens, so an opener completes
// although its partner has closed again before it woke.
func TestOpenSeesPartnerThatLeft(t *testing.T) {
	r := newRig(t, Fifo, 0)
	o, _ := r.start(rd)
	w := r.open(wr | nb)
	w.Writer.Close()
	if o.dones != 1 || o.Err != nil {
		t.Fatalf("done %d times, %v", o.dones, o.Err)
	}
	r.read(o.Reader, 1, 10).is(t, nil, errEOF)
}

// TestArrive: an open that is on its way is let in by a partner that has come and
// gone, and not kept from being withdrawn.
func TestArrive(t *testing.T) {
	r := newRig(t, Fifo, 0)
	for _, gone := range []bool{true, false} {
		var op OpenOp
		dones := 0
		op.Read, op.Done = true, func(*OpenOp) { dones++ }
		r.Arrive(&op)
		if gone {
			both := r.open(rd | wr)
			r.Close(both.Reader, both.Writer, nil)
		}
		if op.Cancel() {
			t.Error("withdrawn where there was nothing to take back")
		}
		if err := r.Open(&op); err != nil || dones != 1 {
			t.Fatalf("%v, done %d times", err, dones)
		}
		switch {
		case gone && op.Err != nil:
			t.Errorf("a partner had come: %v", op.Err)
		case gone:
			r.read(op.Reader, 1, 10).is(t, nil, errEOF)
			op.Reader.Close()
		case op.Err != context.Canceled || op.Reader != nil:
			t.Errorf("withdrawn and alone: %v", op.Err)
		}
		if open, _ := r.Busy(); open {
			t.Error("an end is left open")
		}
	}
}

// TestArriveKeeps: contents stay for who is on his way, and for nobody else.
func TestArriveKeeps(t *testing.T) {
	for _, departs := range []bool{false, true} {
		r := newRig(t, Fifo, 0)
		first, w := r.pair()
		r.write(w, []byte("hello")).is(t, 5, nil)
		w.Close()
		o := r.arrive(rd)
		first.Close()
		if departs {
			r.Depart(&o.OpenOp)
			if n := r.Stat().Buffered; n != 0 {
				t.Errorf("%d bytes are left for nobody", n)
			}
			continue
		}
		if err := r.goOn(o); err != nil || o.dones != 0 {
			t.Fatalf("%v, done %d times: nobody has come for it", err, o.dones)
		}
		w = r.open(wr).Writer
		r.write(w, []byte(" again")).is(t, 6, nil)
		r.read(o.Reader, 1, 100).is(t, []byte("hello again"), nil)
	}
}

// TestArriveLost: so does the mark of a lost host.
func TestArriveLost(t *testing.T) {
	for _, m := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, m, 0)
		o := r.arrive(rd)
		w, err := r.AttachWriter(Info{Host: "far"}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		w.Feed(chunks(r.pool, []byte("hello")))
		if _, unread, alone := w.Fed(); unread != 5 || alone {
			t.Errorf("%v: %d bytes unread, alone %v", m, unread, alone)
		}
		r.Close(nil, w, ErrPeerLost)
		if err := r.goOn(o); err != nil || o.dones != 1 || o.Err != nil {
			t.Fatalf("%v: %v, done %d times, %v", m, err, o.dones, o.Err)
		}
		r.read(o.Reader, 1, 100).is(t, []byte("hello"), nil)
		r.read(o.Reader, 1, 100).is(t, nil, ErrPeerLost)
		r.read(o.Reader, 1, 100).is(t, nil, errEOF)
		if _, spent := r.Busy(); spent != (m == Exclusive) {
			t.Errorf("%v: spent %v", m, spent)
		}
	}
}

// TestLentFirst: who comes reads nothing newer than what lies with another host, which
// may give it back, and is told when that is read or back.
func TestLentFirst(t *testing.T) {
	for _, back := range []bool{false, true} {
		r := newRig(t, Fifo, 0)
		far, err := r.AttachReader(Info{Host: "far"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := r.writer()
		r.write(w, []byte("old")).is(t, 3, nil)
		lent, n, _ := far.Lend(nil, 3, SegmentSize, func() {})
		if n != 3 {
			t.Fatalf("lent %d bytes", n)
		}
		r.write(w, []byte("new")).is(t, 3, nil)
		near := r.reader()
		var told flag
		if s := near.Ready(told.up); s != 0 {
			t.Errorf("ready is %b", s)
		}
		x := r.read(near, 1, 100)
		x.waits(t)
		want := "new"
		if back {
			far.Return(lent)
			want = "oldnew"
		} else {
			far.Settle(3)
			lent[0].Release()
		}
		x.is(t, []byte(want), nil)
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		far.Close()
	}
}

// TestDepart: a remote writer sees that the reader that was to come does not.
func TestDepart(t *testing.T) {
	r := newRig(t, Fanout, 0)
	o := r.arrive(rd)
	told := 0
	w, err := r.AttachWriter(Info{Host: "far"}, func() { told++ })
	if err != nil {
		t.Fatal(err)
	}
	w.Feed(chunks(r.pool, []byte("hello")))
	r.Depart(&o.OpenOp)
	if _, unread, alone := w.Fed(); unread != 0 || !alone || told == 0 {
		t.Errorf("%d bytes unread, alone %v, told %d times", unread, alone, told)
	}
	w.Close()
}

func TestCancelOpen(t *testing.T) {
	r := newRig(t, Fifo, 0)
	var fresh OpenOp
	if fresh.Cancel() {
		t.Error("cancelled what was not started")
	}
	o, _ := r.start(wr)
	if open, _ := r.Busy(); !open {
		t.Error("a waiting opener does not count as open")
	}
	if !o.Cancel() || o.Cancel() || o.dones != 0 {
		t.Fatal("a waiting open is withdrawn once and Done does not run")
	}
	if o.Writer != nil {
		t.Error("a withdrawn open has an end")
	}
	if open, _ := r.Busy(); open || r.idles.Load() != 1 {
		t.Errorf("open %v, idle told %d times", open, r.idles.Load())
	}
	x, _ := r.start(rd)
	y := r.open(wr)
	if x.Cancel() || y.Cancel() {
		t.Error("cancelled what was done")
	}
}

// TestCancelledOpenIsNoSession: who gave up waiting never had a partner, so the
// session is not over.
func TestCancelledOpenIsNoSession(t *testing.T) {
	r := newRig(t, Exclusive, 0)
	o, _ := r.start(wr)
	o.Cancel()
	if _, spent := r.Busy(); spent {
		t.Error("a session that had no pair is spent")
	}
	r.open(wr | pt)
}

func TestCloseTwiceAndIdle(t *testing.T) {
	r := newRig(t, Fifo, 0)
	o := r.open(rd | wr)
	r.write(o.Writer, []byte("x")).is(t, 1, nil)
	if r.Stat().Buffered != 1 {
		t.Fatal(r.Stat().Buffered)
	}
	for range 3 {
		r.Close(o.Reader, o.Writer, nil)
	}
	if n := r.idles.Load(); n != 1 {
		t.Errorf("idle told %d times", n)
	}
	if s := r.Stat(); s.Buffered != 0 || s.Open() {
		t.Errorf("contents outlive the last end: %+v", s)
	}
	r.read(o.Reader, 1, 1).is(t, nil, ErrClosed)
	r.write(o.Writer, []byte("x")).is(t, 0, ErrClosed)
}

func TestParseMode(t *testing.T) {
	for _, m := range []Mode{Fifo, Exclusive, Fanout} {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Error(m, got, err)
		}
	}
	if _, err := ParseMode("mode(7)"); !errors.Is(err, ErrMode) {
		t.Error(err)
	}
	if s := Mode(7).String(); s != "mode(7)" {
		t.Error(s)
	}
}
