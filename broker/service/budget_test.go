// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"strings"
	"testing"
)

// TestClientsShareMemory: many clients that are each within their bound are not
// together beyond the service's, and who holds most pays.
func TestClientsShareMemory(t *testing.T) {
	const total, size = 8 << 20, 1 << 20
	h := serve(t, func(c *Config) { c.MaxChunk, c.MaxTotal = 2*size, total })
	text := strings.Repeat("x", size)
	modest, greedy := h.dial(t), h.dial(t)
	modest.ask(output("modest"), outputOK)
	modest.send(write(text, 0))
	modest.silent()
	greedy.ask(output("greedy"), outputOK)
	for range 6 {
		greedy.send(write(text, 0))
	}
	greedy.silent()
	if s := h.Stats(); s.Flooded != 0 || s.Queued < 7*size {
		t.Fatalf("within the bound: %+v", s)
	}
	other := h.dial(t)
	other.ask(output("other"), outputOK)
	other.send(write(text, 0))
	other.send(write(text, 0))
	other.silent()
	for range 6 {
		greedy.expect(writeFailed("unanswered"))
	}
	greedy.expect(invalid)
	if s := h.Stats(); s.Flooded != 1 || s.Queued > total {
		t.Fatalf("beyond the bound: %+v", s)
	}
	greedy.ask(output("greedy"), outputOK) // it is still welcome
	for name, w := range map[string]*dealer{"modest": modest, "other": other} {
		r := h.dial(t)
		r.ask(input(name), inputOK)
		r.ask(readN(size, 0), readOK(text))
		w.expect(writeOK)
		r.hangUp()
	}
	for _, d := range []*dealer{modest, greedy, other} {
		d.hangUp()
	}
	eventually(t, "nothing is held", func() bool { s := h.Stats(); return s.Clients == 0 && s.Queued == 0 })
}
