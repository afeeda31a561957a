// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// pidFile is a file with this process's id while the server is ready.
type pidFile struct{ path string }

var errPidTaken = errors.New("a live process has its id there")

// checkPidFile refuses a pid file in which a live process has its id.
func (s *server) checkPidFile() error { return afterKill(errPidTaken, s.lookAtPidFile) }

func (s *server) lookAtPidFile() error {
	path := s.cfg.PidFile
	if path == "" {
		return nil
	}
	pid, err := readPid(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &failure{code: exitFailure, op: "pid file", err: err}
	case pid > 0 && pid != os.Getpid() && alive(pid):
		return &failure{
			code: exitInUse, op: "pid file " + path,
			err:  fmt.Errorf("%w: %d", errPidTaken, pid),
			cure: "end it, or remove the file if it has nothing to do with zpipes",
		}
	}
	return nil
}

// writePidFile writes the file whole: whoever waits for it reads no empty one.
func (s *server) writePidFile() error {
	path := s.cfg.PidFile
	if path == "" {
		return nil
	}
	if err := s.checkPidFile(); err != nil {
		return err
	}
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	err := os.WriteFile(temp, fmt.Appendln(nil, os.Getpid()), 0o644)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return &failure{code: exitFailure, op: "pid file", err: err}
	}
	s.pidFile = &pidFile{path}
	return nil
}

// remove removes the file if it is still this process's.
func (f *pidFile) remove() error {
	if pid, err := readPid(f.path); err != nil || pid != os.Getpid() {
		return nil
	}
	return os.Remove(f.path)
}

// readPid returns the process id in a file, or 0 if there is none.
func readPid(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return max(pid, 0), nil
}

// alive reports whether a process exists and has not ended, which a zombie has.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(syscall.Kill(pid, 0), syscall.EPERM) // hidden from us (hidepid in proc(5))
	}
	// pid (command) state ...; the command may hold anything
	_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return state != "" && !strings.ContainsRune("ZX", rune(state[0]))
}
