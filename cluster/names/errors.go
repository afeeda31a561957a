// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"errors"
	"io/fs"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

var (
	// ErrInUse: another broker has the state directory.
	ErrInUse = errors.New("the state directory is in use by another broker: give each its own --state-dir")
	// ErrState: the state directory cannot be used.
	ErrState = errors.New("state directory")
	// ErrAnswer: another broker has answered what this one does not understand.
	ErrAnswer = errors.New("answer not understood")
	// ErrClosed: the service has been closed.
	ErrClosed = errors.New("the broker is ending")
)

var statusErrors = map[peer.NamesStatus]error{
	peer.NameExists:   fs.ErrExist,
	peer.NameMissing:  fs.ErrNotExist,
	peer.NameOpen:     broker.ErrOpen,
	peer.NameIsDir:    broker.ErrIsDir,
	peer.NameNotDir:   broker.ErrNotDir,
	peer.NameNotEmpty: broker.ErrNotEmpty,
}
