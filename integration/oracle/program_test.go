// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// program is a real program a script runs in one of its directories.
type program struct {
	s     *script
	name  string
	cmd   *exec.Cmd
	out   bytes.Buffer // complete when ended is closed
	ended chan struct{}
}

// run starts a program and does not wait for it.
func (s *script) run(dir string, command ...string) *program {
	s.agree()
	s.named[command[0]]++
	p := &program{s: s, name: command[0], ended: make(chan struct{})}
	if n := s.named[command[0]]; n > 1 {
		p.name = fmt.Sprintf("%s%d", command[0], n)
	}
	s.step("%s: %q", p.name, command)
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "LC_ALL=C", "TMPDIR="+os.Getenv("SCRATCH"))
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = time.Second // what a killed shell leaves may keep its output open
	if err := p.cmd.Start(); err != nil {
		panic(stop{err.Error()})
	}
	s.procs = append(s.procs, p)
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState has what is to know
	}()
	return p
}

// sh starts a shell command.
func (s *script) sh(dir, command string) *program { return s.run(dir, "bash", "-c", command) }

// wait records how the program ended and what it printed.
func (p *program) wait() {
	p.s.step("%s: waiting for its end", p.name)
	if !p.within(answerTimeout) {
		where := members(syscall.Getpgrp())
		panic(stop{fmt.Sprintf("%s does not end\n%s", p.name, whereabouts(where))})
	}
	p.s.fresh = true
	p.s.line("%s: %s %q", p.name, ending(p.cmd.ProcessState), p.out.String())
}

// within tells whether the program ends in time.
func (p *program) within(d time.Duration) bool { return closedWithin(p.ended, d) }

// closedWithin tells whether a channel is closed in time; it surely does when
// that is already so.
func closedWithin(ch <-chan struct{}, d time.Duration) bool {
	select {
	case <-ch:
		return true
	default:
	}
	select {
	case <-ch:
		return true
	case <-time.After(d):
		return false
	}
}

// asleep waits until the program sleeps in one system call and keeps to it.
func (p *program) asleep() {
	var last task
	var since time.Time
	err := until(p.name+" to sleep", func() bool {
		t, err := readTask(p.cmd.Process.Pid, p.cmd.Process.Pid)
		if err != nil {
			return true // it has ended, which wait will show
		}
		if t != last || !t.sleeps() {
			last, since = t, time.Now()
		}
		return time.Since(since) >= p.s.settle
	})
	if err != nil {
		panic(stop{err.Error()})
	}
}

// stop ends the program, if it has not ended by itself.
func (p *program) stop() error {
	if p.within(0) {
		return nil
	}
	if err := p.cmd.Process.Signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	if !p.within(answerTimeout) {
		return fmt.Errorf("%s does not die", p.name)
	}
	return nil
}

// pause stops the program as a terminal does and waits until it has stopped.
func (p *program) pause() {
	p.s.line("%s: is stopped", p.name)
	pid := p.cmd.Process.Pid
	err := unix.Kill(pid, unix.SIGTSTP)
	if err == nil {
		err = until(p.name+" to stop", func() bool {
			t, err := readTask(pid, pid)
			return err == nil && t.state == 'T'
		})
	}
	if err != nil {
		panic(stop{err.Error()})
	}
}

// resume lets a stopped program go on.
func (p *program) resume() {
	p.s.line("%s: goes on", p.name)
	if err := unix.Kill(p.cmd.Process.Pid, unix.SIGCONT); err != nil {
		panic(stop{err.Error()})
	}
}
