// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

import (
	"errors"
	"fmt"
)

// What can be wrong with a frame or a message; errors.Is finds them in the
// *FieldError that every function of this package returns.
var (
	ErrSignature = errors.New("zpipes: not a ZPIPES frame")
	ErrID        = errors.New("zpipes: wrong message id")
	ErrTruncated = errors.New("zpipes: frame too short")
	ErrTrailing  = errors.New("zpipes: octets after the message")
	ErrName      = errors.New("zpipes: pipe name empty or too long")
	ErrReason    = errors.New("zpipes: reason too long")
	ErrChunk     = errors.New("zpipes: chunk too large")
)

// FieldError says which field of which message is wrong, and by how much. Its
// text holds numbers and the grammar's words, and nothing of the frame's data.
type FieldError struct {
	ID    ID     // the message, or 0 if none is named
	Field string // signature, id, pipename, reason, size, timeout, chunk or end
	Err   error  // one of the sentinel errors above

	// Got is what was found: the value of a signature or id; for ErrTruncated
	// and ErrTrailing the octets left in the frame; else the field's length.
	Got int64
	// Want is what was due: the octets that the field needs (ErrTruncated), or
	// the most that it may have (ErrName, ErrReason, ErrChunk); else 0.
	Want int64
}

// Error returns, for example, "READ: timeout: 2 octets left, 4 needed".
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
		if e.ID.valid() {
			return "the message has no chunk"
		}
		return fmt.Sprintf("%d names no message", e.Got)
	case ErrTruncated:
		return fmt.Sprintf("%d octets left, %d needed", e.Got, e.Want)
	case ErrTrailing:
		return fmt.Sprintf("%d octets too many", e.Got)
	case ErrName:
		return fmt.Sprintf("%d octets, 1 to %d allowed", e.Got, e.Want)
	default:
		return fmt.Sprintf("%d octets, %d allowed", e.Got, e.Want)
	}
}

// wrongID is for an octet that names no message and for a message without chunk.
func wrongID(id ID) error {
	e := &FieldError{Field: fieldID, Err: ErrID, Got: int64(id)}
	if id.valid() {
		e.ID = id
	}
	return e
}

func checkName(id ID, n int) error {
	if n < 1 || n > MaxName {
		return &FieldError{ID: id, Field: fieldName, Err: ErrName, Got: int64(n), Want: MaxName}
	}
	return nil
}

func checkReason(id ID, n int) error {
	if n > MaxReason {
		return &FieldError{ID: id, Field: fieldReason, Err: ErrReason, Got: int64(n), Want: MaxReason}
	}
	return nil
}

// checkChunk takes an int64 because a claimed length overflows a 32-bit int.
func (l Limits) checkChunk(id ID, n int64) error {
	if limit := l.maxChunk(); n < 0 || n > limit {
		return &FieldError{ID: id, Field: fieldChunk, Err: ErrChunk, Got: n, Want: limit}
	}
	return nil
}
