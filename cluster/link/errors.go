// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import "errors"

// Reasons why a session is lost, and other errors. They come wrapped.
var (
	ErrSilent    = errors.New("the peer was silent for the failure timeout")
	ErrReset     = errors.New("the peer has lost the session")
	ErrRestarted = errors.New("the broker was restarted")
	ErrOverflow  = errors.New("too much waits for the peer")
	ErrTooLong   = errors.New("message is too long")
	ErrProtocol  = errors.New("the peer broke the protocol")
	ErrClosed    = errors.New("links are closed")
	ErrConfig    = errors.New("bad configuration of links")
)
