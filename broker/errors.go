// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import "errors"

// Errors of the tree of names. A missing name is fs.ErrNotExist, a taken one
// fs.ErrExist (package io/fs).
var (
	ErrName     = errors.New("not a pipe's name: want 1 to 255 octets and no empty, \".\" or \"..\" component")
	ErrTooLong  = errors.New("name is longer than 255 octets from the root")
	ErrNotDir   = errors.New("not a directory")
	ErrIsDir    = errors.New("is a directory")
	ErrNotEmpty = errors.New("directory is not empty")
	ErrOpen     = errors.New("pipe is open")
	ErrLoop     = errors.New("cannot move a directory into itself")
)
