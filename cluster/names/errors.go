// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Errors of the map; those about names are broker's and io/fs's.
var (
	// ErrClosed: the service has been closed.
	ErrClosed = errors.New("the map of names is closed")
	// ErrInUse: another broker has the state directory.
	ErrInUse = errors.New("the state directory is in use by another broker: give each its own")
	// ErrState: the state directory cannot be used.
	ErrState = errors.New("state directory")
	// ErrSilent: the broker that decides about a name does not answer, and has not been
	// found dead so far.
	ErrSilent = errors.New("the name's home does not answer")
	// ErrTooMany: a directory holds more than can move in one step.
	ErrTooMany = errors.New("directory holds too many names to be renamed")
	// ErrRefused: a peer does not understand what is asked of it.
	ErrRefused = errors.New("the name's home refuses the request")

	errLost = errors.New("peer was lost")
)

var codes = [...]struct {
	code peer.NamesCode
	err  error
}{
	{peer.NamesOK, nil},
	{peer.NamesExist, fs.ErrExist},
	{peer.NamesNotExist, fs.ErrNotExist},
	{peer.NamesOpen, broker.ErrOpen},
	{peer.NamesNotEmpty, broker.ErrNotEmpty},
	{peer.NamesIsDir, broker.ErrIsDir},
	{peer.NamesNotDir, broker.ErrNotDir},
	{peer.NamesTooLong, broker.ErrTooLong},
	{peer.NamesTooMany, ErrTooMany},
}

// errorOf returns what an answer's code means.
func errorOf(code peer.NamesCode) error {
	for _, c := range codes {
		if c.code == code {
			return c.err
		}
	}
	return fmt.Errorf("%w (code %d)", ErrRefused, code)
}
