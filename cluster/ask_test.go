// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"errors"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

func TestAsk(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	r.tell = func(h *host, question string) []byte {
		switch question {
		case "name":
			return []byte(h.id.Node)
		case "nothing":
			return []byte{}
		case "most":
			return make([]byte, MaxAnswer)
		case "too much":
			return make([]byte, MaxAnswer+1)
		}
		return nil
	}
	sessions := func() uint64 { return a.links.Stats()[0].Lost }
	for _, c := range []struct {
		question string
		want     int // bytes
		err      error
	}{
		{"name", 2, nil}, {"nothing", 0, nil}, {"most", MaxAnswer, nil}, {"too much", 0, ErrUntold}, {"what", 0, ErrUntold}, {"name", 2, nil},
	} {
		text, err := a.cluster.Ask(t.Context(), b.id, c.question)
		if len(text) != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %d bytes, %v", c.question, len(text), err)
		}
	}
	if sessions() != 0 {
		t.Error("a question has cost the session")
	}
	if _, err := a.cluster.Ask(t.Context(), peer.ID{Node: "h2", Boot: 7}, "name"); !errors.Is(err, ErrDown) {
		t.Errorf("another life: %v", err)
	}
	r.net.Cut("h1", "h2", true)
	gaveUp := errors.New("gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gaveUp)
	if _, err := a.cluster.Ask(ctx, b.id, "name"); !errors.Is(err, gaveUp) {
		t.Errorf("with no time: %v", err)
	}
	if _, err := a.cluster.Ask(t.Context(), b.id, "name"); !errors.Is(err, ErrLost) {
		t.Errorf("with a cut link: %v", err)
	}
	a.stop()
	if _, err := a.cluster.Ask(t.Context(), b.id, "name"); !errors.Is(err, pipe.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
