// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// A reader that does not read keeps nothing from one that does.
func TestIdleReaderElsewhere(t *testing.T) {
	r := newRig(t, 3)
	a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
	idle := a.start("p", readNow).ok()
	wr := b.start("p", writeNow).ok()
	wr.writes("sent ahead")
	r.eventually("arrived", func() bool { return idle.Reader.Ready(nil) != 0 })
	rd := c.start("p", readNow).ok()
	rd.reads("sent ahead")
	for i := range 100 {
		s := fmt.Sprintf("line %02d\n", i)
		wr.writes(s)
		rd.reads(s)
	}
	wr.writes("the end")
	wr.close()
	rd.reads("the end")
	rd.readsErr(io.EOF)
	idle.readsErr(io.EOF)
	rd.close()
	idle.close()
	r.eventually("nothing is left", func() bool { return a.idle() && b.idle() && c.idle() })
}

// The same with the reading one on the writer's own host.
func TestIdleReaderThere(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	idle := a.start("p", readNow).ok()
	wr := b.start("p", writeNow).ok()
	wr.writes("sent ahead")
	r.eventually("arrived", func() bool { return idle.Reader.Ready(nil) != 0 })
	rd := b.start("p", readNow).ok()
	rd.reads("sent ahead")
	wr.writes("more")
	rd.reads("more")
	wr.close()
	rd.readsErr(io.EOF)
}

// Who polls is told, also when the bytes are elsewhere.
func TestPollElsewhere(t *testing.T) {
	r := newRig(t, 3)
	a, b, c := r.hosts[0], r.hosts[1], r.hosts[2]
	idle := a.start("p", readNow).ok()
	wr := b.start("p", writeNow).ok()
	wr.writes("sent ahead")
	r.eventually("arrived", func() bool { return idle.Reader.Ready(nil) != 0 })
	rd := c.start("p", readNow).ok()
	told := make(chan struct{})
	if s := rd.Reader.Ready(func() { close(told) }); s != 0 {
		<-told
	}
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("a reader that polls is not told of bytes that lie with one that does not read")
	}
	rd.reads("sent ahead")
}

// Each line that writers on all hosts write goes to one reader, whole.
func TestManyToMany(t *testing.T) {
	const lines, writers = 400, 2
	r := newRig(t, 3)
	var rds, wrs []*opening
	for _, h := range r.hosts {
		for range 2 {
			rds = append(rds, h.start("p", readNow).ok())
		}
	}
	for _, h := range r.hosts {
		for range writers {
			wrs = append(wrs, h.start("p", writeNow).ok())
		}
	}
	var mu sync.Mutex
	got := make(map[string]int)
	var reading, writing sync.WaitGroup
	for _, rd := range rds {
		reading.Go(func() {
			for {
				// Reads of whole lines find whole lines: each is of 17 bytes.
				b, err := rd.read(1, 170)
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				for l := range strings.Lines(string(b)) {
					got[l]++
				}
				mu.Unlock()
			}
		})
	}
	for i, wr := range wrs {
		writing.Go(func() {
			for n := range lines {
				if err := wr.write(fmt.Sprintf("%02d line %08d\n", i, n)); err != nil {
					t.Error(err)
				}
			}
			wr.close()
		})
	}
	writing.Wait()
	reading.Wait()
	if len(got) != lines*len(wrs) {
		t.Errorf("%d different lines arrived, want %d", len(got), lines*len(wrs))
	}
	for l, n := range got {
		if n != 1 || len(l) != 17 {
			t.Errorf("%q arrived %d times", l, n)
			break
		}
	}
	for _, rd := range rds {
		rd.close()
	}
	r.eventually("nothing is left", func() bool {
		return r.hosts[0].idle() && r.hosts[1].idle() && r.hosts[2].idle()
	})
}

// Each of several readers on several hosts sees what a writer wrote in its order, as
// it would in a FIFO, also while readers come and go.
func TestOrderAmongReaders(t *testing.T) {
	const lines = 3000
	r := newRig(t, 3)
	var keepers, rds []*opening
	for _, h := range r.hosts {
		keepers = append(keepers, h.start("p", readNow).ok())
		rds = append(rds, h.start("p", readNow).ok())
	}
	wr := r.hosts[1].start("p", writeNow).ok()
	var reading sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for i, rd := range rds {
		reading.Go(func() {
			last, rounds := -1, 0
			for {
				b, err := rd.read(1, 9*(1+rounds%7))
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					rd.close()
					return
				}
				for l := range strings.Lines(string(b)) {
					var n int
					if _, err := fmt.Sscanf(l, "%08d\n", &n); err != nil || n <= last {
						t.Errorf("reader %d: %q after %d: %v", i, l, last, err)
						return
					}
					last = n
					mu.Lock()
					total++
					mu.Unlock()
				}
				if rounds++; rounds%50 == 0 {
					next := rd.h.start("p", readNow).ok()
					rd.close()
					rd = next
				}
			}
		})
	}
	for n := range lines {
		wr.writes(fmt.Sprintf("%08d\n", n))
	}
	wr.close()
	reading.Wait()
	if total != lines {
		t.Errorf("%d lines arrived of %d", total, lines)
	}
	for _, k := range keepers {
		k.close()
	}
}

// Readers that come and go where the writer is see what is written in its order, past
// one elsewhere that does not read.
func TestReadersComeAndGo(t *testing.T) {
	r := newRig(t, 2)
	for i, h := range r.hosts {
		a, b := r.hosts[1-i], h
		name := fmt.Sprint("p", i)
		idle, wr := a.start(name, readNow).ok(), b.start(name, writeNow).ok()
		const size, rounds, block = 4 << 20, 200, 4096
		want := make([]byte, size)
		for i := range size / 4 {
			binary.BigEndian.PutUint32(want[4*i:], uint32(i))
		}
		written := make(chan error, 1)
		go func() { written <- wr.write(string(want)) }()
		at := 0
		follows := func(got []byte, err error) {
			t.Helper()
			if err != nil || !bytes.Equal(got, want[at:at+len(got)]) {
				t.Fatalf("%v: %d bytes at %d, which begin with those at %d: %v", b.id, len(got), at, 4*binary.BigEndian.Uint32(got), err)
			}
			at += len(got)
		}
		for range rounds {
			rd := b.start(name, reading).ok()
			follows(rd.read(1, block))
			rd.close()
		}
		for at < size {
			follows(idle.read(1, size))
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		idle.close()
		wr.close()
	}
	r.allIdle()
}
