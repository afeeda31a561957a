// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "testing"

// TestReadyStates is pipe_poll in the kernel's fs/pipe.c.
func TestReadyStates(t *testing.T) {
	for _, mode := range []Mode{Fifo, Exclusive, Fanout} {
		r := newRig(t, mode, 8192)
		from := r.reader()
		check := func(when string, reader, writer Ready, to *Writer) {
			t.Helper()
			if got := from.Ready(nil); got != reader {
				t.Errorf("%v, %s: reader %04b, want %04b", mode, when, got, reader)
			}
			if to == nil {
				return
			}
			if got := to.Ready(nil); got != writer {
				t.Errorf("%v, %s: writer %04b, want %04b", mode, when, got, writer)
			}
		}
		check("no writer yet", 0, 0, nil)
		to := r.writer()
		check("empty", 0, Writable, to)
		r.write(to, pattern(1, 1))
		check("one byte", Readable, Writable, to)
		r.write(to, pattern(2, 8192-Buf))
		check("less room than PIPE_BUF", Readable, 0, to)
		r.read(from, 1, 1)
		check("room for PIPE_BUF", Readable, Writable, to)
		to.Close()
		check("writer gone", Readable|Hangup, Writable, nil)
		r.read(from, 1, 8192)
		check("drained", Hangup, 0, nil)
		if mode == Exclusive {
			continue
		}
		to = r.writer()
		check("a new writer", 0, Writable, to)
		from.Close()
		if got := to.Ready(nil); got != Writable|Broken {
			t.Errorf("%v: writer without a reader: %04b", mode, got)
		}
	}
}

func TestNotifyIsOneShot(t *testing.T) {
	r := newRig(t, Fifo, 8192)
	from, to := r.pair()
	var came, room flag
	from.Ready(came.up)
	to.Ready(room.up)
	r.write(to, pattern(1, 8192))
	r.read(from, 1, 10)
	if came != 1 || room != 0 {
		t.Fatalf("reader told %d times, writer %d times of 10 bytes' room", came, room)
	}
	r.read(from, 1, Buf)
	r.write(to, pattern(1, 10))
	r.read(from, 1, 8192)
	if came != 1 || room != 1 {
		t.Errorf("reader told %d times, writer %d times", came, room)
	}
	from.Ready(came.up)
	from.Ready(came.up)
	to.Ready(room.up)
	to.Close()
	if came != 2 || room != 1 {
		t.Errorf("on close: reader told %d times, the closed writer %d times", came, room)
	}
	to.Ready(room.up)
	if r.armed != 0 {
		t.Errorf("%d ends armed", r.armed)
	}
}

func TestNotifyBroken(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	var gone flag
	to.Ready(gone.up)
	other := r.reader()
	from.Close()
	if gone != 0 {
		t.Error("told although a reader is left")
	}
	other.Close()
	if gone != 1 {
		t.Errorf("told %d times", gone)
	}
}

// TestNotifyLoss: a lost writer's mark is readable also while other writers stay.
func TestNotifyLoss(t *testing.T) {
	for _, mode := range []Mode{Fifo, Fanout} {
		r := newRig(t, mode, 0)
		from, lost := r.pair()
		r.writer()
		var told flag
		if s := from.Ready(told.up); s != 0 {
			t.Fatal(s)
		}
		r.Close(nil, lost, ErrPeerLost)
		if s := from.Ready(nil); s != Readable || told != 1 {
			t.Errorf("%v: state %04b, told %d times", mode, s, told)
		}
		r.read(from, 1, 1).is(t, nil, ErrPeerLost)
	}
}

// TestFullWithoutReader: the bytes of a full pipe stay when its reader leaves, so
// poll(2) says POLLERR and not POLLOUT (pipe_poll in fs/pipe.c).
func TestFullWithoutReader(t *testing.T) {
	r := newRig(t, Fifo, Buf)
	from, to := r.pair()
	r.write(to, pattern(1, Buf))
	from.Close()
	if s := to.Ready(nil); s != Broken {
		t.Errorf("state %04b, want only Broken", s)
	}
}

// TestNotifyRoomFromClosedReader: the slowest reader of a fanout pipe goes, so
// there is room.
func TestNotifyRoomFromClosedReader(t *testing.T) {
	r := newRig(t, Fanout, 8192)
	slow, quick := r.reader(), r.reader()
	to := r.writer()
	r.write(to, pattern(1, 8192))
	r.read(quick, 1, 8192)
	var room flag
	if s := to.Ready(room.up); s != 0 {
		t.Fatal(s)
	}
	slow.Close()
	if s := to.Ready(nil); s != Writable || room != 1 {
		t.Errorf("state %04b, told %d times", s, room)
	}
}

