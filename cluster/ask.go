// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"fmt"

	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Told is what a broker answered to a question.
type Told struct {
	From peer.ID
	Text []byte // nil if Err is not
	Err  error
}

// AskAll puts a question to every other live broker and waits for the answers,
// in no order. One that has not answered when ctx ends has its cause as Err. The
// error is the context's, when the question could not even be put.
func (c *Cluster) AskAll(ctx context.Context, question string) ([]Told, error) {
	var asked []peer.ID
	answers := make(chan Told)
	over := make(chan struct{}) // nobody takes answers any more
	defer close(over)
	err := c.do(ctx, func() {
		for _, id := range c.live {
			if id == c.cfg.Self {
				continue
			}
			asked = append(asked, id)
			c.ask(id, &peer.Message{Kind: peer.Ask, Text: []byte(question)}, func(m *peer.Message, err error) {
				t := Told{From: id, Err: err}
				if err == nil {
					t.Text = m.Text
				}
				c.running.Go(func() {
					select {
					case answers <- t:
					case <-over:
					}
				})
			})
		}
	})
	if err != nil {
		return nil, err
	}
	waiting := make(map[peer.ID]bool)
	for _, id := range asked {
		waiting[id] = true
	}
	var all []Told
	for len(waiting) > 0 {
		select {
		case t := <-answers:
			delete(waiting, t.From)
			all = append(all, t)
		case <-ctx.Done():
			for id := range waiting {
				all = append(all, Told{From: id, Err: fmt.Errorf("%v: %w", id, context.Cause(ctx))})
			}
			return all, nil
		}
	}
	return all, nil
}

// serveAsk answers a question, on a goroutine of its own if that may take a while.
func (c *Cluster) serveAsk(from peer.ID, m *peer.Message) {
	req, question := m.Req, string(m.Text)
	switch question {
	case askFence:
		c.send(from, &peer.Message{Kind: peer.Told, Req: req})
	case askLook, askStir:
		c.running.Go(func() { c.serveLook(from, req, question) })
	default:
		c.running.Go(func() {
			text := c.cfg.Tell(question)
			c.events.post(func() { c.send(from, &peer.Message{Kind: peer.Told, Req: req, Text: text}) })
		})
	}
}

// Peers returns what is known of the links to the other live brokers.
func (c *Cluster) Peers() []link.PeerStat { return c.links.Stats() }
