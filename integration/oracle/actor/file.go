// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"golang.org/x/sys/unix"
)

// fileOps are the calls on names and on descriptors as such.
func fileOps() map[string]op {
	return map[string]op{
		// open Path, Args: flags, mode.
		"open": func(r Request) Result {
			return answer(unix.Open(r.Path, int(r.Args[0]), uint32(r.Args[1])))
		},
		"close": func(r Request) Result { return answer(0, unix.Close(r.FD)) },
		"dup":   func(r Request) Result { return answer(unix.Dup(r.FD)) },
		// dup2, Args: the new descriptor.
		"dup2": func(r Request) Result {
			return answer(int(r.Args[0]), unix.Dup3(r.FD, int(r.Args[0]), 0))
		},
		// fcntl, Args: command, argument.
		"fcntl": func(r Request) Result {
			return answer(unix.FcntlInt(uintptr(r.FD), int(r.Args[0]), int(r.Args[1])))
		},
		// nonblock sets or clears O_NONBLOCK alone, Args: 0 or 1.
		"nonblock": func(r Request) Result { return answer(0, unix.SetNonblock(r.FD, r.Args[0] != 0)) },
		"fionread": func(r Request) Result { return answer(unix.IoctlGetInt(r.FD, unix.TIOCINQ)) },

		// Modes are in Args.
		"mkfifo": func(r Request) Result { return answer(0, unix.Mkfifo(r.Path, uint32(r.Args[0]))) },
		"mkdir":  func(r Request) Result { return answer(0, unix.Mkdir(r.Path, uint32(r.Args[0]))) },
		"chmod":  func(r Request) Result { return answer(0, unix.Chmod(r.Path, uint32(r.Args[0]))) },
		"fchmod": func(r Request) Result { return answer(0, unix.Fchmod(r.FD, uint32(r.Args[0]))) },
		// chown, Args: uid, gid.
		"chown": func(r Request) Result {
			return answer(0, unix.Chown(r.Path, int(r.Args[0]), int(r.Args[1])))
		},
		"unlink": func(r Request) Result { return answer(0, unix.Unlink(r.Path)) },
		"rmdir":  func(r Request) Result { return answer(0, unix.Rmdir(r.Path)) },
		"rename": func(r Request) Result { return answer(0, unix.Rename(r.Path, r.Path2)) },
		// access, Args: R_OK and its like.
		"access": func(r Request) Result {
			return answer(0, unix.Faccessat(unix.AT_FDCWD, r.Path, uint32(r.Args[0]), unix.AT_EACCESS))
		},
		// utimensat, Args: seconds of both times.
		"utimensat": func(r Request) Result {
			times := []unix.Timespec{{Sec: r.Args[0]}, {Sec: r.Args[0]}}
			return answer(0, unix.UtimesNanoAt(unix.AT_FDCWD, r.Path, times, 0))
		},
		"touch": func(r Request) Result {
			now := unix.Timespec{Nsec: unix.UTIME_NOW}
			return answer(0, unix.UtimesNanoAt(unix.AT_FDCWD, r.Path, []unix.Timespec{now, now}, 0))
		},
		"stat": func(r Request) Result {
			var st unix.Stat_t
			return statAnswer(&st, unix.Stat(r.Path, &st))
		},
		"fstat": func(r Request) Result {
			var st unix.Stat_t
			return statAnswer(&st, unix.Fstat(r.FD, &st))
		},
		"names":    names,
		"identity": identity,
	}
}

// statAnswer puts permission bits, uid, gid, link count and size in Values.
func statAnswer(st *unix.Stat_t, err error) Result {
	res := answer(0, err)
	if err == nil {
		res.Values = []int64{
			int64(st.Mode & 0o7777), int64(st.Uid), int64(st.Gid), int64(st.Nlink), st.Size,
		}
	}
	return res
}

// identity makes the calling thread, and it alone, user Args[0] of group
// Args[1], without further groups and capabilities.
func identity(r Request) Result {
	uid, gid := uintptr(r.Args[0]), uintptr(r.Args[1])
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, gid, gid, gid},
		{unix.SYS_SETRESUID, uid, uid, uid},
	} {
		if _, _, errno := unix.Syscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return answer(0, errno)
		}
	}
	return Result{}
}
