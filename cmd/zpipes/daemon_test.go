// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A daemon that does not end when told is ended.
func TestEndIsByForceAtLast(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo deaf; while :; do read x || :; done </dev/zero")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Error(err)
	}
	end(cmd, 50*time.Millisecond)
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Errorf("it ended by %v", s)
	}
}

func TestLastWords(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := lastWords(f); got != "its log may tell more" {
		t.Errorf("of nothing: %q", got)
	}
	if _, err := f.WriteString(strings.Repeat("x", 8<<10) + "panic: so it ends"); err != nil {
		t.Fatal(err)
	}
	if got := lastWords(f); len(got) != 4<<10 || !strings.HasSuffix(got, "panic: so it ends") {
		t.Errorf("of a crash: %d bytes, %.40q", len(got), got)
	}
}
