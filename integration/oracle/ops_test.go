// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// op is a call an actor can make.
type op struct {
	text   string // as the transcript names it; descriptor numbers are left out
	req    proto.Request
	sleeps []int                     // the system calls in which it may block
	format func(proto.Result) string // the result when it is no error; nil for the plain number
}

// show puts a result into words.
func (o op) show(res proto.Result) string {
	switch {
	case res.Errno != "":
		return res.Errno
	case o.format != nil:
		return o.format(res)
	default:
		return strconv.FormatInt(res.Ret, 10)
	}
}

// result is what a call gave, and its line of the transcript.
type result struct {
	proto.Result
	text   string
	isOpen bool
}

// fd answers the descriptor a call gave. Without one the scenario ends.
func (r result) fd() int {
	if r.Errno != "" {
		panic(stop{"no descriptor: " + r.Errno})
	}
	return int(r.Ret)
}

// bitName is a bit of a mask and its name.
type bitName struct {
	bit  int
	name string
}

// mask names the bits that are set, as "IN|HUP", and what is left as a number.
func mask(value int, flags []bitName) string {
	var names []string
	for _, f := range flags {
		if value&f.bit == f.bit {
			names, value = append(names, f.name), value&^f.bit
		}
	}
	if value != 0 || len(names) == 0 {
		names = append(names, fmt.Sprintf("%#x", value))
	}
	return strings.Join(names, "|")
}

var openFlags = []bitName{
	{unix.O_RDWR, "RDWR"}, {unix.O_WRONLY, "WRONLY"}, {unix.O_NONBLOCK, "NONBLOCK"}, {unix.O_CREAT, "CREAT"},
	{unix.O_EXCL, "EXCL"}, {unix.O_TRUNC, "TRUNC"}, {unix.O_APPEND, "APPEND"}, {unix.O_DIRECTORY, "DIRECTORY"},
	{unix.O_NOFOLLOW, "NOFOLLOW"}, {unix.O_CLOEXEC, "CLOEXEC"}, {unix.O_PATH, "PATH"},
}

func open(name string, flags int) op {
	mode := mask(flags, openFlags)
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		mode = strings.TrimSuffix("RDONLY|"+mode, "|0x0")
	}
	return op{
		text:   fmt.Sprintf("open(%s, %s)", name, mode),
		req:    proto.Request{Op: "open", Path: name, Args: []int64{int64(flags), 0o644}},
		sleeps: []int{unix.SYS_OPENAT},
		format: func(proto.Result) string { return "fd" },
	}
}

// onFD is a call on a descriptor whose result is a plain number.
func onFD(name string, fd int, args ...int64) op {
	return op{text: name, req: proto.Request{Op: name, FD: fd, Args: args}}
}

func closing(fd int) op { return onFD("close", fd) }

func dup(fd int) op {
	o := onFD("dup", fd)
	o.format = func(proto.Result) string { return "fd" }
	return o
}

func nonblock(fd int, on bool) op {
	o := onFD("nonblock", fd, 0)
	o.text = "clear O_NONBLOCK"
	if on {
		o.text, o.req.Args[0] = "set O_NONBLOCK", 1
	}
	return o
}

// onName is a call on a name whose result is a plain number.
func onName(call, name string, args ...int64) op {
	text := []string{name}
	for _, a := range args {
		text = append(text, fmt.Sprintf("%#o", a))
	}
	return op{
		text: fmt.Sprintf("%s(%s)", call, strings.Join(text, ", ")),
		req:  proto.Request{Op: call, Path: name, Args: args},
	}
}

func rename(from, to string) op {
	return op{text: fmt.Sprintf("rename(%s, %s)", from, to), req: proto.Request{Op: "rename", Path: from, Path2: to}}
}

func stat(name string) op {
	return op{text: "stat(" + name + ")", req: proto.Request{Op: "stat", Path: name}, format: formatStat}
}

func fstat(fd int) op {
	o := onFD("fstat", fd)
	o.format = formatStat
	return o
}

func formatStat(res proto.Result) string {
	v := res.Values
	return fmt.Sprintf("mode %04o uid %d gid %d links %d size %d", v[0], v[1], v[2], v[3], v[4])
}

// formatRead shows few bytes themselves and many by their hash.
func formatRead(res proto.Result) string {
	if res.Ret == int64(len(res.Data)) {
		return fmt.Sprintf("%d %q", res.Ret, res.Data)
	}
	return fmt.Sprintf("%d %s", res.Ret, res.Sum)
}

func read(fd, size int) op {
	return op{
		text:   fmt.Sprintf("read(%d)", size),
		req:    proto.Request{Op: "read", FD: fd, Args: []int64{int64(size)}},
		sleeps: []int{unix.SYS_READ},
		format: formatRead,
	}
}

func readv(fd int, sizes ...int64) op {
	return op{
		text:   fmt.Sprintf("readv%v", sizes),
		req:    proto.Request{Op: "readv", FD: fd, Args: sizes},
		sleeps: []int{unix.SYS_READV},
		format: formatRead,
	}
}

