// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"fmt"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// MaxAnswer bounds the answer to a question in bytes. A message that is too long for a
// link would cost the session, so a longer answer is not sent: the asker gets ErrUntold.
const MaxAnswer = link.DefaultMaxMessage / 2

// told is what a broker answered to a question.
type told struct {
	from peer.ID
	text []byte // nil if err is not
	err  error
}

func toldBy(id peer.ID, m *peer.Message, err error) told {
	switch {
	case err != nil:
		return told{from: id, err: err}
	case m.Status != peer.OK:
		return told{from: id, err: fmt.Errorf("%v: %w", id, ErrUntold)}
	}
	return told{from: id, text: m.Text}
}

// Ask puts a question to another broker and waits for the answer: see Config.Tell.
//
// Errors: ErrDown, ErrLost, ErrUntold; the context's cause; pipe.ErrClosed after Close.
func (c *Cluster) Ask(ctx context.Context, to peer.ID, question string) ([]byte, error) {
	answer := make(chan told, 1)
	err := c.do(ctx, func() {
		c.ask(to, &peer.Message{Kind: peer.Ask, Text: []byte(question)}, func(m *peer.Message, err error) {
			answer <- toldBy(to, m, err)
		})
	})
	if err != nil {
		return nil, err
	}
	select {
	case t := <-answer:
		return t.text, t.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%v: %w", to, context.Cause(ctx))
	case <-c.life.Done():
		return nil, pipe.ErrClosed
	}
}

// askAll puts a question to every other live broker and waits for the answers,
// in no order. One that has not answered when ctx ends has its cause as err. The
// error is the context's, when the question could not even be put.
func (c *Cluster) askAll(ctx context.Context, question string) ([]told, error) {
	var asked []peer.ID
	answers := make(chan told)
	over := make(chan struct{}) // nobody takes answers any more
	defer close(over)
	err := c.do(ctx, func() {
		for _, id := range c.live {
			if id == c.cfg.Self {
				continue
			}
			asked = append(asked, id)
			c.ask(id, &peer.Message{Kind: peer.Ask, Text: []byte(question)}, func(m *peer.Message, err error) {
				t := toldBy(id, m, err)
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
	var all []told
	for len(waiting) > 0 {
		select {
		case t := <-answers:
			delete(waiting, t.from)
			all = append(all, t)
		case <-ctx.Done():
			for id := range waiting {
				all = append(all, told{from: id, err: fmt.Errorf("%v: %w", id, context.Cause(ctx))})
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
			answer := c.answer(from, question)
			answer.Req = req
			c.events.post(func() { c.send(from, answer) })
		})
	}
}

func (c *Cluster) answer(from peer.ID, question string) *peer.Message {
	text := c.cfg.Tell(question)
	switch {
	case text == nil:
		c.log.Warn("question not understood", "peer", from, "question", question)
		return &peer.Message{Kind: peer.Told, Status: peer.Unknown}
	case len(text) > MaxAnswer:
		c.log.Warn("answer too long", "peer", from, "question", question, "size", len(text), "most", MaxAnswer)
		return &peer.Message{Kind: peer.Told, Status: peer.Unknown}
	}
	return &peer.Message{Kind: peer.Told, Text: text}
}

// Peers returns what is known of the links to the other live brokers.
func (c *Cluster) Peers() []link.PeerStat { return c.links.Stats() }
