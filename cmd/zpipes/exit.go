// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/control"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/fs/device"
)

// exitCode is the status that the process ends with. Scripts rely on the
// numbers: they never change their meaning.
type exitCode int

const (
	exitOK       exitCode = 0
	exitFailure  exitCode = 1  // anything that has no number of its own
	exitUsage    exitCode = 2  // the command line is wrong
	exitNoBroker exitCode = 3  // no such broker, or it cannot be reached
	exitMount    exitCode = 4  // cannot mount or unmount
	exitInUse    exitCode = 5  // a broker's name, an endpoint or a pid file is taken
	exitNotFound exitCode = 6  // no such pipe or directory in the broker
	exitRefused  exitCode = 7  // the pipe exists, is busy or open, or permission is denied
	exitTimeout  exitCode = 8  // --timeout has passed
	exitLost     exitCode = 9  // the other end, its host or the broker has gone
	exitOccupied exitCode = 10 // something else is mounted on the mount point
)

const exitCodeHelp = `Exit status:
   0  done
   1  a failure that is not below
   2  the command line is wrong
   3  no such broker, or it cannot be reached
   4  cannot mount or unmount
   5  the broker's name, an endpoint or the pid file is in use
   6  no such pipe or directory
   7  refused: exists already, busy, open, or permission denied
   8  timed out
   9  the other end of the pipe, its host or the broker has gone
  10  something is mounted on the mount point
 128+n  ended by signal n`

// failure is an error with what was tried and what to do about it.
type failure struct {
	code exitCode
	op   string // "mount /mnt/zp"
	err  error
	cure string // may be empty
}

func (f *failure) Error() string {
	parts := make([]string, 0, 3)
	for _, s := range []string{f.op, f.err.Error(), f.cure} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// codeOf maps an error to the status it ends the process with.
func codeOf(err error) exitCode {
	if err == nil {
		return exitOK
	}
	var t told
	if errors.As(err, &t) {
		return t.Code
	}
	var c cli.ExitCoder // "zpipes help NONE"
	if errors.As(err, &c) {
		return exitUsage
	}
	var f *failure
	if errors.As(err, &f) && f.code != exitOK {
		return f.code
	}
	for _, x := range [...]struct {
		err  error
		code exitCode
	}{
		{control.ErrNoBroker, exitNoBroker},
		{control.ErrNameTaken, exitInUse},
		{control.ErrLost, exitLost},
		{os.ErrDeadlineExceeded, exitTimeout},
		{context.DeadlineExceeded, exitTimeout},
		{pipe.ErrMode, exitUsage},
		{device.ErrOccupied, exitOccupied},
		{device.ErrNotMounted, exitMount},
		{fs.ErrNotExist, exitNotFound},
		{broker.ErrNotDir, exitNotFound},
		{fs.ErrExist, exitRefused},
		{fs.ErrPermission, exitRefused},
		{broker.ErrOpen, exitRefused},
		{broker.ErrIsDir, exitRefused},
		{broker.ErrNotEmpty, exitRefused},
		{broker.ErrName, exitUsage},
		{broker.ErrTooLong, exitUsage},
	} {
		if errors.Is(err, x.err) {
			return x.code
		}
	}
	return exitFailure
}

// errorLine is what people read of an error: one line.
func errorLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
