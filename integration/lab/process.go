// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run.
type Command struct {
	Args   []string
	Env    []string // NAME=value, added to the environment of the test
	Stdin  *os.File // nil: empty
	Stdout *os.File // nil: it goes into Result.Stdout
}

// Shell is the command that runs script in the shell, which may be several
// words, such as "busybox sh".
func Shell(shell, script string, env ...string) Command {
	return Command{Args: append(strings.Fields(shell), "-c", script), Env: env}
}

// Result is how a command ended.
type Result struct {
	Status string // "exit 0" or "signal: killed"
	Stdout string
	Stderr string
	Took   time.Duration // from start to end
	Hung   string        // the processes, when it was killed at its deadline
	Stray  string        // the processes that outlived the command, since killed
}

// String is the whole result, each output cut to a length that can be read.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %v\nstdout: %.2000q\nstderr: %.2000q", r.Status, r.Took.Round(time.Millisecond), r.Stdout, r.Stderr)
	if r.Hung != "" {
		fmt.Fprintf(&b, "\nhung:\n%s", r.Hung)
	}
	if r.Stray != "" {
		fmt.Fprintf(&b, "\nleft behind:\n%s", r.Stray)
	}
	return b.String()
}

// Process is a running command, the leader of a session of its own.
type Process struct {
	t       testing.TB
	cmd     *exec.Cmd
	stdout  string // the file that has it
	stderr  string
	started time.Time
	took    time.Duration // set before done is closed
	done    chan struct{}
}

// Run starts a command and waits until it ends. At the deadline the whole
// session is killed and Result.Hung tells where each process was.
func Run(t testing.TB, deadline time.Duration, c Command) Result {
	t.Helper()
	p := Start(t, c)
	var hung string
	if !p.Wait(deadline) {
		hung = p.Describe()
		p.Kill()
	}
	r := p.Result()
	r.Hung = hung
	return r
}

// Start starts a command. When the test ends its whole session is killed; the
// test fails if a process survives that.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	return start(t, c, syscall.SIGKILL)
}

func start(t testing.TB, c Command, deathSignal syscall.Signal) *Process {
	t.Helper()
	dir := Dir(t)
	stdout, stderr := create(t, dir, "stdout"), create(t, dir, "stderr")
	defer stdout.Close()
	defer stderr.Close()
	p := &Process{t: t, cmd: exec.Command(c.Args[0], c.Args[1:]...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.stdout, p.stderr = stdout.Name(), stderr.Name()
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	if c.Stdin != nil {
		p.cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: deathSignal}
	p.started = time.Now()
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		t.Fatalf("start %q: %v", c.Args, err)
	}
	t.Cleanup(p.Kill)
	return p
}

// run starts the process and waits for it on one thread: the death signal of a
// child is bound to the thread that made it.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	// The error repeats what ProcessState says.
	_ = p.cmd.Wait()
	p.took = time.Since(p.started)
	close(p.done)
}

func create(t testing.TB, dir, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// PID is the process id, which is also the session's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait waits at most limit for the process to end and reports whether it did.
func (p *Process) Wait(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	return p.ended()
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("signal %v to pid %d: %v", s, p.PID(), err)
	}
}

// Kill kills the whole session and waits for it, two seconds at most. The test
// fails when a process survives.
func (p *Process) Kill() {
	p.t.Helper()
	left := killAll(func() []process { return inSession(p.PID()) })
	if len(left) > 0 {
		p.t.Errorf("unkillable:\n%s", describe(left))
		return
	}
	if !p.Wait(2 * time.Second) {
		p.t.Errorf("pid %d was not reaped", p.PID())
	}
}

// Members lists the living processes of the session, the youngest first.
func (p *Process) Members() []int {
	var pids []int
	for _, m := range inSession(p.PID()) {
		pids = append(pids, m.pid)
	}
	slices.Sort(pids)
	slices.Reverse(pids)
	return pids
}

// Uninterruptible lists the processes of the session in state D, which no signal
// reaches.
func (p *Process) Uninterruptible() []int {
	var pids []int
	for _, m := range inSession(p.PID()) {
		if m.state == 'D' {
			pids = append(pids, m.pid)
		}
	}
	return pids
}

// Describe tells where each process of the session is.
func (p *Process) Describe() string { return describe(inSession(p.PID())) }

// Stdout is what the process has written to standard output so far.
func (p *Process) Stdout() string { return p.output(p.stdout) }

// Stderr is what the process has written to standard error so far.
func (p *Process) Stderr() string { return p.output(p.stderr) }

func (p *Process) output(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		p.t.Error(err)
	}
	return string(b)
}

// Result is how the process ended. It must have ended. Processes of its session
// that outlive it are given a moment, then killed and reported as strays.
func (p *Process) Result() Result {
	p.t.Helper()
	if !p.ended() {
		return Result{Status: "running", Hung: p.Describe()}
	}
	r := Result{Status: status(p.cmd.ProcessState), Took: p.took}
	if !Until(2*time.Second, func() bool { return len(inSession(p.PID())) == 0 }) {
		r.Stray = p.Describe()
		p.Kill()
	}
	r.Stdout, r.Stderr = p.Stdout(), p.Stderr()
	return r
}

func status(s *os.ProcessState) string {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Sprintf("signal: %v", ws.Signal())
	}
	return fmt.Sprintf("exit %d", s.ExitCode())
}

// A Call is a way of waiting in the kernel: any one of some system calls.
type Call []uintptr

// The calls in which an end of a pipe waits.
var (
	Open  = Call{unix.SYS_OPENAT}
	Read  = Call{unix.SYS_READ, unix.SYS_READV}
	Write = Call{unix.SYS_WRITE, unix.SYS_WRITEV}
)

// settled is how long a process must stand still to be called blocked.
const settled = 100 * time.Millisecond

// AwaitBlocked waits until n processes of the session are blocked in the call:
// asleep in it, and having moved no byte for a while. The test fails when that
// does not come about in ten seconds.
func (p *Process) AwaitBlocked(n int, c Call) {
	p.t.Helper()
	var before string
	var since time.Time
	ok := poll(10*time.Second, settled/5, func() bool {
		count, now := p.waiting(c)
		if count != n || now != before {
			before, since = now, time.Now()
			return false
		}
		return time.Since(since) >= settled
	})
	if !ok {
		p.t.Fatalf("not blocked: want %d processes in %v, have\n%s", n, c, p.Describe())
	}
}

// Blocked reports whether n processes of the session wait in the call at this
// moment.
func (p *Process) Blocked(n int, c Call) bool {
	count, _ := p.waiting(c)
	return count == n
}

func (p *Process) waiting(c Call) (count int, moved string) {
	for _, m := range inSession(p.PID()) {
		if ok, io := m.waitsIn(c); ok {
			count++
			moved += fmt.Sprint(m.pid, " ", io, "\n")
		}
	}
	return count, moved
}
