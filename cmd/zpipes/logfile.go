// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// logFile is an open file that can be replaced by another under everybody who
// writes to it.
type logFile struct {
	path string
	file *os.File
	also []int // descriptors that are to be the same file
}

// openLogFile opens the file at path for appending. With std, standard output
// and error go there too: that is where a crash is told.
func openLogFile(path string, std bool) (*logFile, error) {
	f, err := openAppend(path)
	if err != nil {
		return nil, err
	}
	l := &logFile{path: path, file: f}
	if std {
		l.also = []int{1, 2}
	}
	if err := l.spread(int(f.Fd())); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func openAppend(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
}

// reopen opens the path again, after the file there was moved away. dup3(2)
// swaps the file in one step, so that no line is lost.
func (l *logFile) reopen() error {
	f, err := openAppend(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Dup3(int(f.Fd()), int(l.file.Fd()), unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("dup3", err)
	}
	return l.spread(int(f.Fd()))
}

func (l *logFile) spread(fd int) error {
	for _, to := range l.also {
		if err := unix.Dup3(fd, to, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}
