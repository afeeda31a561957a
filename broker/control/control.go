// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package control is how people and scripts manage a running broker: make,
// remove and list pipes, and ask what the broker is.
//
// The control socket is an abstract Unix socket named after the broker. Binding
// it is what makes a name the broker's own: the kernel lets one process have it
// and frees it when that process ends, however it ends.
//
// On it is HTTP with JSON: a path is an operation, the body of the request its
// argument (none: the zero value), the body of the answer its result. An error is
// status 4xx with {"code", "message"}; the codes are in errors.go.
//
//	curl --abstract-unix-socket /zpipes/local/control http://zpipes/info
package control

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// maxName is the greatest length of a broker's name in octets. The name is part
// of socket addresses, which hold 107.
const maxName = 64

// CheckName returns ErrBrokerName unless name can be a broker's: what is safe in
// socket addresses, mount options and file names alike.
func CheckName(name string) error {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if name == "" || len(name) > maxName || name[0] == '-' || name[0] == '.' || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%q: %w", name, ErrBrokerName)
	}
	return nil
}

// address is where the broker of a name listens; the @ stands for the NUL of an
// abstract address (unix(7)).
func address(name string) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: "@/zpipes/" + name + "/control"}
}

// Info is what a broker tells of itself.
type Info struct {
	Name        string        `json:"name"`
	PID         int           `json:"pid"`
	UID         int           `json:"uid"`
	Version     string        `json:"version"`
	Endpoints   []string      `json:"endpoints"`   // of the ZPIPES service
	MountPoints []string      `json:"mountpoints"` // absolute paths
	AllowOther  bool          `json:"allow_other"`
	Started     time.Time     `json:"started"`
	Uptime      time.Duration `json:"uptime_ns"`
	Capacity    int           `json:"capacity"` // bytes a pipe buffers
	Names       int           `json:"names"`    // pipes and directories, the root included
	Buffered    int           `json:"buffered"` // bytes in all pipes
}

// CreateRequest asks for a pipe that the caller will own.
type CreateRequest struct {
	Path    Path   `json:"path"`
	Mode    string `json:"mode"`    // as pipe.ParseMode takes it; empty: fifo
	Perm    uint32 `json:"perm"`    // chmod(2)'s bits
	Parents bool   `json:"parents"` // make missing directories, with permissions 0755
}

// RemoveRequest asks to remove a name.
type RemoveRequest struct {
	Path Path `json:"path"`
	Dir  bool `json:"dir"` // an empty directory may be removed, too
}

// ListRequest asks for the pipes whose path begins with Prefix.
type ListRequest struct {
	Prefix Path `json:"prefix"`
}

// Pipe is one pipe in a list.
type Pipe struct {
	Path     Path        `json:"path"`
	Mode     string      `json:"mode"`
	Perm     uint32      `json:"perm"`
	UID      uint32      `json:"uid"`
	GID      uint32      `json:"gid"`
	Readers  []pipe.Info `json:"readers"`
	Writers  []pipe.Info `json:"writers"`
	Buffered int         `json:"buffered"` // bytes waiting for a reader
	Written  uint64      `json:"written"`  // bytes ever written under this name here, or come here
	Changed  time.Time   `json:"changed"`  // last write, or when it was made
}
