// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"fmt"

	"golang.org/x/sys/unix"

	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// onSignal is a call about a signal.
func onSignal(call string, sig unix.Signal, args ...int64) op {
	return op{
		text: fmt.Sprintf("%s(%s)", call, unix.SignalName(sig)),
		req:  proto.Request{Op: call, Args: append([]int64{int64(sig)}, args...)},
	}
}

// sigHandle installs a handler, with or without SA_RESTART.
func sigHandle(sig unix.Signal, restart bool) op {
	if restart {
		o := onSignal("sig_handle", sig, 1)
		o.text += " with SA_RESTART"
		return o
	}
	return onSignal("sig_handle", sig, 0)
}

func sigPending(sig unix.Signal) op {
	o := onSignal("sig_pending", sig)
	o.format = func(res proto.Result) string {
		return fmt.Sprintf("%d for the thread, %d for the process", res.Values[0], res.Values[1])
	}
	return o
}

var flockFlags = []bitName{
	{unix.LOCK_SH, "SH"}, {unix.LOCK_EX, "EX"}, {unix.LOCK_UN, "UN"}, {unix.LOCK_NB, "NB"},
}

func flock(fd, how int) op {
	o := onFD("flock", fd, int64(how))
	o.text = "flock(" + mask(how, flockFlags) + ")"
	o.sleeps = []int{unix.SYS_FLOCK}
	return o
}

// recordLock locks, unlocks or asks about length bytes from start.
func recordLock(fd, command, kind int, start, length int64) op {
	commands := map[int]string{
		unix.F_SETLK: "SETLK", unix.F_SETLKW: "SETLKW", unix.F_GETLK: "GETLK",
		unix.F_OFD_SETLK: "OFD_SETLK",
	}
	kinds := map[int]string{unix.F_RDLCK: "RDLCK", unix.F_WRLCK: "WRLCK", unix.F_UNLCK: "UNLCK"}
	o := onFD("lock", fd, int64(command), int64(kind), start, length)
	o.text = fmt.Sprintf("fcntl(%s, %s, %d+%d)", commands[command], kinds[kind], start, length)
	o.sleeps = []int{unix.SYS_FCNTL}
	if command == unix.F_GETLK {
		o.format = func(res proto.Result) string { return kinds[int(res.Values[0])] }
	}
	return o
}
