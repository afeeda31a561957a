// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package lab

import (
	"strings"
	"testing"
	"time"
)

func TestStatus(t *testing.T) {
	for script, want := range map[string]string{
		"exit 3": "exit 3", "kill -9 $$": "signal: killed", "echo out; echo err >&2": "exit 0",
	} {
		r := Run(t, 10*time.Second, Shell("sh", script))
		if r.Status != want || r.Hung != "" || r.Stray != "" {
			t.Errorf("%s: want %s, got %v", script, want, r)
		}
		if strings.HasPrefix(script, "echo") && (r.Stdout != "out\n" || r.Stderr != "err\n") {
			t.Errorf("%s: got %v", script, r)
		}
	}
}

// A process that has left the process group, as timeout(1) does, is killed with
// the rest of its session.
func TestDeadlineEndsTheSession(t *testing.T) {
	scratch := Dir(t)
	t.Setenv(scratchSetting, scratch)
	r := Run(t, 300*time.Millisecond, Shell("bash", `timeout 50 sleep 40 & sleep 30`))
	if r.Status != "signal: killed" || strings.Count(r.Hung, "sleep") < 3 || r.Stray != "" {
		t.Errorf("got %v", r)
	}
	if left := processesOf(scratch); len(left) != 0 {
		t.Errorf("left behind:\n%s", describe(left))
	}
}

func TestStraysAreReported(t *testing.T) {
	r := Run(t, 10*time.Second, Shell("bash", `sleep 40 & exit 0`))
	if r.Status != "exit 0" || !strings.Contains(r.Stray, "sleep 40") {
		t.Errorf("got %v", r)
	}
}

func TestAwaitBlocked(t *testing.T) {
	dir := Dir(t)
	p := Start(t, Shell("bash", `mkfifo "$D/p"; exec cat <>"$D/p"`, "D="+dir))
	p.AwaitBlocked(1, Read)
	if p.Blocked(1, Write) || len(p.Members()) != 1 || len(p.Uninterruptible()) != 0 {
		t.Errorf("members %v:\n%s", p.Members(), p.Describe())
	}
	busy := Start(t, Shell("bash", `while :; do echo; done`))
	if poll(3*settled, settled/5, func() bool { return busy.Blocked(1, Read) }) {
		t.Errorf("a busy process is called blocked:\n%s", busy.Describe())
	}
	p.Kill()
	if p.Blocked(1, Read) || !p.Wait(0) {
		t.Error("a killed process is called blocked")
	}
}

// A process that left its session is still found by its environment.
func TestLeftovers(t *testing.T) {
	scratch := Dir(t)
	t.Setenv(scratchSetting, scratch)
	if err := leftovers(scratch); err != nil {
		t.Errorf("with nothing left: %v", err)
	}
	r := Run(t, 10*time.Second, Shell("bash", `setsid -f sleep 41`))
	if r.Status != "exit 0" {
		t.Fatalf("got %v", r)
	}
	err := leftovers(scratch)
	if err == nil || !strings.Contains(err.Error(), "sleep 41") {
		t.Errorf("want the sleep to be named, got %v", err)
	}
	if left := processesOf(scratch); len(left) != 0 {
		t.Errorf("not killed:\n%s", describe(left))
	}
}

func TestCheckPrograms(t *testing.T) {
	if err := CheckPrograms("sh", "ls"); err != nil {
		t.Error(err)
	}
	err := CheckPrograms("sh", "no-such-program", "nor-this")
	if err == nil || err.Error() != "programs missing: no-such-program nor-this" {
		t.Errorf("got %v", err)
	}
}
