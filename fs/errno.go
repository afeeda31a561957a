// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

var errInterrupted = errors.New("interrupted by a signal")

// errno is what a program sees of an error. Nothing outside this package knows
// these numbers.
func errno(err error) syscall.Errno {
	for _, e := range [...]struct {
		err   error
		errno syscall.Errno
	}{
		{pipe.ErrAgain, syscall.EAGAIN},
		{errInterrupted, syscall.EINTR},
		{context.Canceled, syscall.EINTR},
		{context.DeadlineExceeded, syscall.ETIMEDOUT},
		{pipe.ErrBroken, syscall.EPIPE},
		{pipe.ErrNoReader, syscall.ENXIO},
		{pipe.ErrBusy, syscall.EBUSY},
		{pipe.ErrMode, syscall.EINVAL},
		{pipe.ErrClosed, syscall.ENOTCONN},
		{fs.ErrNotExist, syscall.ENOENT},
		{fs.ErrExist, syscall.EEXIST},
		{broker.ErrName, syscall.EINVAL},
		{broker.ErrTooLong, syscall.ENAMETOOLONG},
		{broker.ErrNotDir, syscall.ENOTDIR},
		{broker.ErrIsDir, syscall.EISDIR},
		{broker.ErrNotEmpty, syscall.ENOTEMPTY},
		{broker.ErrOpen, syscall.EBUSY},
		{broker.ErrLoop, syscall.EINVAL},
	} {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	if err == nil {
		return 0
	}
	return syscall.EIO
}
