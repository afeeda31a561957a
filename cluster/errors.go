// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import "errors"

var (
	// ErrDown: membership has declared a peer dead, or it has left.
	ErrDown = errors.New("peer is down")
	// ErrLost: the session with a peer ended before it answered.
	ErrLost = errors.New("peer was lost")
	// ErrUntold: a peer does not know the question, or its answer would be too long.
	ErrUntold = errors.New("peer has no answer")
)
