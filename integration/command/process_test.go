// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	patience = 20 * time.Second // until something must have happened
	nobody   = 65534
)

// folder makes an empty folder below scratch that vanishes with the test.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // another user works here, too
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range mountsBelow(dir) {
			t.Errorf("mount left behind: %s", m)
			unix.Unmount(m, unix.MNT_DETACH)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

var brokers atomic.Int64

// newName returns a broker's name that nobody else has.
func newName() string { return fmt.Sprintf("command-%d-%d", os.Getpid(), brokers.Add(1)) }

// until polls cond until it holds and fails the test if it never does.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// output is what a process has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// process is a running command, in a process group of its own.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
}

// job is a command to start.
type job struct {
	args  []string
	stdin io.Reader
	env   []string
	dir   string
	uid   uint32 // 0: as the test
}

// zpipes is the job of running the binary.
func zpipes(args ...string) job { return job{args: append([]string{binary}, args...)} }

// sh is the job of running a script.
func sh(script string, args ...string) job {
	return job{args: append([]string{"sh", "-c", script, "sh"}, args...)}
}

// start starts a job; its process is killed when the test ends, at the latest.
func start(t *testing.T, j job) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(j.args[0], j.args[1:]...), ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = j.stdin, &p.stdout, &p.stderr
	p.cmd.Dir = j.dir
	p.cmd.Env = append(os.Environ(), j.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if j.uid != 0 && os.Geteuid() == 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: j.uid, Gid: j.uid}
	}
	p.cmd.WaitDelay = patience // a daemon that kept the output open
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	})
	return p
}

// wait waits until the process has ended by itself.
func (p *process) wait() result {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience + 10*time.Second):
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
		p.t.Fatalf("%q did not end in time; stdout %.300q, stderr %.300q", p.cmd.Args, p.stdout.String(), p.stderr.String())
	}
	r := result{code: p.cmd.ProcessState.ExitCode(), stdout: p.stdout.String(), stderr: p.stderr.String()}
	if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		r.signal = ws.Signal()
	}
	return r
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("%v to %q: %v", s, p.cmd.Args, err)
	}
}

// result is how a process ended.
type result struct {
	code           int // -1: by signal
	signal         syscall.Signal
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit %d, %v, stdout %.500q, stderr %.1000q", r.code, r.signal, r.stdout, r.stderr)
}

// run runs a job to its end.
func run(t *testing.T, j job) result {
	t.Helper()
	return start(t, j).wait()
}

// ok runs a job that must succeed, silently on stderr, and returns its output.
func ok(t *testing.T, j job) string {
	t.Helper()
	r := run(t, j)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%q: %v", j.args, r)
	}
	return r.stdout
}

// refused runs a job that must fail with a code and one line that has all parts.
func refused(t *testing.T, code int, j job, parts ...string) {
	t.Helper()
	run(t, j).is(t, j.args, code, parts...)
}

func (r result) is(t *testing.T, args []string, code int, parts ...string) {
	t.Helper()
	line, more, _ := strings.Cut(r.stderr, "\n")
	if r.code != code || r.stdout != "" || more != "" || !strings.HasPrefix(line, "zpipes: ") || !strings.HasSuffix(r.stderr, "\n") {
		t.Errorf("%q: %v; want exit %d and one line", args, r, code)
	}
	for _, part := range parts {
		if !strings.Contains(line, part) {
			t.Errorf("%q: says %q; want %q in it", args, line, part)
		}
	}
}

// server is a broker in the foreground.
type server struct {
	*process
	name string
	dir  string // the mount point; empty for a broker alone
}

// mounted starts zpipes mount on a new folder and waits until it is ready.
func mounted(t *testing.T, flags ...string) *server {
	t.Helper()
	dir := filepath.Join(folder(t), "pipes")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return serving(t, newName(), dir, zpipes(append([]string{"mount", dir}, flags...)...))
}

// brokered starts zpipes broker and waits until it is ready.
func brokered(t *testing.T, flags ...string) *server {
	t.Helper()
	return serving(t, newName(), "", zpipes(append([]string{"broker"}, flags...)...))
}

func serving(t *testing.T, name, dir string, j job) *server {
	t.Helper()
	j.args = append(j.args, "--name", name)
	s := &server{process: start(t, j), name: name, dir: dir}
	t.Cleanup(s.stop)
	until(t, "the broker answers", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("%q: %v", j.args, s.wait())
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ls := exec.CommandContext(ctx, binary, "ls", "--name", name)
		if j.uid != 0 && os.Geteuid() == 0 {
			ls.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: j.uid, Gid: j.uid}}
		}
		return ls.Run() == nil
	})
	return s
}

// stop ends the server with SIGTERM; it must do so well and leave nothing.
func (s *server) stop() {
	s.t.Helper()
	select {
	case <-s.ended:
	default:
		s.signal(syscall.SIGTERM)
		s.endsWell()
	}
	if s.dir != "" && len(mountsBelow(s.dir)) > 0 {
		s.t.Errorf("the server has left its mount on %s", s.dir)
		unix.Unmount(s.dir, unix.MNT_DETACH)
	}
}

func (s *server) endsWell() {
	s.t.Helper()
	if r := s.wait(); r.code != 0 || strings.Contains(r.stderr, "level=ERROR") || strings.Contains(r.stderr, "DATA RACE") {
		s.t.Errorf("the server ended badly: %v", r)
	}
}

// zpipes is a client command for this broker.
func (s *server) zpipes(args ...string) job {
	return zpipes(append(args, "--name", s.name)...)
}

// at is a path in the mount.
func (s *server) at(name string) string { return filepath.Join(s.dir, name) }
