// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestCancelRaces starts, cancels and completes reads and writes from three
// goroutines at once: each completes or is withdrawn, once, and no byte is lost,
// doubled or out of order.
func TestCancelRaces(t *testing.T) {
	const total = 200_000
	r := newRig(t, Fifo, 8192)
	from, to := r.pair()
	var wg sync.WaitGroup

	type aim struct {
		op    *WriteOp
		ended chan struct{}
	}
	var current atomic.Pointer[aim]
	var stop atomic.Bool
	withdraw := func(a *aim) {
		if to.Cancel(a.op) {
			a.ended <- struct{}{}
		}
	}
	wg.Go(func() { // writes, and what was withdrawn again from where it was cut
		defer to.Close()
		for next := 0; next < total; {
			n := min(1+next%700, total-next)
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(next + i)
			}
			a := &aim{ended: make(chan struct{}, 3)}
			a.op = &WriteOp{Chunks: chunks(r.pool, b), Whole: next%3 == 0, Done: func(*WriteOp) { a.ended <- struct{}{} }}
			current.Store(a)
			to.Start(a.op)
			if next%5 == 0 {
				withdraw(a)
			}
			<-a.ended
			next += a.op.N
			if len(a.ended) > 0 {
				t.Error("a write ended twice")
			}
		}
	})
	wg.Go(func() {
		for !stop.Load() {
			if a := current.Load(); a != nil {
				withdraw(a)
			}
			runtime.Gosched()
		}
	})
	next := 0
	for {
		ended := make(chan struct{}, 2)
		op := &ReadOp{Min: 1 + next%900, Max: 4000, Done: func(*ReadOp) { ended <- struct{}{} }}
		var withdrawn atomic.Bool
		cancelled := make(chan struct{})
		go func() {
			defer close(cancelled)
			if next%2 == 0 && from.Cancel(op) {
				withdrawn.Store(true)
				ended <- struct{}{}
			}
		}()
		from.Start(op)
		if next%3 == 0 && from.Cancel(op) {
			withdrawn.Store(true)
			ended <- struct{}{}
		}
		<-ended
		<-cancelled
		if len(ended) > 0 {
			t.Error("a read ended twice")
		}
		if withdrawn.Load() && (op.N > 0 || len(op.Chunks) > 0) {
			t.Error("a withdrawn read has bytes")
		}
		for _, c := range op.Chunks {
			for _, b := range c.Bytes() {
				if b != byte(next) {
					t.Fatalf("byte %d is %d", next, b)
				}
				next++
			}
			c.Release()
		}
		if op.Err == errEOF {
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if next != total {
		t.Errorf("%d bytes arrived, want %d", next, total)
	}
}

// TestCancelThreeWays races one parked read and write against a canceller and a
// completer, many times over.
func TestCancelThreeWays(t *testing.T) {
	r := newRig(t, Fifo, Buf)
	from, to := r.pair()
	for i := range 5000 {
		var reads, writes, openings atomic.Int32
		var got atomic.Int64
		rop := &ReadOp{Min: 1, Max: 10, Done: func(op *ReadOp) {
			reads.Add(1)
			got.Add(int64(op.N))
			for _, c := range op.Chunks {
				c.Release()
			}
		}}
		wop := &WriteOp{Chunks: chunks(r.pool, []byte("0123456789")), Done: func(*WriteOp) { writes.Add(1) }}
		oop := &OpenOp{Write: true, Done: func(*OpenOp) { openings.Add(1) }}
		var wg sync.WaitGroup
		wg.Go(func() {
			from.Start(rop)
			if from.Cancel(rop) {
				reads.Add(1)
			}
		})
		wg.Go(func() { to.Start(wop) })
		wg.Go(func() {
			if err := r.Open(oop); err != nil {
				t.Error(err)
			}
			if oop.Cancel() {
				openings.Add(1)
			}
		})
		wg.Go(func() {
			if i%2 == 0 && to.Cancel(wop) {
				writes.Add(1)
			}
		})
		wg.Wait()
		if wop.N == 10 && got.Load() == 0 {
			r.read(from, 1, 10, noWaitR).is(t, []byte("0123456789"), nil)
			got.Add(10)
		}
		if reads.Load() != 1 || writes.Load() != 1 || openings.Load() != 1 {
			t.Fatalf("round %d: read ended %d times, write %d, open %d", i, reads.Load(), writes.Load(), openings.Load())
		}
		if got.Load() != int64(wop.N) {
			t.Fatalf("round %d: wrote %d, read %d", i, wop.N, got.Load())
		}
		oop.Writer.Close()
	}
}

// TestCancelOpenRaces: an open against its partner and its canceller; whoever
// wins, the pipe is left without ends and not spent by half a pair.
func TestCancelOpenRaces(t *testing.T) {
	pool := &Pool{}
	for i := range 3000 {
		r := New(Config{Pool: pool})
		var ends atomic.Int32
		op := &OpenOp{Read: true}
		op.Done = func(*OpenOp) { ends.Add(1) }
		partner := &OpenOp{Write: true, NonBlock: true, Done: func(*OpenOp) {}}
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.Open(op) })
		wg.Go(func() {
			if op.Cancel() {
				ends.Add(1)
			}
		})
		wg.Go(func() { _ = r.Open(partner) })
		wg.Wait()
		if op.Cancel() {
			ends.Add(1)
		}
		if ends.Load() != 1 {
			t.Fatalf("round %d: ended %d times", i, ends.Load())
		}
		if partner.Err != nil && !errors.Is(partner.Err, ErrNoReader) {
			t.Fatal(partner.Err)
		}
		r.Close(op.Reader, partner.Writer, nil)
		if open, _ := r.Busy(); open {
			t.Fatal("an end is left")
		}
	}
}

