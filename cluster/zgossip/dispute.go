// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import "time"

const (
	// disputeAfter is for how long others must have contradicted a publisher: what
	// was published before it is told for as long as messages are under way.
	disputeAfter = 5 * time.Second
	// disputeEvery is for how long no other dispute is logged.
	disputeEvery = 5 * time.Second
	// disputeText is how much of a value is logged, in bytes.
	disputeText = 64
)

// dispute says once that another node insists on another value for a key that this
// one insists on. Nothing ends that but one of the two.
func (l *loop) dispute(t *tuple, from *link, other string) {
	if t.claim.ttl == 0 || t.claim.disputed || from.fresh || l.now.Sub(t.flap.first) < disputeAfter || l.now.Before(l.disputes) {
		return
	}
	t.claim.disputed, l.disputes = true, l.now.Add(disputeEvery)
	l.log.Warn("another gossip node publishes a key of this node's with another value, and neither gives in: end one of them, or give it another key",
		"key", t.key, "own", beginning(t.value), "ownBytes", len(t.value), "other", beginning(other), "otherBytes", len(other), "peer", from.name)
}

// beginning is what is logged of a value.
func beginning(value string) string { return value[:min(len(value), disputeText)] }
