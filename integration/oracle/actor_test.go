// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// actor is one thread of an actor process, as a script sees it.
type actor struct {
	s    *script
	proc *actorProcess
	dir  string // names in its calls are relative to it
	n    int    // which thread
	tid  int
}

// actorProcess is the process all its threads share.
type actorProcess struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	threads map[int]*actor
	ended   chan struct{} // closed when the process was waited for

	mu      sync.Mutex // guards what follows
	next    int
	waiting map[int]chan proto.Result
}

func startActor(s *script, name, dir string, inherited []*os.File) (*actor, error) {
	cmd := exec.Command("/proc/self/exe")
	// Without async preemption no signal of the runtime ever interrupts a call.
	cmd.Env = append(os.Environ(), roleVariable+"=actor", "GODEBUG=asyncpreemptoff=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = inherited
	p := &actorProcess{
		name: name, cmd: cmd, threads: map[int]*actor{},
		ended: make(chan struct{}), waiting: map[int]chan proto.Result{},
	}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start an actor: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start an actor: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start an actor: %w", err)
	}
	go p.listen(stdout)
	s.procs = append(s.procs, p)
	return (&actor{s: s, proc: p, dir: dir}).thread(0), nil
}

// listen hands answers to who waits for them, until the process has ended.
func (p *actorProcess) listen(stdout io.Reader) {
	defer close(p.ended)
	for answers := json.NewDecoder(bufio.NewReader(stdout)); ; {
		var res proto.Result
		if answers.Decode(&res) != nil {
			break
		}
		p.mu.Lock()
		p.waiting[res.ID] <- res
		delete(p.waiting, res.ID)
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // ProcessState has what is to know
}

// stop ends the process and every call it is in.
func (p *actorProcess) stop() error {
	_ = p.stdin.Close() // it is closed already when the process has ended
	// A stopped process would not see that its input has ended.
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // fails when it has ended
	if !closedWithin(p.ended, answerTimeout) {
		return fmt.Errorf("%s does not end when told to", p.name)
	}
	return nil
}

// thread answers another thread of the same process.
func (a *actor) thread(n int) *actor {
	if t := a.proc.threads[n]; t != nil {
		return t
	}
	t := &actor{s: a.s, proc: a.proc, dir: a.dir, n: n}
	a.proc.threads[n] = t
	t.tid = t.quiet(op{text: "hello", req: proto.Request{Op: "hello"}}).TID
	return t
}

func (a *actor) pid() int { return a.proc.cmd.Process.Pid }

// call is a call under way.
type call struct {
	a      *actor
	op     op
	answer chan proto.Result
	got    *proto.Result
}

// start begins a call and does not wait for it.
func (a *actor) start(o op) *call {
	a.s.agree()
	a.s.step("%s: %s", a, o.text)
	req := o.req
	req.Thread = a.n
	for _, path := range []*string{&req.Path, &req.Path2} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(a.dir, *path)
		}
	}
	c := &call{a: a, op: o, answer: make(chan proto.Result, 1)}
	p := a.proc
	p.mu.Lock()
	p.next++
	req.ID = p.next
	p.waiting[req.ID] = c.answer
	p.mu.Unlock()
	text, err := json.Marshal(req)
	if err != nil {
		panic(err)
	}
	if _, err := p.stdin.Write(append(text, '\n')); err != nil {
		panic(stop{fmt.Sprintf("%s takes no requests: %v", a, err)})
	}
	return c
}

// do makes a call and records its result.
func (a *actor) do(o op) result { return a.start(o).wait() }

// quiet makes a call and does not record it.
func (a *actor) quiet(o op) result { return a.start(o).quiet() }

// until repeats a call until its result reads want and records the last. It
// is for what a close or exit of another process brings about: a mount learns
// of these from the kernel soon after, not at once.
func (a *actor) until(want string, o op) result {
	var res result
	deadline := time.Now().Add(answerTimeout / 2)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		res = a.quiet(o)
		if res.text == want || time.Now().After(deadline) {
			break
		}
		if res.Errno == "" && res.isOpen {
			a.quiet(closing(res.fd()))
		}
		<-tick.C
	}
	a.s.line("%s: %s = %s", a, o.text, res.text)
	return res
}

// poll looks at the call's result without waiting.
func (c *call) poll() bool {
	if c.got == nil {
		select {
		case res := <-c.answer:
			c.got, c.a.s.fresh = &res, true
		default:
		}
	}
	return c.got != nil
}

