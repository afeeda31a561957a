// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Questions that the cluster itself answers.
const (
	askFence = "cluster/fence" // nothing: what was sent before the question has come
	askLook  = "cluster/look"  // a look, after a fence between the asked one and all others
	askStir  = "cluster/stir"  // the same, after sending what would be sent soon
)

// look is what a broker knows of what is under way.
type look struct {
	Node  string
	Busy  bool   // it is about to send, or waits for answers
	Moved uint64 // messages sent and received ever, but for questions and answers
}

// Sync returns when what has happened on any host before the call has had all of its
// effects on all others: bytes have gone as far as they may, ends that have opened or
// closed are known wherever they count, room that readers have made is the writers'.
// While programs keep bytes flowing it does not return, but for the context's end.
//
// It looks at all brokers until two looks find the same, and nobody busy. What was on
// its way at the first look had come before the second, for links keep the order and
// each broker has asked each other one meanwhile: so nothing was.
//
// Errors: ErrLost and others of brokers that do not answer; the context's cause.
func (c *Cluster) Sync(ctx context.Context) error {
	var before []look
	for question := askStir; ; question = askLook {
		now, err := c.lookAtAll(ctx, question)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		busy := slices.ContainsFunc(now, func(l look) bool { return l.Busy })
		if !busy && slices.Equal(now, before) {
			return nil
		}
		before = now
	}
}

func (c *Cluster) lookAtAll(ctx context.Context, question string) ([]look, error) {
	own := make(chan look, 1)
	if err := c.do(ctx, func() { own <- c.look(question) }); err != nil {
		return nil, err
	}
	all := []look{<-own}
	answers, err := c.askAll(ctx, question)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	for _, t := range answers {
		if t.err != nil {
			return nil, t.err
		}
		var l look
		if err := json.Unmarshal(t.text, &l); err != nil {
			return nil, fmt.Errorf("%v: %w", t.from, err)
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b look) int { return cmp.Compare(a.Node, b.Node) })
	return all, nil
}

// serveLook answers a look; it runs on a goroutine of its own.
func (c *Cluster) serveLook(from peer.ID, req uint64, question string) {
	_, _ = c.askAll(c.life, askFence) // who does not answer is lost, and the asker will know
	c.events.post(func() {
		text, _ := json.Marshal(c.look(question)) // it has nothing that JSON has not
		c.send(from, &peer.Message{Kind: peer.Told, Req: req, Text: text})
	})
}

// look runs on the core.
func (c *Cluster) look(question string) look {
	if question == askStir {
		c.stir()
	}
	return look{Node: c.cfg.Self.Node, Busy: c.busy(), Moved: c.moved.Load()}
}

// stir has streams look for bytes, and pays what may wait for company: the goroutine
// of a reader or writer whose call has just returned may not have said so yet.
func (c *Cluster) stir() {
	for _, f := range c.ins {
		if f.owes() {
			f.pay()
		}
	}
	for _, o := range c.outs {
		o.wake()
	}
}

func (c *Cluster) busy() bool {
	for _, f := range c.ins {
		if f.owes() {
			return true
		}
	}
	for _, o := range c.outs {
		if o.isAwake() {
			return true
		}
	}
	for _, t := range c.ties {
		if t.round != nil {
			return true
		}
	}
	return false
}

// owes reports that the other broker was not told of all that was consumed.
func (f *inflow) owes() bool {
	w := f.writer.Load()
	if w == nil {
		return false
	}
	fed, unread, _ := w.Fed()
	return f.due.Load() || int64(fed-unread) != f.told.Load()
}

// moves counts a message, sent or received.
func (c *Cluster) moves(k peer.Kind) {
	if k != peer.Ask && k != peer.Told {
		c.moved.Add(1)
	}
}
