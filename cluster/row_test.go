// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"fmt"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// A writer's bytes, and its end, do not wait for others that open after it.
func TestWritersInARow(t *testing.T) {
	for _, mode := range []string{"fifo", "fanout"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, 3)
			a, b, home := r.hosts[0], r.hosts[1], r.hosts[2]
			name := r.homed(mode, home)
			r.net.SetAll(link5ms())
			rd := a.start(name, readNow).ok()
			keeper := a.start(name, writeNow).ok() // no end of file between
			b.start(name, writeNow).ok().close()   // its name is there before they race
			const loops, rounds = 3, 30
			over := make(chan error, loops)
			for i := range loops {
				go func() {
					var err error
					for n := range rounds {
						if err != nil {
							break
						}
						wr := b.start(name, writing)
						<-wr.over
						if err = wr.Err; err == nil {
							err = wr.write(fmt.Sprintf("%d %02d\n", i, n))
							wr.close()
						}
					}
					over <- err
				}()
			}
			most := 0
			for left := 5 * loops * rounds; left > 0; {
				got, err := rd.read(1, left)
				if left -= len(got); err != nil {
					t.Fatalf("%d bytes are missing: %v", left, err)
				}
				_ = b.cluster.do(t.Context(), func() { most = max(most, len(b.cluster.outs)) })
			}
			for range loops {
				if err := <-over; err != nil {
					t.Error(err)
				}
			}
			if most > 4*loops {
				t.Errorf("%d streams at once", most)
			}
			keeper.close()
			rd.close()
			r.allIdle()
		})
	}
}

// What writers that come one after the other leave for a reader elsewhere is bounded as
// what one writes.
func TestFullPipeOfManyWriters(t *testing.T) {
	for _, mode := range []string{"fifo", "fanout"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, 2)
			a, b := r.hosts[0], r.hosts[1]
			name := r.homed(mode, b)
			rd := a.start(name, readNow).ok()
			n := 0
			for range 40 {
				wr := b.start(name, writing).ok()
				op := &pipe.WriteOp{NonBlock: true, Chunks: []pipe.Chunk{pipe.ChunkOf(pattern(60000))}, Done: func(*pipe.WriteOp) {}}
				wr.Writer.Start(op)
				n += op.N
				wr.close()
			}
			if n != pipe.DefaultCapacity {
				t.Errorf("%d bytes went into a pipe whose reader is elsewhere, want %d", n, pipe.DefaultCapacity)
			}
			wr := b.start(name, writing).ok()
			if _, err := rd.read(n, n); err != nil {
				t.Error(err)
			}
			wr.writes("more")
			rd.reads("more")
			rd.close()
			wr.close()
			r.allIdle()
		})
	}
}
