// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import "github.com/zpipesfs/zpipesfs/wire/zpipes"

// makeRoom keeps the requests of all clients within MaxTotal bytes: who holds
// most of them is the one that is flooded.
func (l *loop) makeRoom(cost int) {
	for l.stats.queued.Load()+int64(cost) > int64(l.cfg.MaxTotal) {
		var most *client
		for _, c := range l.clients {
			if most == nil || c.held() > most.held() {
				most = c
			}
		}
		if most == nil || most.held() == 0 {
			return
		}
		most.evict()
	}
}

// held is how many bytes of requests the client has unanswered.
func (c *client) held() int {
	if c.busy {
		return c.waiting.bytes + c.doing.cost
	}
	return c.waiting.bytes
}

// evict takes the memory of a client's requests and closes its end: they fail in
// their turn.
func (c *client) evict() {
	l := c.loop
	l.stats.flooded.Add(1)
	l.log.Warn("closed a ZPIPES client's end: it holds the most of too many unanswered requests", c.attributes()...)
	l.stats.queued.Add(-int64(c.held()))
	c.doing.cost, c.waiting.bytes = 0, 0
	for i := range c.waiting.items[c.waiting.head:] {
		r := &c.waiting.items[c.waiting.head+i]
		r.cost, r.chunk, r.evicted = 0, nil, r.id == zpipes.Write
	}
	c.push(request{flood: true})
}
