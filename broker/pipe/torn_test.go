// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"bytes"
	"io"
	"testing"
)

// TestFedTogether: a short write may lie across two chunks of a Feed; a read that
// ends between them lets nothing else into it.
func TestFedTogether(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	far, err := r.AttachWriter(Info{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte{'f'}, SegmentSize+1000)
	far.Feed(chunks(r.pool, data))
	r.write(to, []byte("near"))
	r.read(from, 1, 4).is(t, []byte("near"), nil)
	r.read(from, 1, SegmentSize).is(t, data[:SegmentSize], nil)
	r.write(to, []byte("near"))
	r.read(from, 1, 500).is(t, data[:500], nil)
	r.read(from, 500, 500).is(t, data[:500], nil)
	r.read(from, 1, 4).is(t, []byte("near"), nil)
	far.Close()
}

// TestWrittenTogether: so may one of this host that came in several chunks, the first
// of which is what a read waits for.
func TestWrittenTogether(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from, to := r.pair()
	far, err := r.AttachWriter(Info{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := r.read(from, 1, 1000)
	r.write(to, bytes.Repeat([]byte{'n'}, 3000), func(op *WriteOp) {
		for _, c := range op.Chunks {
			c.Release()
		}
		op.Chunks = chunksOf(r.pool, bytes.Repeat([]byte{'n'}, 3000), 1000)
	})
	far.Feed(chunks(r.pool, []byte("far")))
	first.is(t, bytes.Repeat([]byte{'n'}, 1000), nil)
	r.read(from, 2000, 2000).is(t, bytes.Repeat([]byte{'n'}, 2000), nil)
	r.read(from, 3, 3).is(t, []byte("far"), nil)
	far.Close()
}

// TestPruneKeepsTheTurn: a queue that goes does not give the turn of another, from
// which half a write was taken, to a third.
func TestPruneKeepsTheTurn(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from := r.reader()
	var far []*Writer
	for _, host := range []string{"a", "b", "c"} {
		w, err := r.AttachWriter(Info{Host: host}, nil)
		if err != nil {
			t.Fatal(err)
		}
		far = append(far, w)
	}
	far[0].Feed(chunks(r.pool, []byte("1")))
	r.read(from, 1, 1).is(t, []byte("1"), nil)
	far[1].Feed(chunks(r.pool, []byte("whole")))
	far[2].Feed(chunks(r.pool, []byte("other")))
	r.read(from, 1, 2).is(t, []byte("wh"), nil)
	far[0].Close()
	r.read(from, 1, 3).is(t, []byte("ole"), nil)
	r.read(from, 1, 9).is(t, []byte("other"), nil)
	far[1].Close()
	far[2].Close()
}

// TestWritersOfAHostInTurn: what writers of another host wrote one after the other is
// read in that order.
func TestWritersOfAHostInTurn(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from := r.reader()
	for i, s := range []string{"one ", "", "two ", "three "} {
		w, err := r.AttachWriter(Info{Host: "a"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s != "" {
			w.Feed(chunks(r.pool, []byte(s)))
		}
		if i == 0 {
			r.read(from, 1, 1).is(t, []byte("o"), nil)
		}
		w.Close()
	}
	r.read(from, 7, 7).is(t, []byte("ne two "), nil)
	r.read(from, 1, 99).is(t, []byte("three "), nil)
	r.read(from, 1, 1).is(t, nil, io.EOF)
}

// TestVanishedIsNotRead: what a writer elsewhere left, and the last reader here left
// unread, is not counted as read.
func TestVanishedIsNotRead(t *testing.T) {
	r := newRig(t, Fifo, 0)
	from := r.reader()
	far, err := r.AttachWriter(Info{Host: "a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	far.Feed(chunks(r.pool, []byte("read and not")))
	r.read(from, 1, 4).is(t, []byte("read"), nil)
	far.Close()
	from.Close()
	if fed, unread, _ := far.Fed(); fed != 4 || unread != 0 {
		t.Errorf("fed %d, unread %d", fed, unread)
	}
}
