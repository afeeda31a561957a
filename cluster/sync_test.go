// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// sync must not wait as long as any test does.
func (h *host) sync() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.cluster.Sync(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// After Sync what was done on one host is so on the others, whoever called it.
func TestSync(t *testing.T) {
	r := newRig(t, 3)
	a, b := r.hosts[0], r.hosts[1]
	r.net.SetAll(link5ms())
	for _, caller := range r.hosts {
		rd := a.start("p", readNow).ok()
		waiting := b.start("p", writing)
		caller.sync()
		wr := waiting.ok()
		ready := func(want pipe.Ready) {
			t.Helper()
			caller.sync()
			if got := rd.Reader.Ready(nil); got != want {
				t.Errorf("called on %v: the reader is %b, want %b", caller.id, got, want)
			}
		}
		ready(0)
		wr.writes("hello")
		ready(pipe.Readable)
		rd.reads("hello")
		caller.sync()
		if n := wr.Writer.Pipe().Stat().Buffered; n != 0 {
			t.Errorf("called on %v: the writer's pipe holds %d bytes that were read", caller.id, n)
		}
		wr.writes("the end")
		wr.close()
		ready(pipe.Readable | pipe.Hangup)
		rd.close()
		caller.sync()
		if !a.idle() || !b.idle() {
			t.Errorf("called on %v: something is left", caller.id)
		}
	}
}

// A wait for hosts that do not answer ends by the context.
func TestSyncEnds(t *testing.T) {
	r := newRig(t, 2)
	r.hosts[0].sync()
	r.net.Cut("h1", "h2", true)
	gaveUp := errors.New("gave up")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, gaveUp)
	defer cancel()
	if err := r.hosts[0].cluster.Sync(ctx); !errors.Is(err, gaveUp) {
		t.Errorf("with a cut link: %v", err)
	}
	// The session with the other is lost in the end.
	if err := r.hosts[1].cluster.Sync(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("with a host that is lost: %v", err)
	}
}
