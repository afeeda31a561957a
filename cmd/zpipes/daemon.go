// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// startLimit is how long a daemon may take until it is ready or has failed.
const startLimit = 30 * time.Second

// startDaemon runs this command line again in a session of its own and waits
// until it is ready. The error of a daemon that fails to start is the daemon's.
//
// It does not fork as daemon(3) does: a Go process has threads from the start.
func startDaemon() error {
	r, w, err := os.Pipe()
	if err != nil {
		return &failure{op: "start the daemon", err: err}
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), verdictSetting+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return &failure{op: "start the daemon", err: err}
	}
	r.SetReadDeadline(time.Now().Add(startLimit))
	verdict, err := readReport(r)
	if err != nil {
		cmd.Process.Signal(syscall.SIGTERM) // if it lives: it must not go on unwatched
		return &failure{op: "start the daemon", err: err}
	}
	if verdict.Code == exitOK {
		return cmd.Process.Release()
	}
	cmd.Wait() // it has nothing left to do but end
	return told(*verdict)
}

func readReport(r io.Reader) (*report, error) {
	var v report
	err := json.NewDecoder(r).Decode(&v)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it died before it was ready: see its log")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("it was not ready after %v", startLimit)
	case err != nil:
		return nil, err
	}
	return &v, nil
}

// told is an error that another process has put into words.
type told report

func (t told) Error() string { return t.Line }

// detach makes a daemon independent of where it was started: of the working
// directory, which could then not be unmounted, and of the umask.
func detach() error {
	syscall.Umask(0o022)
	return os.Chdir("/")
}
