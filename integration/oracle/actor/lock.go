// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"golang.org/x/sys/unix"
)

// lockOps are flock(2) and the record locks of fcntl(2).
func lockOps() map[string]op {
	return map[string]op{
		// flock, Args: LOCK_SH and its like.
		"flock": func(r Request) Result { return answer(0, unix.Flock(r.FD, int(r.Args[0]))) },
		"lock":  recordLock,
	}
}

// recordLock, Args: command (F_SETLK and its like), type, start, length.
// Values has the type and, for F_GETLK, the owner's pid.
func recordLock(r Request) Result {
	lock := unix.Flock_t{Type: int16(r.Args[1]), Whence: unix.SEEK_SET, Start: r.Args[2], Len: r.Args[3]}
	res := answer(0, unix.FcntlFlock(uintptr(r.FD), int(r.Args[0]), &lock))
	res.Values = []int64{int64(lock.Type), int64(lock.Pid)}
	return res
}