// TestNotifyDeserted: a fanout writer whose audience has gone is broken, also
// when readers came later that it does not serve.
func TestNotifyDeserted(t *testing.T) {
	r := newRig(t, Fanout, 8192)
	from, to := r.pair()
	r.write(to, pattern(1, 10))
	r.reader()
	var gone flag
	to.Ready(gone.up)
	from.Close()
	if s := to.Ready(nil); s&Broken == 0 || gone != 1 {
		t.Errorf("state %04b, told %d times", s, gone)
	}
	r.write(to, []byte("x")).is(t, 0, ErrBroken)
}

// TestNotifyRoomFromHungryRead: a read that waits for more than there is makes
// room for a writer that polls, even in a full pipe.
func TestNotifyRoomFromHungryRead(t *testing.T) {
	for _, want := range []int{8192, 20000} {
		r := newRig(t, Fifo, 8192)
		from, to := r.pair()
		held := min(8192, want-100)
		r.write(to, pattern(1, held))
		var room flag
		if s := to.Ready(room.up); s != 0 {
			t.Fatal(s)
		}
		x := r.read(from, want, want)
		if s := to.Ready(nil); s != Writable || room != 1 {
			t.Fatalf("want %d: state %04b, told %d times", want, s, room)
		}
		from.Cancel(&x.ReadOp)
		if s := to.Ready(room.up); s != 0 {
			t.Errorf("want %d: still %04b when the read is withdrawn", want, s)
		}
		x = r.read(from, want, want)
		for sent := held; sent < want; sent += Buf {
			r.write(to, pattern(2, Buf), noWait).is(t, Buf, nil)
		}
		if x.dones != 1 {
			t.Error("the read has enough and waits")
		}
	}
}

// TestNotWritableBehindAWaitingWrite: poll(2) must not promise what write(2)
// refuses, or a program spins.
func TestNotWritableBehindAWaitingWrite(t *testing.T) {
	for _, mode := range []Mode{Fifo, Fanout} {
		r := newRig(t, mode, 16384)
		_, a := r.pair()
		b := r.writer()
		r.write(a, pattern(1, 8192))
		x := r.write(a, pattern(1, 12000), whole)
		x.waits(t)
		var room flag
		if s := b.Ready(room.up); s != 0 {
			t.Errorf("%v: state %04b", mode, s)
		}
		r.write(b, pattern(2, 10), noWait).is(t, 0, ErrAgain)
		a.Cancel(&x.WriteOp)
		if s := b.Ready(nil); s != Writable || room != 1 {
			t.Errorf("%v: state %04b, told %d times", mode, s, room)
		}
	}
}

// alarm returns a function that rings and where it is heard; it rings once until
// heard.
func alarm() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	return c, func() {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// TestNotifyAlone moves messages between two goroutines that act on nothing but
// notifications: a lost one would hang it.
func TestNotifyAlone(t *testing.T) {
	const messages, size = 100_000, 512
	r := newRig(t, Fifo, 8192)
	from, to := r.pair()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		wake, up := alarm()
		op := &WriteOp{NonBlock: true, Done: func(*WriteOp) {}}
		for i := 0; i < messages; {
			seg := r.pool.small()
			for j := range seg.Bytes()[:size] {
				seg.Bytes()[j] = byte(i)
			}
			op.Chunks = append(op.Chunks[:0], seg.Chunk(0, size))
			seg.Release()
			to.Start(op)
			if op.Err == nil {
				i++
				continue
			}
			if to.Ready(up)&Writable == 0 {
				<-wake
			}
		}
		to.Close()
	}()
	wake, up := alarm()
	n := 0
	op := &ReadOp{NonBlock: true, Min: 1, Max: 8192}
	op.Done = func(op *ReadOp) {
		for _, c := range op.Chunks {
			for _, b := range c.Bytes() {
				if b != byte(n/size) {
					t.Errorf("byte %d is %d", n, b)
				}
				n++
			}
			c.Release()
		}
	}
	for !t.Failed() {
		from.Start(op)
		if op.Err == errEOF {
			break
		}
		if op.Err == ErrAgain && from.Ready(up) == 0 {
			<-wake
		}
	}
	<-sent
	if n != messages*size {
		t.Errorf("%d bytes arrived, want %d", n, messages*size)
	}
}
