// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"log/slog"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// clock is a hybrid logical clock: it shows the wall's time or more, never goes
// back, and is ahead of every stamp it has seen. Not for concurrent use.
type clock struct {
	node    string
	wall    func() time.Time
	maxSkew time.Duration
	log     *slog.Logger

	last   int64
	warned map[string]time.Time // by node: when its clock was last complained about
}

// warnAgain is how long a node's clock is not complained about again.
const warnAgain = 10 * time.Minute

// now returns a stamp later than all that were given or seen before.
func (c *clock) now() peer.Stamp {
	c.last = min(max(c.wall().UnixNano(), c.last+1), peer.MaxTime)
	return peer.Stamp{Time: c.last, Node: c.node}
}

// see moves the clock to a peer's stamp.
func (c *clock) see(s peer.Stamp) {
	if s.Time <= c.last {
		return
	}
	wall := c.wall()
	if ahead := time.Duration(s.Time - wall.UnixNano()); ahead > c.maxSkew && s.Node != c.node {
		if at, ok := c.warned[s.Node]; !ok || wall.Sub(at) > warnAgain {
			c.warned[s.Node] = wall
			c.log.Warn("a name was changed in the future: the clock of that host or of this one is wrong; set it right, or its changes win over others made at the same time",
				"peer", s.Node, "ahead", ahead.Round(time.Second))
		}
	}
	c.last = s.Time
}
