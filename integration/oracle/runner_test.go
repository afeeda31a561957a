// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// scenarioTimeout is how long one run of a scenario may take: above
// answerTimeout, so that a script can say itself which call hangs.
const scenarioTimeout = 60 * time.Second

// outcome is what one run of a scenario gave.
type outcome struct {
	transcript []string
	problems   []string // what went wrong besides the transcript
	hung       bool
}

func (o *outcome) problem(format string, args ...any) {
	o.problems = append(o.problems, fmt.Sprintf(format, args...))
}

// stopped tells whether the script gave up.
func (o outcome) stopped() bool {
	return slices.ContainsFunc(o.transcript, func(line string) bool { return strings.HasPrefix(line, "STOP: ") })
}

// playing is a scenario's child process and what it told so far.
type playing struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer // complete when ended is closed
	out    outcome      // likewise
	steps  []string     // likewise
	ended  chan struct{}
}

// play runs a scenario in a process group of its own. When it returns no
// process of the group is left, or the outcome says so.
func play(name string, d dirs, limit time.Duration) (o outcome) {
	scratch, err := os.MkdirTemp("", "oracle-scratch")
	if err != nil {
		o.problem("make the scratch directory: %v", err)
		return o
	}
	defer os.RemoveAll(scratch)
	p, err := startPlaying(name, d, scratch)
	if err != nil {
		o.problem("%v", err)
		return o
	}
	group := p.cmd.Process.Pid
	hung, where := !closedWithin(p.ended, limit), ""
	if hung {
		where = whereabouts(members(group))
	}
	left := members(group)
	unkillable := annihilate(group)
	<-p.ended
	_ = p.stdin.Close() // it is closed already when the child has ended
	o = p.out
	o.hung = hung || o.stopped()
	switch {
	case hung:
		o.problem("hung after %q\n%s", p.steps, where)
	case len(left) > 0:
		o.problem("left processes: %v", left)
	}
	if unkillable != "" {
		o.problem("left processes that cannot be killed:\n%s", unkillable)
	}
	if stderr := p.stderr.String(); stderr != "" {
		o.problem("standard error: %s", stderr)
	}
	if len(o.problems) > 0 {
		scrub(&o, filepath.Join(d.W, directory(name)))
	}
	return o
}

func startPlaying(name string, d dirs, scratch string) (*playing, error) {
	p := &playing{cmd: exec.Command("/proc/self/exe"), ended: make(chan struct{})}
	// With the race detector each process would sleep a second before it ends.
	race := "GORACE=" + os.Getenv("GORACE") + " atexit_sleep_ms=0"
	p.cmd.Env = append(os.Environ(), roleVariable+"=scenario", "SCRATCH="+scratch, race,
		"ZPIPES_ORACLE_SCENARIO="+name, "ZPIPES_ORACLE_W="+d.W, "ZPIPES_ORACLE_R="+d.R,
		"ZPIPES_ORACLE_MIXED="+strconv.FormatBool(d.Mixed), "ZPIPES_ORACLE_BROKER="+d.Broker)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = 5 * time.Second
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a scenario: %w", err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a scenario: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a scenario: %w", err)
	}
	p.stdin = stdin
	go p.listen(stdout)
	return p, nil
}

// listen sorts the child's lines until it has ended.
func (p *playing) listen(stdout io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		kind, text, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "T":
			p.out.transcript = append(p.out.transcript, text)
		case "S":
			p.steps = append(p.steps, text)
		default:
			p.out.problem("%s", text)
		}
	}
	if len(p.steps) > 4 {
		p.steps = p.steps[len(p.steps)-4:] // what it did before is in the transcript
	}
	if err := p.cmd.Wait(); err != nil {
		p.out.problem("the scenario's process: %v", err)
	}
}

// annihilate kills a process group and answers who survived that.
func annihilate(group int) string {
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left := members(group)
		if len(left) == 0 {
			return ""
		}
		if time.Now().After(deadline) {
			return whereabouts(left)
		}
		_ = syscall.Kill(-group, syscall.SIGKILL) // fails when they have ended meanwhile
		<-tick.C
	}
}

// scrub removes what a failed scenario left, from another process: the
// directory may hang.
func scrub(o *outcome, dir string) {
	rm := exec.Command("rm", "-rf", dir)
	if err := rm.Start(); err != nil {
		o.problem("remove %s: %v", dir, err)
		return
	}
	done := make(chan error, 1)
	go func() { done <- rm.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			o.problem("remove %s: %v", dir, err)
		}
	case <-time.After(10 * time.Second):
		o.problem("remove %s: hangs", dir)
		_ = rm.Process.Kill() // a hung mount is freed when it is unmounted
	}
}
