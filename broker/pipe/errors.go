// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import "errors"

// Errors of the engine. End of data is io.EOF.
var (
	// ErrAgain: the operation would have to wait and was told not to (EAGAIN).
	ErrAgain = errors.New("would block")
	// ErrBroken: the pipe has no reader (EPIPE).
	ErrBroken = errors.New("no reader")
	// ErrNoReader: a writer opened without waiting and there is no reader (ENXIO).
	ErrNoReader = errors.New("nobody has the pipe open for reading")
	// ErrBusy: an exclusive pipe has that end already (EBUSY).
	ErrBusy = errors.New("exclusive pipe: that end is taken")
	// ErrSpent: an exclusive pipe whose pair has parted takes no new ends; the
	// name wants a new Pipe.
	ErrSpent = errors.New("exclusive pipe is spent")
	// ErrClosed: this end, or the whole pipe, was closed under the operation.
	ErrClosed = errors.New("closed")
	// ErrPeerLost: the host of another end died; bytes may be missing (EIO).
	ErrPeerLost = errors.New("the other end's host was lost")
	// ErrMode: a mode's name is not one.
	ErrMode = errors.New("unknown pipe mode")
)
