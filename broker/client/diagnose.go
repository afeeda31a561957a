// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// diagnose says why nobody may have answered at an endpoint, and what to do.
func diagnose(endpoint string) string {
	const start = "start one there, or give the endpoint of one that runs"
	path, ok := strings.CutPrefix(endpoint, "ipc://")
	if !ok {
		return fmt.Sprintf("no broker can be reached at %s; %s", endpoint, start)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Sprintf("no broker can be reached at %s; %s", endpoint, start)
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return fmt.Sprintf("no broker serves %s; %s", endpoint, start)
	case errors.Is(err, unix.EACCES):
		return fmt.Sprintf("this user may not open %s; ask its owner to allow it", endpoint)
	}
	return fmt.Sprintf("something listens on %s but does not speak ZPIPES, or hangs; %s", endpoint, start)
}
