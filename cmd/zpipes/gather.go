// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/zpipesfs/zpipesfs/broker/control"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// teller is a host that tells of its pipes page by page, in the order of their paths.
type teller struct {
	node string // empty: this host
	ask  func(ctx context.Context, question string) ([]byte, error)
	most int           // bytes of a page
	told []clusterPipe // the rest of the last page
	last control.Path  // what comes next is behind it
	more bool
	err  error // it has not told all
}

// errPage is a page that no broker of this version makes.
var errPage = errors.New("pipes that make no sense")

// turn asks for the next page.
func (t *teller) turn(ctx context.Context) {
	text, err := t.ask(ctx, fmt.Sprintf("%s %d %s", askPipes, t.most, t.last))
	var page pipePage[clusterPipe]
	if err == nil {
		err = json.Unmarshal(text, &page)
	}
	if err == nil && page.More && len(page.Pipes) == 0 {
		err = errPage // else it would be asked for ever
	}
	for _, p := range page.Pipes {
		if p.Path <= t.last && err == nil {
			err = errPage
		}
		t.last = p.Path
	}
	if err != nil {
		t.more, t.err = false, err
		return
	}
	t.told, t.more = page.Pipes, page.More
}

// gather merges what hosts tell of the pipes that are open. It holds a page of each,
// and what it returns. One that fails midway has told what it has told.
func gather(ctx context.Context, hosts []*teller) []clusterPipe {
	all := []clusterPipe{}
	for {
		turnPages(ctx, hosts)
		var first *teller // who tells of the next path
		for _, h := range hosts {
			if len(h.told) > 0 && (first == nil || h.told[0].Path < first.told[0].Path) {
				first = h
			}
		}
		if first == nil {
			return all
		}
		path := first.told[0].Path
		merged := clusterPipe{Readers: []pipe.Info{}, Writers: []pipe.Info{}}
		for _, h := range hosts {
			if len(h.told) > 0 && h.told[0].Path == path {
				merged.add(h.told[0])
				h.told = h.told[1:]
			}
		}
		if merged.open() {
			all = append(all, merged)
		}
	}
}

// turnPages sees to it that each host has told of its next pipe, or of all.
func turnPages(ctx context.Context, hosts []*teller) {
	var asking sync.WaitGroup
	for _, h := range hosts {
		if len(h.told) == 0 && h.more {
			asking.Go(func() { h.turn(ctx) })
		}
	}
	asking.Wait()
}
