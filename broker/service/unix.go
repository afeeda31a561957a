// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Modes of a socket's file: connect(2) wants write permission.
const (
	modeOwner  = 0o600
	modeOthers = 0o666 // who may come in is then for Config.AllowUID to say
)

const (
	lockTimeout = 2 * time.Second
	lockEvery   = 10 * time.Millisecond

	// longestAddress is what sun_path has room for, with the NUL behind a path (unix(7));
	// the @ of an abstract name is the NUL before it.
	longestAddress = 107
)

// listenUnix returns a listening socket at address: abstract if that begins
// with @, else a path, whose file is returned too.
func listenUnix(address string, others bool) (fd int, file *socketFile, err error) {
	if n := len(address); n > longestAddress {
		return -1, nil, fmt.Errorf("%w: a socket's address has at most %d octets, this one %d", ErrEndpoint, longestAddress, n)
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("make Unix socket: %w", err)
	}
	if address[0] == '@' {
		err = claimAbstract(fd, address)
	} else {
		file, err = claimPath(fd, address, others)
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, file, nil
}

func claimAbstract(fd int, address string) error {
	// A leading @ becomes the NUL of unix(7)'s abstract names; none follows.
	err := unix.Bind(fd, &unix.SockaddrUnix{Name: address})
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%w: stop it or choose another name", ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, listenBacklog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// claimPath binds fd to a path. What a broker that died has left there is
// removed; the directory is locked meanwhile, or two brokers that start at once
// could each remove the other's.
func claimPath(fd int, path string, others bool) (*socketFile, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", filepath.Dir(path), err)
	}
	defer unix.Close(dir)
	if err := lock(dir); err != nil {
		return nil, fmt.Errorf("lock directory %s: %w", filepath.Dir(path), err)
	}
	address := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, address)
	if errors.Is(err, unix.EADDRINUSE) {
		if err = removeStale(path); err != nil {
			return nil, err
		}
		err = unix.Bind(fd, address)
	}
	if err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	file := &socketFile{path: path}
	mode := uint32(modeOwner)
	if others {
		mode = modeOthers
	}
	// Nobody can connect before listen(2), so there is no moment with another mode.
	err = errors.Join(unix.Lstat(path, &file.stat), unix.Chmod(path, mode), unix.Listen(fd, listenBacklog))
	if err != nil {
		unix.Unlink(path)
		return nil, fmt.Errorf("set up %s: %w", path, err)
	}
	return file, nil
}

// lock takes the directory's flock(2), which brokers hold for moments only. But
// anybody who can open the directory can, for as long as he likes.
func lock(dir int) error {
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	end := time.After(lockTimeout)
	for {
		err := unix.Flock(dir, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return err
		}
		select {
		case <-tick.C:
		case <-end:
			return fmt.Errorf("%w: somebody has held the lock for %v", ErrInUse, lockTimeout)
		}
	}
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%w: %s exists and is not a socket; choose another path", ErrEndpoint, path)
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make Unix socket: %w", err)
	}
	defer unix.Close(probe)
	// EAGAIN is a live listener's full backlog.
	if err := unix.Connect(probe, &unix.SockaddrUnix{Name: path}); err == nil || errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("%w: stop it or choose another path", ErrInUse)
	} else if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("see who listens on %s: %w", path, err)
	}
	if err := unix.Unlink(path); err != nil {
		return fmt.Errorf("remove stale %s: %w", path, err)
	}
	return nil
}
