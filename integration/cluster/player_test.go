// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// player is a process on a host that makes the calls it is told to (package
// actor), each at a time on a thread of its own.
type player struct {
	t     testing.TB
	host  *lab.Host
	proc  *lab.Process
	in    *json.Encoder // guarded by mu
	ended chan struct{} // closed when it answers no more

	mu      sync.Mutex // guards what follows
	last    int        // the last request's number
	threads int        // that were started
	idle    []thread
	waiting map[int]chan actor.Result
}

type thread struct{ number, tid int }

// newPlayer starts a player, which ends with the test.
func newPlayer(t testing.TB, h *lab.Host) *player {
	t.Helper()
	inRead, inWrite := pipe(t)
	outRead, outWrite := pipe(t)
	// Without async preemption no signal of the runtime interrupts a call.
	env := []string{roleSetting + "=actor", "GODEBUG=asyncpreemptoff=1", "GORACE=atexit_sleep_ms=0"}
	p := &player{t: t, host: h, in: json.NewEncoder(inWrite), ended: make(chan struct{}), waiting: map[int]chan actor.Result{}}
	p.proc = lab.Start(t, h.On(lab.Command{Args: []string{os.Args[0]}, Env: env, Stdin: inRead, Stdout: outWrite}))
	inRead.Close()
	outWrite.Close()
	go p.listen(outRead)
	t.Cleanup(func() {
		t.Helper()
		inWrite.Close()
		if !p.proc.Wait(soon) {
			t.Errorf("a player does not end:\n%s", p.proc.Describe())
			p.proc.Kill()
		}
		<-p.ended
		outRead.Close()
		if said := p.proc.Stderr(); said != "" {
			t.Errorf("a player says %s", said)
		}
	})
	return p
}

func newPlayers(t testing.TB, hosts []*lab.Host) []*player {
	t.Helper()
	var players []*player
	for _, h := range hosts {
		players = append(players, newPlayer(t, h))
	}
	return players
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// listen hands answers to who waits for them, until the player has gone.
func (p *player) listen(out *os.File) {
	defer close(p.ended)
	for answers := json.NewDecoder(bufio.NewReader(out)); ; {
		var res actor.Result
		if answers.Decode(&res) != nil {
			return
		}
		p.mu.Lock()
		p.waiting[res.ID] <- res
		delete(p.waiting, res.ID)
		p.mu.Unlock()
	}
}

// call is a system call under way.
type call struct {
	p      *player
	req    actor.Request
	thread thread
	answer chan actor.Result
}

// begin starts a call and does not wait for it. A Path is relative to the mount.
func (p *player) begin(r actor.Request) *call {
	return p.onThread(p.free(), r)
}

// free is a thread that does nothing.
func (p *player) free() thread {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		th := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return th
	}
	p.threads++
	th := thread{number: p.threads}
	p.mu.Unlock()
	hello, err := p.onThread(th, actor.Request{Op: "hello"}).await(soon)
	if err != nil {
		p.t.Error(err)
	}
	th.tid = hello.TID
	return th
}

