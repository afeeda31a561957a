// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	status := m.Run()
	if left := lingering(); left != "" {
		fmt.Fprintln(os.Stderr, left)
		status = max(status, 1)
	}
	os.Exit(status)
}

// lingering describes goroutines of this project that do not end in time.
func lingering() string {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, 4<<20)
	for {
		var ours []string
		all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
		for _, stack := range all[1:] {
			if strings.Contains(stack, "zpipesfs/broker") || strings.Contains(stack, "zmq4") {
				ours = append(ours, stack)
			}
		}
		if len(ours) == 0 {
			return ""
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return "goroutines are left:\n" + strings.Join(ours, "\n\n")
		}
	}
}
