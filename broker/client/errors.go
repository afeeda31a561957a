// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"errors"
	"fmt"
	"os"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// Errors of this package. The end of a pipe's data is io.EOF.
var (
	// ErrTimeout: the deadline passed. It is os.ErrDeadlineExceeded too.
	ErrTimeout = fmt.Errorf("deadline passed: %w", os.ErrDeadlineExceeded)
	// ErrBrokerGone: the broker does not answer, or the connection to it ended.
	ErrBrokerGone = errors.New("the broker does not answer")
	// ErrClosed: this end was closed.
	ErrClosed = errors.New("this end is closed")
	// ErrRefused: the broker said no. A RefusedError tells why.
	ErrRefused = errors.New("the broker refused")
	// ErrInvalid: the broker holds the request not allowed now; it may have
	// dropped this client for its silence.
	ErrInvalid = errors.New("the broker does not know this end any more")
)

// RefusedError is ErrRefused with what the broker said.
type RefusedError struct {
	Request zpipes.ID // what was refused: Input, Output, Read, Write or Close
	Reason  string    // the broker's; may be empty
}

// Error returns for example "the broker refused the WRITE: no reader".
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("%v the %v", ErrRefused, e.Request)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns ErrRefused.
func (e *RefusedError) Unwrap() error { return ErrRefused }

// verdict is the error that an answer to a request stands for, or nil if it is
// the one that was hoped for.
func verdict(request zpipes.ID, answer zpipes.Message) error {
	switch answer.ID {
	case zpipes.InputOK, zpipes.OutputOK, zpipes.ReadOK, zpipes.WriteOK, zpipes.CloseOK:
		return nil
	case zpipes.ReadTimeout, zpipes.WriteTimeout:
		return ErrTimeout
	case zpipes.InputFailed, zpipes.OutputFailed, zpipes.ReadFailed, zpipes.WriteFailed, zpipes.CloseFailed:
		return &RefusedError{Request: request, Reason: answer.Reason}
	case zpipes.Invalid:
		return fmt.Errorf("%v: %w", request, ErrInvalid)
	}
	return fmt.Errorf("%v answered by %v: %w", request, answer.ID, ErrInvalid)
}
