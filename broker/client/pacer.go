// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

const (
	// maxBlock is the most that one READ asks for, in bytes.
	maxBlock = 1 << 20
	// stepDown is by what the size falls when that much was not there: each
	// step costs a timeout, and up to stepDown-1 requests to make up for it.
	stepDown = 8
	// steady is how many requests are answered in full before the size doubles
	// again after it fell, and before two are sent ahead.
	steady = 4
)

// pacer chooses how many bytes to ask for. A READ is for exactly n bytes and
// nobody tells how many are there, so a pair of requests is sent: a probe, READ
// 1, which waits as long as it must, and a READ with the shortest timeout for
// the rest of what is expected. A PING between them tells whether the probe had
// to wait: then a burst of bytes has ended, and the next is expected to be as
// long. See DESIGN.md.
type pacer struct {
	size   int  // bytes that the next pair asks for, at least 1
	burst  int  // bytes that came since a probe had to wait
	before int  // the burst before this one
	missed bool // something timed out in this burst
	hold   int  // full answers at once to come before size grows
	row    int  // full answers in a row
}

func newPacer() pacer { return pacer{size: 4096} }

// next is how many bytes to ask for when there is room for so many.
func (p *pacer) next(room int) int { return min(p.size, room, maxBlock) }

// ahead is how many pairs may be under way: two only in a long flow, for the
// second is sent before it is known whether the burst goes on.
func (p *pacer) ahead() int {
	if p.row >= steady && p.size == maxBlock {
		return 2
	}
	return 1
}

// came counts bytes that arrived.
func (p *pacer) came(n int) { p.burst += n }

// waited: the probe found nothing; what came before it was a burst. Its length
// is what to ask for, unless it was made up of pairs with nothing missing: two
// messages may have come so close that they looked like one.
func (p *pacer) waited() {
	if p.burst > 0 {
		if p.missed || p.burst == p.before || p.burst%p.size != 0 {
			p.size = min(p.burst, maxBlock)
		}
		p.before = p.burst
	}
	p.burst, p.missed, p.hold, p.row = 0, false, steady, 0
}

// full: a pair got all that it asked for, at once if its probe did not wait.
func (p *pacer) full(atOnce bool) {
	p.row++
	switch {
	case !atOnce:
	case p.hold > 0:
		p.hold--
	default:
		p.size = min(p.size*2, maxBlock)
	}
}

// short: there was less than the pair asked for.
func (p *pacer) short() {
	p.size = max(p.size/stepDown, 1)
	p.missed, p.hold, p.row = true, steady, 0
}
