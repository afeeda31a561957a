// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// loseBehind has a broker lose its session with another, and a new one begin, while it
// is busy: what meanwhile has it do comes before it knows.
func (h *host) loseBehind(o *host, meanwhile func()) {
	h.t.Helper()
	busy, free := make(chan struct{}), make(chan struct{})
	h.cluster.events.post(func() { close(busy); <-free })
	<-busy
	lost := func(h, o *host) (n uint64) {
		for _, s := range h.links.Stats() {
			if s.ID == o.id {
				n = s.Lost
			}
		}
		return n
	}
	meanwhile()
	h.net.Cut(h.id.Node, o.id.Node, true)
	h.eventually("the session is lost", func() bool { return lost(h, o) > 0 && lost(o, h) > 0 })
	h.net.Cut(h.id.Node, o.id.Node, false)
	close(free)
}

// A broker asks for a stream before it knows that the session with the writer's broker
// was lost: the next session carries that, and no stream is left for which nobody reads.
func TestSubscribedInTheNextSession(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.hosts[0], r.hosts[1]
	name := r.homed("fifo", a)
	wr := b.start(name, writing)
	r.eventually("the home knows", func() bool { return a.registrations(name) == 1 })
	a.node(name, pipe.Fifo)
	var rd *opening
	a.loseBehind(b, func() { rd = a.start(name, reading) })
	rd.ok()
	wr.ok()
	r.eventually("they have met again", func() bool { return wr.write("hello") == nil })
	rd.reads("hello")
	rd.close()
	r.eventually("EPIPE", func() bool { return wr.write("x") == pipe.ErrBroken })
	wr.close()
	r.allIdle()
}

// So it is with a registration that is not wanted any more.
func TestRegisteredInTheNextSession(t *testing.T) {
	r := newRig(t, 2)
	a, home := r.hosts[0], r.hosts[1]
	name := r.homed("exclusive", home)
	a.node(name, pipe.Exclusive)
	a.sync()
	var old *opening
	a.loseBehind(home, func() {
		old = a.start(name, readNow)
		a.cluster.Retire(name)
		home.cluster.Retire(name)
	})
	old.ok()
	a.sync()
	home.start(name, readNow).ok().close()
	old.close()
	r.allIdle()
}
