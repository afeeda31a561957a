// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import "time"

// farAhead is by how much a stamp may be ahead of this host's clock before that is
// worth a line in the log.
const farAhead = time.Hour

// clock is a hybrid logical clock (Kulkarni et al. 2014) in one number: it follows
// the host's, but never goes back and is never behind a stamp that it has seen. So
// what is decided later has the later stamp, whatever the hosts' clocks show.
type clock struct {
	wall func() int64 // nanoseconds since 1970
	last int64
}

// next returns a stamp later than all before.
func (c *clock) next() int64 {
	c.last = max(c.last+1, c.wall())
	return c.last
}

// see notes another broker's stamp and reports whether it is far ahead.
func (c *clock) see(stamp int64) bool {
	c.last = max(c.last, stamp)
	return stamp-c.wall() > int64(farAhead)
}
