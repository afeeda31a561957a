// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	zclient "github.com/zpipesfs/zpipesfs/broker/client"
)

// asClient has the test binary be a client of the endpoint it names, asService a
// service there.
const (
	asClient  = "ZPIPES_TEST_CLIENT"
	asService = "ZPIPES_TEST_SERVICE"
)

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(asClient); endpoint != "" {
		os.Exit(beClient(endpoint))
	}
	if endpoint := os.Getenv(asService); endpoint != "" {
		os.Exit(beService(endpoint))
	}
	status := m.Run()
	if left := lingering(0); left != "" {
		fmt.Fprintln(os.Stderr, left)
		status = max(status, 1)
	}
	os.Exit(status)
}

// lingering describes goroutines of this project, beyond so many, that do not
// end in time.
func lingering(allowed int) string {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ours := goroutines()
		if len(ours) <= allowed {
			return ""
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return "goroutines are left:\n" + strings.Join(ours, "\n\n")
		}
	}
}

// goroutines returns the stacks of this project's goroutines but for the caller's.
func goroutines() []string {
	buf := make([]byte, 4<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	var ours []string
	for _, stack := range all[1:] {
		if strings.Contains(stack, "zpipesfs/broker") || strings.Contains(stack, "zmq4") {
			ours = append(ours, stack)
		}
	}
	return ours
}

// beClient opens a pipe and prints what came of it.
func beClient(endpoint string) int {
	r, err := zclient.OpenReader(context.Background(), endpoint, "p", zclient.ConnectTimeout(patience/2))
	switch {
	case err == nil:
		fmt.Println("opened")
		err = r.Close()
	case errors.Is(err, zclient.ErrRefused):
		fmt.Println("refused")
		return 0
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// descriptors counts the open files of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(names)
}

func TestCloseLeavesNothing(t *testing.T) {
	cycle := func() {
		h := serve(t, func(c *Config) {
			c.Endpoints = []string{unique(), "tcp://127.0.0.1:*", "ipc://" + t.TempDir() + "/s"}
		})
		r, w := h.openPair(t, "p")
		w.ask(write("abc", 0), writeOK)
		r.send(readN(10, 0)) // pending when the service ends
		r.silent()
		must(t, h.Close())
		if err := h.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		if n := h.names(); n != 0 {
			t.Errorf("%d names are left", n)
		}
		r.hangUp()
		w.hangUp()
	}
	cycle()
	before, files := len(goroutines()), descriptors(t)
	for range 10 {
		cycle()
	}
	if left := lingering(before); left != "" {
		t.Error(left)
	}
	eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= files })
}
