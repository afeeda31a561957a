// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
)

// What can be wrong with a frame or a message; errors.Is finds them in the
// *FieldError that every function of this package returns.
var (
	ErrSignature = errors.New("zgossip: not a ZGOSSIP frame")
	ErrID        = errors.New("zgossip: wrong message id")
	ErrVersion   = errors.New("zgossip: wrong version of the protocol")
	ErrTruncated = errors.New("zgossip: frame too short")
	ErrTrailing  = errors.New("zgossip: octets after the message")
	ErrKey       = errors.New("zgossip: key too long")
	ErrValue     = errors.New("zgossip: value too long")
	ErrNUL       = errors.New("zgossip: text has a NUL")
)

// FieldError says which field of which message is wrong, and by how much. Its
// text holds numbers and the protocol's words, and nothing of the frame's data.
type FieldError struct {
	ID    ID     // the message, or 0 if none is named
	Field string // signature, id, version, key, value, ttl or end
	Err   error  // one of the sentinel errors above

	// Got is what was found: the value of a signature, id or version; for
	// ErrTruncated and ErrTrailing the octets left in the frame; for ErrNUL
	// where it stands; else the field's length.
	Got int64
	// Want is what was due: the octets that the field needs (ErrTruncated), or
	// the most that it may have (ErrKey, ErrValue); else 0.
	Want int64
}

// Error returns, for example, "PUBLISH: ttl: 2 octets left, 4 needed".
func (e *FieldError) Error() string {
	message := "frame"
	if e.ID != 0 {
		message = e.ID.String()
	}
	return message + ": " + e.Field + ": " + e.detail()
}

// Unwrap returns the sentinel error.
func (e *FieldError) Unwrap() error { return e.Err }

func (e *FieldError) detail() string {
	switch e.Err {
	case ErrSignature:
		return fmt.Sprintf("%04x, not %04x", e.Got, signature)
	case ErrID:
		return fmt.Sprintf("%d names no message", e.Got)
	case ErrVersion:
		return fmt.Sprintf("%d, not %d", e.Got, version)
	case ErrTruncated:
		return fmt.Sprintf("%d octets left, %d needed", e.Got, e.Want)
	case ErrTrailing:
		return fmt.Sprintf("%d octets too many", e.Got)
	case ErrNUL:
		return fmt.Sprintf("octet %d is NUL, which ends a text", e.Got)
	default:
		return fmt.Sprintf("%d octets, %d allowed", e.Got, e.Want)
	}
}
