// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// hosts are those of a cluster, for whose agreement a script waits between its steps.
// On one machine what a call has done is so when it returns; on another host it is so
// a moment later.
type hosts struct {
	mounts []string
	http   *http.Client
}

// newHosts speaks to the broker of a host by its control socket, whose name is the
// network namespace's own.
func newHosts(namespace string, mounts ...string) *hosts {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialIn(ctx, namespace) }
	return &hosts{mounts, &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: answerTimeout}}
}

// dialIn connects on a thread that is in the namespace, and ends with that.
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

// agree waits until nothing is under way between the hosts. A request to each mount
// comes first: the kernel sends it behind what has closed there.
func (h *hosts) agree() error {
	for _, dir := range h.mounts {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
	}
	answer, err := h.http.Get("http://zpipes/sync")
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

// agree comes before each step: it begins when all hosts know of those before.
func (s *script) agree() {
	if s.hosts == nil || !s.fresh {
		return
	}
	s.step("the hosts agree")
	if err := s.hosts.agree(); err != nil {
		panic(stop{err.Error()})
	}
	s.fresh = false
}