// wait waits for the result and records it. That the process dies of the call
// is a result.
func (c *call) wait() result {
	res := c.quiet()
	c.a.s.line("%s: %s = %s", c.a, c.op.text, res.text)
	return res
}

func (c *call) quiet() result {
	c.a.s.step("%s: %s, waiting", c.a, c.op.text)
	if !c.poll() {
		select {
		case res := <-c.answer:
			c.got, c.a.s.fresh = &res, true
		case <-c.a.proc.ended:
			c.a.s.fresh = true
			if !c.poll() {
				return result{text: "death", Result: proto.Result{Ret: -1, Errno: "death"}}
			}
		case <-time.After(answerTimeout):
			panic(stop{fmt.Sprintf("no answer to %s: %s\n%s", c.a, c.op.text, c.a.whereabouts())})
		}
	}
	return result{Result: *c.got, text: c.op.show(*c.got), isOpen: c.op.req.Op == "open"}
}

// blocks records whether the call sleeps in the kernel: its thread has not run
// and was in the call's system call all the time for the settling time.
func (c *call) blocks() bool {
	c.a.s.step("%s: %s, should block", c.a, c.op.text)
	var last task
	var since time.Time
	var blocked, agreed bool
	err := until(c.op.text+" to block or return", func() bool {
		if c.poll() || !c.a.alive() {
			return true
		}
		t, err := readTask(c.a.pid(), c.a.tid)
		if err != nil {
			return false
		}
		if t != last || !t.sleeps() || !slices.Contains(c.op.sleeps, t.syscall) {
			last, since, agreed = t, time.Now(), false
		}
		blocked = time.Since(since) >= c.a.s.settle
		if blocked && !agreed {
			// Whatever may free it from another host has come after this.
			c.a.s.fresh = true
			c.a.s.agree()
			agreed, blocked = true, c.a.s.hosts == nil
		}
		return blocked
	})
	if err != nil {
		panic(stop{fmt.Sprintf("%s: %v\n%s", c.a, err, c.a.whereabouts())})
	}
	verdict := "returns"
	if blocked {
		verdict = "blocks"
	}
	c.a.s.line("%s: %s %s", c.a, c.op.text, verdict)
	return blocked
}

func (a *actor) alive() bool { return !closedWithin(a.proc.ended, 0) }

func (a *actor) whereabouts() string {
	return whereabouts(slices.DeleteFunc(processes(), func(p process) bool { return p.pid != a.pid() }))
}

// signal sends a signal to this thread alone.
func (a *actor) signal(sig unix.Signal) {
	a.s.agree()
	a.s.line("%s: gets %s", a, unix.SignalName(sig))
	if err := unix.Tgkill(a.pid(), a.tid, sig); err != nil {
		panic(stop{"tgkill: " + err.Error()})
	}
}

// kill sends a signal to the whole process.
func (a *actor) kill(sig unix.Signal) {
	a.s.agree()
	a.s.line("%s: process gets %s", a, unix.SignalName(sig))
	if err := unix.Kill(a.pid(), sig); err != nil {
		panic(stop{"kill: " + err.Error()})
	}
}

// ends waits for the end of the process and records how it ended.
func (a *actor) ends() {
	a.s.step("%s: ends", a)
	if !closedWithin(a.proc.ended, answerTimeout) {
		a.s.line("%s: does not end\n%s", a, a.whereabouts())
		return
	}
	a.s.fresh = true
	a.s.line("%s: %s", a, ending(a.proc.cmd.ProcessState))
}

// die kills the process and waits for its end.
func (a *actor) die() {
	a.kill(unix.SIGKILL)
	a.ends()
}

// halted waits until every thread of the process has stopped.
func (a *actor) halted() {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", a.pid()))
	if err == nil {
		err = until("a process to stop", func() bool {
			return !slices.ContainsFunc(tasks, func(dir string) bool {
				return !strings.Contains(content(dir+"/status"), "\nState:\tT")
			})
		})
	}
	if err != nil {
		panic(stop{fmt.Sprintf("%s: %v\n%s", a, err, a.whereabouts())})
	}
}

// ending puts a wait status into words.
func ending(state *os.ProcessState) string {
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit %d", status.ExitStatus())
}

func (a *actor) String() string {
	if a.n == 0 {
		return a.proc.name
	}
	return fmt.Sprintf("%s.%d", a.proc.name, a.n)
}