func (p *player) onThread(th thread, r actor.Request) *call {
	for _, path := range []*string{&r.Path, &r.Path2} {
		if *path != "" {
			*path = filepath.Join(lab.ZP, *path)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	r.ID, r.Thread = p.last, th.number
	c := &call{p: p, req: r, thread: th, answer: make(chan actor.Result, 1)}
	p.waiting[r.ID] = c.answer
	if err := p.in.Encode(r); err != nil {
		p.t.Errorf("%s: the player takes no requests: %v", c, err)
	}
	return c
}

// await waits for the result. An error means that there is none.
func (c *call) await(limit time.Duration) (actor.Result, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case res := <-c.answer:
		c.p.mu.Lock()
		if c.thread.tid != 0 {
			c.p.idle = append(c.p.idle, c.thread)
		}
		c.p.mu.Unlock()
		return res, nil
	case <-c.p.ended:
		return actor.Result{Ret: -1, Errno: "death"}, fmt.Errorf("%s: the player has died", c)
	case <-timer.C:
		return actor.Result{Ret: -1, Errno: "hangs"}, fmt.Errorf("%s: no answer in %v: %s", c, limit, c.where())
	}
}

// result is await for tests that cannot go on without it.
func (c *call) result(limit time.Duration) actor.Result {
	c.p.t.Helper()
	res, err := c.await(limit)
	if err != nil {
		c.p.t.Fatal(err)
	}
	return res
}

// blocks waits until the call sleeps in the mount and goes on doing so.
func (c *call) blocks() {
	c.p.t.Helper()
	since := time.Now()
	ok := lab.Until(soon, func() bool {
		if len(c.answer) > 0 {
			return true
		}
		if !strings.Contains(c.where(), "wchan request_wait_answer") {
			since = time.Now()
		}
		return time.Since(since) >= 100*time.Millisecond
	})
	if !ok || len(c.answer) > 0 {
		c.p.t.Fatalf("%s: does not block: %s", c, c.where())
	}
}

// where tells what the call waits for in the kernel.
func (c *call) where() string {
	if c.thread.tid == 0 {
		return "not begun"
	}
	task := fmt.Sprintf("/proc/%d/task/%d/", c.p.proc.PID(), c.thread.tid)
	wchan, err := os.ReadFile(task + "wchan")
	if err != nil {
		return err.Error()
	}
	return "wchan " + string(wchan)
}

func (c *call) String() string {
	return fmt.Sprintf("%s: %s %s%v", c.p.host.Name, c.req.Op, c.req.Path, c.req.Args)
}

// do makes a call that must not take long.
func (p *player) do(r actor.Request) actor.Result {
	p.t.Helper()
	return p.begin(r).result(soon)
}

// must makes a call that must succeed, and soon.
func (p *player) must(r actor.Request) actor.Result {
	p.t.Helper()
	res := p.do(r)
	if res.Errno != "" {
		p.t.Fatalf("%s: %s %s%v: %s", p.host.Name, r.Op, r.Path, r.Args, res.Errno)
	}
	return res
}

// refused makes a call that must fail so.
func (p *player) refused(errno string, r actor.Request) {
	p.t.Helper()
	if res := p.do(r); res.Errno != errno {
		p.t.Errorf("%s: %s %s%v: want %s, got %d %s", p.host.Name, r.Op, r.Path, r.Args, errno, res.Ret, res.Errno)
	}
}

// Requests that many tests make.

func open(name string, flags int) actor.Request {
	return actor.Request{Op: "open", Path: name, Args: []int64{int64(flags), 0o644}}
}

func closing(fd int64) actor.Request { return actor.Request{Op: "close", FD: int(fd)} }

func mkfifo(name string) actor.Request {
	return actor.Request{Op: "mkfifo", Path: name, Args: []int64{0o644}}
}

func unlinking(name string) actor.Request { return actor.Request{Op: "unlink", Path: name} }

func write(fd int64, data string) actor.Request {
	return actor.Request{Op: "write", FD: int(fd), Data: []byte(data)}
}

func read(fd int64, size int64) actor.Request {
	return actor.Request{Op: "read", FD: int(fd), Args: []int64{size}}
}

// stream writes a pattern.
func stream(fd, size, seed int64) actor.Request {
	return actor.Request{Op: "stream", FD: int(fd), Args: []int64{size, seed}}
}

// drain reads so many bytes, or to the end.
func drain(fd, size int64) actor.Request {
	return actor.Request{Op: "drain", FD: int(fd), Args: []int64{size, 0, size}}
}

const everything = int64(1) << 50

// meet opens both ends.
func meet(r *player, w *player, name string) (rfd, wfd int64) {
	r.t.Helper()
	reading, writing := r.begin(open(name, unix.O_RDONLY)), w.begin(open(name, unix.O_WRONLY))
	ends := [2]actor.Result{reading.result(soon), writing.result(soon)}
	for i, c := range []*call{reading, writing} {
		if ends[i].Errno != "" {
			r.t.Fatalf("%s: %s", c, ends[i].Errno)
		}
	}
	return ends[0].Ret, ends[1].Ret
}
