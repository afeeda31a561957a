// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"encoding/json"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// verdictSetting is the environment variable by which a daemon learns the file
// descriptor that it reports on.
const verdictSetting = "_ZPIPES_VERDICT_FD"

// verdict is a daemon's side of the pipe to the process that started it. It
// says once whether the start succeeded. A nil verdict has nobody to tell.
type verdict struct {
	pipe *os.File // nil once told
}

// report is what goes through the pipe, as JSON.
type report struct {
	Code exitCode
	Line string
}

// inheritVerdict returns nil in a process that was not started as a daemon.
func inheritVerdict() *verdict {
	fd, err := strconv.Atoi(os.Getenv(verdictSetting))
	if err != nil || fd < 3 {
		return nil
	}
	os.Unsetenv(verdictSetting)
	unix.CloseOnExec(fd)
	return &verdict{os.NewFile(uintptr(fd), "verdict")}
}

// daemon reports whether this process was started as one.
func (v *verdict) daemon() bool { return v != nil }

// ready tells that the start has succeeded. It returns false if nobody listens.
func (v *verdict) ready() bool { return v.tell(report{}) }

// fail tells why the start has failed. It returns false if nobody listens.
func (v *verdict) fail(code exitCode, line string) bool {
	return v.tell(report{code, line})
}

func (v *verdict) tell(r report) bool {
	if v == nil || v.pipe == nil {
		return false
	}
	err := json.NewEncoder(v.pipe).Encode(r)
	v.pipe.Close()
	v.pipe = nil
	return err == nil
}
