// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// A broker takes leave of the others in this order: Drain, Part, then its pipes are
// closed, Flush, and its membership and links end.

// leaving is how far that has come. The core's alone.
type leaving struct {
	drained chan struct{}  // closed when nothing is left to drain; nil: nobody waits
	parted  bool           // Part was called
	flushed chan []peer.ID // who has streams, when nothing is left to send; nil: nobody waits
}

// Drain waits until other hosts have read what writers that have closed left here.
func (c *Cluster) Drain(ctx context.Context) error {
	drained := make(chan struct{})
	c.events.post(func() {
		c.leaving.drained = drained
		c.checkLeaving()
	})
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Part says that from now on writers here close because their broker ends, whatever
// their programs would have written. So no stream has an End any more: its readers get
// ErrPeerLost when this broker has gone.
func (c *Cluster) Part(ctx context.Context) error {
	return c.do(ctx, func() {
		c.leaving.parted = true
		for _, o := range c.outs {
			o.part()
		}
	})
}

// Flush waits, after Part, until other hosts have what they let be sent of the bytes
// here. The error tells of those that may not have it.
func (c *Cluster) Flush(ctx context.Context) error {
	flushed := make(chan []peer.ID, 1)
	c.events.post(func() {
		c.leaving.flushed = flushed
		c.checkLeaving()
	})
	var to []peer.ID
	select {
	case to = <-flushed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var asking sync.WaitGroup
	errs := make([]error, len(to))
	for i, id := range to {
		asking.Go(func() { _, errs[i] = c.Ask(ctx, id, askFence) })
	}
	asking.Wait()
	return errors.Join(errs...)
}

// checkLeaving tells those who wait for what streams have yet to do.
func (c *Cluster) checkLeaving() {
	drained, flushed := true, true
	peers := make(map[peer.ID]bool)
	for _, o := range c.outs {
		drained = drained && o.t.ends()&peer.Writes != 0
		flushed = flushed && !o.isAwake()
		peers[o.to] = true
	}
	l := &c.leaving
	if drained && l.drained != nil {
		close(l.drained)
		l.drained = nil
	}
	if flushed && l.flushed != nil {
		l.flushed <- slices.Collect(maps.Keys(peers))
		l.flushed = nil
	}
}
