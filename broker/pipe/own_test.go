// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "testing"

func (r *rig) counts(written uint64, buffered int, own uint64, ownBuffered int) {
	r.t.Helper()
	s := r.Stat()
	if s.Written != written || s.Buffered != buffered || s.OwnWritten != own || s.OwnBuffered != ownBuffered {
		r.t.Errorf("written %d, buffered %d, own %d and %d; want %d, %d, %d and %d",
			s.Written, s.Buffered, s.OwnWritten, s.OwnBuffered, written, buffered, own, ownBuffered)
	}
}

// What was written here is told apart from what has come, also while others hold it.
func TestOwnBytes(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	far, err := r.AttachWriter(Info{Host: "a"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	away, err := r.AttachReader(Info{Host: "b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.write(to, pattern(1, 100)).is(t, 100, nil)
	far.Feed(chunks(r.pool, pattern(2, 7)))
	r.counts(107, 107, 100, 100)
	lent, n, _ := away.Lend(nil, 100, SegmentSize, func() {})
	if n != 100 {
		t.Fatalf("lent %d bytes", n)
	}
	r.counts(107, 107, 100, 100)
	away.Settle(60)
	r.counts(107, 47, 100, 40)
	lent[0] = lent[0].After(60)
	away.Return(lent)
	r.counts(107, 47, 100, 40)
	if n := far.Recall(); n != 7 {
		t.Fatalf("recalled %d bytes", n)
	}
	r.counts(100, 40, 100, 40) // else what comes again would count again
	r.read(from, 40, 40).is(t, pattern(1, 100)[60:], nil)
	r.counts(100, 0, 100, 0)
	away.Close()
	far.Close()
}

// In a fanout pipe the slowest reader counts, and all of another host are one.
func TestOwnBytesOfFanout(t *testing.T) {
	r := newRig(t, Fanout, 0)
	voices := [2]Voice{}
	var writers [2]*opened
	var away [2]*Reader
	near := r.reader()
	for i := range writers {
		o := &opened{OpenOp: OpenOp{Write: true, Voice: &voices[i]}}
		o.Done = func(*OpenOp) { o.dones++ }
		if err := r.Open(&o.OpenOp); err != nil || o.Err != nil {
			t.Fatal(err, o.Err)
		}
		r.ends = append(r.ends, o)
		writers[i] = o
		var err error
		if away[i], err = r.AttachReader(Info{Host: "b"}, &voices[i]); err != nil {
			t.Fatal(err)
		}
		r.write(o.Writer, pattern(i, 10)).is(t, 10, nil)
	}
	r.counts(20, 20, 20, 20)
	r.read(near, 20, 20).is(t, append(pattern(0, 10), pattern(1, 10)...), nil)
	r.counts(20, 20, 20, 20)
	for i := range away {
		lent, n, _ := away[i].Lend(nil, SegmentSize, SegmentSize, func() {})
		if n != 10 {
			t.Fatalf("lent %d bytes", n)
		}
		r.counts(20, 20-10*i, 20, 20-10*i)
		away[i].Settle(n)
		for _, c := range lent {
			c.Release()
		}
	}
	r.counts(20, 0, 20, 0)
	far, err := r.AttachWriter(Info{Host: "a"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	far.Feed(chunks(r.pool, pattern(3, 5)))
	r.counts(25, 5, 20, 0)
	far.Close()
	for i := range away {
		away[i].Close()
	}
}