// TestConservation: 8 writers of whole records and 8 readers; every record
// arrives at exactly one reader (all of a writer's at each in Fanout), whole, and
// a writer's in order.
func TestConservation(t *testing.T) {
	const ends, records, size = 8, 400, 64
	for _, mode := range []Mode{Fifo, Fanout} {
		t.Run(mode.String(), func(t *testing.T) {
			r := newRig(t, mode, 8192)
			var readers []*Reader
			var writers []*Writer
			for range ends {
				readers = append(readers, r.reader())
			}
			for range ends {
				writers = append(writers, r.writer())
			}
			var wg sync.WaitGroup
			for id, w := range writers {
				wg.Go(func() {
					defer w.Close()
					for i := range records {
						b := make([]byte, size)
						for j := 0; j < size; j += 8 {
							binary.BigEndian.PutUint64(b[j:], uint64(id)<<32|uint64(i))
						}
						if n, err := w.Write(t.Context(), b); n != size || err != nil {
							t.Error(n, err)
							return
						}
					}
				})
			}
			got := make([][]uint64, ends)
			for id, from := range readers {
				wg.Go(func() {
					for {
						cs, err := from.Read(t.Context(), size, size)
						if err != nil {
							if err != errEOF {
								t.Error(err)
							}
							return
						}
						var b []byte
						for _, c := range cs {
							b = append(b, c.Bytes()...)
							c.Release()
						}
						first := binary.BigEndian.Uint64(b)
						for j := 8; j < len(b); j += 8 {
							if binary.BigEndian.Uint64(b[j:]) != first {
								t.Error("a torn record")
							}
						}
						got[id] = append(got[id], first)
					}
				})
			}
			wg.Wait()
			seen := map[uint64]int{}
			for _, list := range got {
				last := map[uint64]uint64{}
				for _, x := range list {
					seen[x]++
					if before, ok := last[x>>32]; ok && x <= before {
						t.Error("a writer's records out of order")
					}
					last[x>>32] = x
				}
			}
			want := 1
			if mode == Fanout {
				want = ends
			}
			for x, n := range seen {
				if n != want {
					t.Errorf("record %x arrived %d times, want %d", x, n, want)
				}
			}
			if len(seen) != ends*records {
				t.Errorf("%d records arrived, want %d", len(seen), ends*records)
			}
		})
	}
}

// TestNoGoroutines: waiting costs no goroutine.
func TestNoGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	r := newRig(t, Fifo, Buf)
	from, _ := r.pair()
	for range 50 {
		r.read(from, Buf, Buf)
	}
	r = newRig(t, Fifo, Buf)
	_, to := r.pair()
	for range 50 {
		r.write(to, pattern(1, Buf))
	}
	r = newRig(t, Fifo, Buf)
	for range 50 {
		_, _ = r.start(rd)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d with 150 operations waiting", before, after)
	}
}
