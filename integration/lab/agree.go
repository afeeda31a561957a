// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Agreement waits until the hosts of a cluster agree. On one machine what a call has
// done is so when it returns; on another host it is so a moment later.
type Agreement struct {
	mounts []string
	http   *http.Client
}

// NewAgreement is that of the cluster of a host with this Namespace, and of programs
// that work in these mounts.
func NewAgreement(namespace string, mounts ...string) *Agreement {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialIn(ctx, namespace) }
	return &Agreement{mounts, &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Wait waits until nothing is under way between the hosts, 20 seconds at most. It
// touches the mounts: the kernel sends that request behind what has closed there. While
// programs keep bytes flowing in the cluster there is no agreement.
func (a *Agreement) Wait() error {
	for _, dir := range a.mounts {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://zpipes/sync", nil)
	if err != nil {
		return err
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("sync: %s: %s", answer.Status, text)
	}
	return err
}

// dialIn connects to the broker's control socket, whose name belongs to the network
// namespace, on a thread that is in there and ends with that.
func dialIn(ctx context.Context, namespace string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		var r result
		if r.err = enter(namespace); r.err == nil {
			var d net.Dialer
			r.conn, r.err = d.DialContext(ctx, "unix", "@/zpipes/local/control")
		}
		done <- r
	}()
	r := <-done
	return r.conn, r.err
}

func enter(namespace string) error {
	ns, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	return os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
}
