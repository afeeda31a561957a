// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Actors on two hosts. They share this machine's clock.

// pour writes blocks for a time. It stops as well when nobody reads any more.
func pour(path string, size int, limit time.Duration) (r result, err error) {
	fd, err := openPipe(path, syscall.O_WRONLY, 0)
	if err != nil {
		return r, err
	}
	buf := make([]byte, size)
	for begin := time.Now(); r.Elapsed < limit; r.Elapsed = time.Since(begin) {
		for b := buf; len(b) > 0; {
			n, err := write(fd, b)
			if err != nil {
				return r, err
			}
			b = b[n:]
		}
		r.Bytes += int64(size)
		r.Count++
	}
	return r, syscall.Close(fd)
}

// swallow reads to the end and counts from the first bytes on: what comes before
// is the time that a connection takes. The path "-" is standard input.
func swallow(path string, size int) (r result, err error) {
	fd := syscall.Stdin
	if path != "-" {
		fd, err = openPipe(path, syscall.O_RDONLY, 0)
	}
	if err != nil {
		return r, err
	}
	buf := make([]byte, size)
	var begin time.Time
	for {
		n, err := read(fd, buf)
		if err != nil {
			return r, err
		}
		if n == 0 {
			break
		}
		if begin.IsZero() {
			begin = time.Now()
			continue
		}
		r.Bytes += int64(n)
		r.Count++
	}
	r.Elapsed = time.Since(begin)
	return r, syscall.Close(fd)
}

// socket is a TCP socket without the runtime's poller, and its peer's or own
// address.
func socket(addr string) (fd int, sa *syscall.SockaddrInet4, err error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, nil, err
	}
	if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0); err != nil {
		return 0, nil, err
	}
	return fd, &syscall.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}, nil
}

func dial(addr string) (int, error) {
	fd, sa, err := socket(addr)
	if err == nil {
		err = syscall.Connect(fd, sa)
	}
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	return fd, err
}

func listen(addr string) (int, error) {
	fd, sa, err := socket(addr)
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = syscall.Bind(fd, sa)
	}
	if err == nil {
		err = syscall.Listen(fd, 16)
	}
	return fd, err
}

func accept(l int) (int, error) {
	fd, err := retry(func() (int, error) {
		fd, _, err := syscall.Accept(l)
		return fd, err
	})
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	return fd, err
}

func tcpPing(addr string, count int) (r result, err error) {
	fd, err := dial(addr)
	if err != nil {
		return r, err
	}
	r, err = pingOn(fd, fd, count)
	return r, errors.Join(err, syscall.Close(fd))
}

func tcpPong(addr string) (r result, err error) {
	l, err := listen(addr)
	if err != nil {
		return r, err
	}
	fd, err := accept(l)
	if err != nil {
		return r, err
	}
	return pongOn(fd, fd)
}

// pause lets the reader be ready before the next writer opens.
const pause = 5 * time.Millisecond

// firstBytes opens one pipe of a folder after the other and writes into each when
// it began to open it.
func firstBytes(dir string, count int) (r result, err error) {
	return r, eachFirst(count, func(i int) (int, error) {
		return openPipe(filepath.Join(dir, strconv.Itoa(i)), syscall.O_WRONLY, 0)
	})
}

func tcpFirst(addr string, count int) (r result, err error) {
	return r, eachFirst(count, func(int) (int, error) { return dial(addr) })
}

func eachFirst(count int, open func(i int) (int, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := range count {
		<-tick.C
		stamp := binary.NativeEndian.AppendUint64(nil, uint64(now()))
		fd, err := open(i)
		if err == nil {
			_, err = write(fd, stamp)
		}
		if err == nil {
			err = syscall.Close(fd)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitFirst reads what firstBytes writes.
func awaitFirst(dir string, count int) (result, error) {
	return eachAwait(count, func(i int) (int, error) {
		return openPipe(filepath.Join(dir, strconv.Itoa(i)), syscall.O_RDONLY, 0)
	})
}

func tcpAwait(addr string, count int) (r result, err error) {
	l, err := listen(addr)
	if err != nil {
		return r, err
	}
	return eachAwait(count, func(int) (int, error) { return accept(l) })
}

func eachAwait(count int, open func(i int) (int, error)) (r result, err error) {
	var times []time.Duration
	for i := range count {
		fd, err := open(i)
		if err != nil {
			return r, err
		}
		var b [8]byte
		if n, err := read(fd, b[:]); n != len(b) {
			return r, fmt.Errorf("read %d bytes: %w", n, err)
		}
		times = append(times, now()-time.Duration(binary.NativeEndian.Uint64(b[:])))
		if err := syscall.Close(fd); err != nil {
			return r, err
		}
	}
	r.Count = count
	r.percentiles(times)
	return r, nil
}

// now is the machine's monotonic clock, the same in all processes.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // it cannot fail
	}
	return time.Duration(ts.Nano())
}
