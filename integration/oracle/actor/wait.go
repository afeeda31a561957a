// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waitOps are poll, select and epoll. Timeouts are milliseconds.
func waitOps() map[string]op {
	return map[string]op{
		"poll":   poll,
		"select": selects,

		"epoll_create": func(Request) Result { return answer(unix.EpollCreate1(unix.EPOLL_CLOEXEC)) },
		// epoll_ctl on the epoll instance FD, Args: command, descriptor, events.
		"epoll_ctl": func(r Request) Result {
			event := unix.EpollEvent{Events: uint32(r.Args[2]), Fd: int32(r.Args[1])}
			return answer(0, unix.EpollCtl(r.FD, int(r.Args[0]), int(r.Args[1]), &event))
		},
		"epoll_wait": epollWait,
	}
}

func timespec(ms int64) *unix.Timespec {
	ts := unix.NsecToTimespec(ms * int64(time.Millisecond))
	return &ts
}

// poll, Args: events, timeout. Values has the events returned.
func poll(r Request) Result {
	fds := []unix.PollFd{{Fd: int32(r.FD), Events: int16(r.Args[0])}}
	n, err := unix.Ppoll(fds, timespec(r.Args[1]), nil)
	res := answer(n, err)
	res.Values = []int64{int64(uint16(fds[0].Revents))}
	return res
}

// selects asks for reading, writing and exceptions at once, Args: timeout.
// Values has 1 for each of the three that select reported.
func selects(r Request) Result {
	var sets [3]unix.FdSet
	for i := range sets {
		sets[i].Set(r.FD)
	}
	n, err := unix.Pselect(r.FD+1, &sets[0], &sets[1], &sets[2], timespec(r.Args[0]), nil)
	res := answer(n, err)
	for i := range sets {
		res.Values = append(res.Values, 0)
		if err == nil && sets[i].IsSet(r.FD) {
			res.Values[i] = 1
		}
	}
	return res
}

// epollWait waits on the epoll instance FD, Args: timeout. Values has a
// descriptor and its events for each event.
func epollWait(r Request) Result {
	var events [16]unix.EpollEvent
	// epoll_pwait exists on every architecture, epoll_wait does not.
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(r.FD), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(r.Args[0]), 0, 0)
	if errno != 0 {
		return answer(-1, errno)
	}
	res := Result{Ret: int64(n)}
	for _, e := range events[:n] {
		res.Values = append(res.Values, int64(e.Fd), int64(e.Events))
	}
	return res
}
