// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// processor reports the processor time that all threads use for one operation:
// other than the time that passes it says the same on a busy machine.
func processor(b *testing.B) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	b.Cleanup(func() {
		b.ReportMetric(float64((used()-start).Microseconds())/float64(b.N), "cpu-us/op")
	})
}

// BenchmarkPing is a round trip and nothing else.
func BenchmarkPing(b *testing.B) {
	h := serve(b, nil)
	d := h.dial(b)
	d.silent()
	processor(b)
	for b.Loop() {
		d.silent()
	}
}

// BenchmarkChunks moves chunks through a pipe between two raw sockets, so many
// requests of each outstanding. One outstanding is WRITE, WRITE-OK, READ,
// READ-OK, one after the other.
func BenchmarkChunks(b *testing.B) {
	for _, outstanding := range []int{1, 64} {
		for _, size := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("outstanding=%d/bytes=%d", outstanding, size), func(b *testing.B) {
				h := serve(b, nil)
				r, w := h.openPair(b, "p")
				request, err := zpipes.Limits{}.Append(nil, zpipes.Message{ID: zpipes.Write, Chunk: make([]byte, size)})
				must(b, err)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				processor(b)
				if outstanding == 1 {
					for b.Loop() {
						w.sendFrame(request)
						w.expectID(zpipes.WriteOK)
						r.send(readN(size, 0))
						r.expectID(zpipes.ReadOK)
					}
					return
				}
				b.ResetTimer()
				stream(r, w, request, size, outstanding, b.N)
			})
		}
	}
}

// stream moves n chunks with so many requests outstanding at both ends, each
// driven by a goroutine of its own.
func stream(r, w *dealer, request []byte, size, outstanding, n int) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			w.sendFrame(request)
			if i >= outstanding {
				w.expectID(zpipes.WriteOK)
			}
		}
		for range min(n, outstanding) {
			w.expectID(zpipes.WriteOK)
		}
	}()
	for i := range n {
		r.send(readN(size, 0))
		if i >= outstanding {
			r.expectID(zpipes.ReadOK)
		}
	}
	for range min(n, outstanding) {
		r.expectID(zpipes.ReadOK)
	}
	<-done
}

func (d *dealer) expectID(want zpipes.ID) {
	if got := d.recv(); got.ID != want {
		panic(fmt.Sprintf("got %s, want %v", show(got), want))
	}
}
