// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"context"
	"errors"
	"io/fs"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

var (
	// ErrBrokerName: a broker cannot have that name.
	ErrBrokerName = errors.New("not a broker's name: want 1 to 64 letters, digits, dots, dashes and underscores, the first no dot or dash")
	// ErrNameTaken: a broker of that name is running.
	ErrNameTaken = errors.New("a broker of that name is running")
	// ErrNoBroker: no broker of that name is running on this host.
	ErrNoBroker = errors.New("no such broker is running")
	// ErrLost: the broker ended or broke off during the request.
	ErrLost = errors.New("the broker has gone")
	// ErrRequest: the broker does not understand the request.
	ErrRequest = errors.New("bad request")
)

// codes are the errors that are the same on both sides of the socket. A code
// never changes its meaning.
var codes = [...]struct {
	code string
	err  error
}{
	{"not_exist", fs.ErrNotExist},
	{"exist", fs.ErrExist},
	{"permission", fs.ErrPermission},
	{"name", broker.ErrName},
	{"too_long", broker.ErrTooLong},
	{"not_dir", broker.ErrNotDir},
	{"is_dir", broker.ErrIsDir},
	{"not_empty", broker.ErrNotEmpty},
	{"open", broker.ErrOpen},
	{"mode", pipe.ErrMode},
	{"timeout", context.DeadlineExceeded}, // another host is silent
	{"request", ErrRequest},
	{"ending", ErrLost},
}

// wireError is an error as the socket carries it.
type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func toWire(err error) wireError {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return wireError{c.code, err.Error()}
		}
	}
	return wireError{"other", err.Error()}
}

// Error and Unwrap make a received wireError the error that was sent.
func (e *wireError) Error() string { return e.Message }

func (e *wireError) Unwrap() error {
	for _, c := range codes {
		if c.code == e.Code {
			return c.err
		}
	}
	return nil
}
