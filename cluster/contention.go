// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"cmp"
	"maps"
	"slices"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Where readers on several hosts share a pipe, a byte belongs to whoever reads
// next, as in a FIFO. Bytes that were sent ahead to a host whose readers do not read
// would be missing elsewhere. So while a writing broker has more than one set of
// readers it sends to a host only what the readers there wait for; and if a reader
// waits while nothing is left, it asks for what others have and do not read.

// contend finds out whether several sets of readers want what is written here, and
// tells those elsewhere when that changes.
func (t *tie) contend() {
	readers, _ := t.pipe.Ends()
	sets := 0
	if readers > 0 {
		sets = 1
	}
	for _, o := range t.outs {
		if !o.over() {
			sets++
		}
	}
	contended := t.pipe.Mode() == pipe.Fifo && sets > 1
	if contended != t.contended {
		t.contended = contended
		t.pipe.SetApart(contended)
	}
	for _, o := range t.outs {
		if o.contend(contended) {
			t.c.send(o.to, &peer.Message{Kind: peer.Contend, Stream: o.stream, First: contended})
			o.wake()
		}
	}
	t.watch()
}

// watch has the pipe tell when a reader here waits, if anybody has to know: those
// who write for it elsewhere, or those elsewhere who have bytes that were written
// here.
func (t *tie) watch() {
	wanted := t.contended && len(t.outs) > 0
	for _, f := range t.ins {
		wanted = wanted || f.contended && !f.ended
	}
	switch {
	case !wanted:
	case t.pipe.Watch():
		t.starved()
	default:
		t.sated()
	}
}

// look is for a reader here that begins to wait, or ceases to.
func (t *tie) look() {
	for _, f := range t.ins {
		f.widen()
	}
	t.watch()
}

// sated takes back what was asked for by readers that do not wait any more: else it
// would seem that they read all that they get.
func (t *tie) sated() {
	for _, f := range t.ins {
		if f.contended && f.asked && !f.ended {
			f.asked = false
			t.c.send(f.from, &peer.Message{Kind: peer.Starved, Stream: f.stream})
		}
	}
}

// starved is for a reader here that waits.
func (t *tie) starved() {
	need := uint64(t.pipe.Wanted())
	for _, f := range t.ins {
		if f.contended && !f.asked && !f.ended {
			f.asked = true
			t.c.send(f.from, &peer.Message{Kind: peer.Starved, Stream: f.stream, Need: need})
		}
	}
	if t.contended {
		t.recall(nil)
	}
}

// ask is for readers elsewhere that wait for n bytes; 0: they do not any more.
func (t *tie) ask(o *outflow, n uint64) {
	o.ask(n)
	if n > 0 {
		t.recall(o)
		return
	}
	t.onward()
}

// recall asks all hosts but one for the bytes that nobody reads there. They are older
// than those that are here, so nothing is sent elsewhere before they are back.
func (t *tie) recall(but *outflow) {
	for _, o := range newest(t.outs) {
		if o != but && o.holds() {
			o.recall() // the others when it has answered
			return
		}
	}
}

// onward goes on when bytes are back: more may be wanted.
func (t *tie) onward() {
	for _, o := range t.outs {
		if o.waits() {
			t.recall(o)
		}
	}
	t.watch()
}

// newest returns streams, the one that began last first: the bytes of each go before
// all that is there, so the oldest come back last.
func newest(outs map[outKey]*outflow) []*outflow {
	return slices.SortedFunc(maps.Values(outs), func(a, b *outflow) int { return cmp.Compare(b.number, a.number) })
}
