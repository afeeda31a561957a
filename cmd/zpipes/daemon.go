// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startLimit = 30 * time.Second // for a daemon to be ready or to fail
	endLimit   = 5 * time.Second  // for one that did neither to end when told
)

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
	words, err := unix.MemfdCreate("zpipes-stderr", unix.MFD_CLOEXEC)
	if err != nil {
		w.Close()
		return &failure{op: "start the daemon", err: os.NewSyscallError("memfd_create", err)}
	}
	stderr := os.NewFile(uintptr(words), "zpipes-stderr")
	defer stderr.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = stderr // until it is ready: see muteStderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), verdictSetting+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// What this process has inherited is not the daemon's; exec keeps ExtraFiles.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		w.Close()
		return &failure{op: "start the daemon", err: os.NewSyscallError("close_range", err)}
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return &failure{op: "start the daemon", err: err}
	}
	r.SetReadDeadline(time.Now().Add(startLimit))
	verdict, err := readReport(r)
	if err != nil {
		end(cmd, endLimit) // it must not go on unwatched
		return &failure{op: "start the daemon", err: err, cure: lastWords(stderr)}
	}
	if verdict.Code == exitOK {
		return cmd.Process.Release()
	}
	cmd.Wait() // it has nothing left to do but end
	return told(*verdict)
}

// lastWords is the end of what a daemon without a log file has written to its
// standard error, of a crash say.
func lastWords(stderr *os.File) string {
	const most = 4 << 10
	size, err := stderr.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return "its log may tell more"
	}
	text := make([]byte, min(size, most))
	n, _ := stderr.ReadAt(text, size-int64(len(text)))
	return string(text[:n])
}

// muteStderr ends what goes to standard error, which nobody reads once a daemon
// without a log file is ready.
func muteStderr() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	return os.NewSyscallError("dup3", unix.Dup3(int(null.Fd()), 2, 0))
}

// end ends a process, by force when it takes longer than a limit.
func end(cmd *exec.Cmd, limit time.Duration) {
	cmd.Process.Signal(syscall.SIGTERM)
	force := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer force.Stop()
	cmd.Wait() // how it ended is no news
}

func readReport(r io.Reader) (*report, error) {
	var v report
	err := json.NewDecoder(r).Decode(&v)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it died before it was ready")
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