func pread(call string, fd int) op {
	o := onFD(call, fd, 5, 0)
	o.format = formatRead
	return o
}

func write(fd int, data string) op {
	return op{
		text:   fmt.Sprintf("write(%q)", data),
		req:    proto.Request{Op: "write", FD: fd, Data: []byte(data)},
		sleeps: []int{unix.SYS_WRITE},
	}
}

func pwrite(call string, fd int) op {
	o := onFD(call, fd, 0)
	o.req.Data = []byte("hello")
	return o
}

// writePattern writes size bytes of a pattern in one call.
func writePattern(fd, size int, seed int64) op {
	return op{
		text:   fmt.Sprintf("write(pattern of %d)", size),
		req:    proto.Request{Op: "write", FD: fd, Args: []int64{int64(size), seed}},
		sleeps: []int{unix.SYS_WRITE},
	}
}

func writev(fd int, parts ...string) op {
	return op{
		text:   fmt.Sprintf("writev%q", parts),
		req:    proto.Request{Op: "writev", FD: fd, Words: parts},
		sleeps: []int{unix.SYS_WRITEV},
	}
}

// several shows a count only as none, some or all: for results that depend on
// how much a pipe holds.
func several(o op, all int) op {
	o.format = func(res proto.Result) string {
		switch {
		case res.Ret == 0:
			return "none"
		case res.Ret < int64(all):
			return "some"
		case res.Ret == int64(all):
			return "all"
		default:
			return "too many"
		}
	}
	return o
}

// Poll and epoll share the values of their bits.
var pollFlags = []bitName{
	{unix.POLLIN, "IN"}, {unix.POLLPRI, "PRI"}, {unix.POLLOUT, "OUT"}, {unix.POLLERR, "ERR"}, {unix.POLLHUP, "HUP"},
	{unix.POLLNVAL, "NVAL"}, {unix.EPOLLRDNORM, "RDNORM"}, {unix.EPOLLRDBAND, "RDBAND"}, {unix.EPOLLWRNORM, "WRNORM"},
	{unix.EPOLLWRBAND, "WRBAND"}, {unix.EPOLLRDHUP, "RDHUP"}, {unix.EPOLLONESHOT, "ONESHOT"}, {unix.EPOLLET, "ET"},
}

// poll waits for events on one descriptor.
func poll(fd, events int, timeout time.Duration) op {
	return op{
		text:   fmt.Sprintf("poll(%s, %v)", mask(events, pollFlags), timeout),
		req:    proto.Request{Op: "poll", FD: fd, Args: []int64{int64(events), timeout.Milliseconds()}},
		sleeps: []int{unix.SYS_PPOLL},
		format: func(res proto.Result) string {
			if res.Ret == 0 {
				return "nothing"
			}
			return mask(int(res.Values[0]), pollFlags)
		},
	}
}

// selects waits for a descriptor to be readable, writable or exceptional.
func selects(fd int, timeout time.Duration) op {
	return op{
		text:   fmt.Sprintf("select(%v)", timeout),
		req:    proto.Request{Op: "select", FD: fd, Args: []int64{timeout.Milliseconds()}},
		sleeps: []int{unix.SYS_PSELECT6},
		format: func(res proto.Result) string {
			return fmt.Sprintf("%d: readable %d writable %d exceptional %d", res.Ret, res.Values[0], res.Values[1], res.Values[2])
		},
	}
}

func epollCreate() op {
	o := onFD("epoll_create", 0)
	o.format = func(proto.Result) string { return "fd" }
	return o
}

// epollCtl adds or changes fd in an epoll instance.
func epollCtl(epfd, command, fd, events int) op {
	names := map[int]string{unix.EPOLL_CTL_ADD: "ADD", unix.EPOLL_CTL_MOD: "MOD", unix.EPOLL_CTL_DEL: "DEL"}
	o := onFD("epoll_ctl", epfd, int64(command), int64(fd), int64(events))
	o.text = fmt.Sprintf("epoll_ctl(%s, %s)", names[command], mask(events, pollFlags))
	return o
}

// epollWait waits on an instance that watches a single descriptor.
func epollWait(epfd int, timeout time.Duration) op {
	return op{
		text:   fmt.Sprintf("epoll_wait(%v)", timeout),
		req:    proto.Request{Op: "epoll_wait", FD: epfd, Args: []int64{timeout.Milliseconds()}},
		sleeps: []int{unix.SYS_EPOLL_PWAIT},
		format: func(res proto.Result) string {
			if res.Ret == 0 {
				return "nothing"
			}
			return mask(int(res.Values[1]), pollFlags)
		},
	}
}

// mmap maps a page and reads its first byte.
func mmap(fd, flags int) op {
	o := onFD("mmap", fd, int64(flags))
	o.text = "mmap(" + mask(flags, []bitName{{unix.MAP_SHARED, "SHARED"}, {unix.MAP_PRIVATE, "PRIVATE"}}) + ") and touch"
	return o
}
