// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// answerTimeout is how long a call that should return may take.
const answerTimeout = 20 * time.Second

// dirs is one side of a comparison. On a FIFO and on a single mount W and R
// are the same directory; on a cluster they are the mounts of two hosts.
type dirs struct {
	W string // where writers open
	R string // where readers open

	Mixed  bool   // every second writer opens in R, every second reader in W
	Broker string // of the two hosts': its network namespace; empty: one host
}

// script is a scenario at work: it owns the scenario's processes and its own
// new directory in the pair.
type script struct {
	dirs
	settle time.Duration  // how long a call must sleep to count as blocked
	hosts  *lab.Agreement // nil: one host
	fresh  bool           // something was done, and the hosts may not have agreed since

	mu    sync.Mutex // guards out
	out   *bufio.Writer
	procs []stopper
	named map[string]int // how many actors have the name
}

// stopper is a process the script started and has to end.
type stopper interface{ stop() error }

// A stop ends a scenario early: what follows would make no sense. It becomes
// a line of the transcript.
type stop struct{ reason string }

// runScenario is the child's main function: it runs the scenario and prints,
// for the runner, "T" lines of the transcript, "S" lines before each step and
// "E" lines for what went wrong outside the transcript.
func runScenario(name string, d dirs, out io.Writer) error {
	sc, ok := find(name)
	if !ok {
		return fmt.Errorf("no scenario %q", name)
	}
	settle, err := strconv.Atoi(os.Getenv("ZPIPES_ORACLE_SETTLE"))
	if err != nil {
		settle = 25
	}
	sub := directory(name)
	s := &script{
		dirs:   dirs{W: filepath.Join(d.W, sub), R: filepath.Join(d.R, sub), Mixed: d.Mixed},
		settle: time.Duration(settle) * time.Millisecond,
		out:    bufio.NewWriter(out),
		named:  map[string]int{},
	}
	if d.Broker != "" {
		s.hosts = lab.NewAgreement(d.Broker, s.W, s.R)
	}
	if err := s.prepare(); err != nil {
		return err
	}
	s.play(sc)
	return s.cleanUp()
}

// directory is the name of a scenario's own directory.
func directory(scenario string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return '-'
	}, scenario)
}

func (s *script) prepare() error {
	if err := os.Mkdir(s.W, 0o755); err != nil {
		return fmt.Errorf("make the scenario's directory: %w", err)
	}
	if _, err := os.Stat(s.R); err != nil {
		return fmt.Errorf("the directory on the other host: %w", err)
	}
	return nil
}

func (s *script) play(sc scenario) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case stop:
			s.line("STOP: %s", v.reason)
		default:
			panic(v)
		}
	}()
	sc.run(s)
}

// cleanUp ends the scenario's processes and removes its directory.
func (s *script) cleanUp() error {
	s.step("clean up")
	var errs []error
	for _, p := range s.procs {
		errs = append(errs, p.stop())
	}
	entries, err := os.ReadDir(s.W)
	errs = append(errs, err)
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(s.W, e.Name())))
	}
	return errors.Join(append(errs, os.Remove(s.W))...)
}

// agree comes before each step, which begins when all hosts know of those before.
func (s *script) agree() {
	if s.hosts == nil || !s.fresh {
		return
	}
	s.step("the hosts agree")
	if err := s.hosts.Wait(); err != nil {
		panic(stop{err.Error()})
	}
	s.fresh = false
}

// line adds a line to the transcript.
func (s *script) line(format string, args ...any) { s.print("T ", fmt.Sprintf(format, args...)) }

// step tells the runner what happens next, for its report when it hangs.
func (s *script) step(format string, args ...any) { s.print("S ", fmt.Sprintf(format, args...)) }

func (s *script) print(kind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(text) {
		fmt.Fprintln(s.out, kind+strings.TrimSuffix(line, "\n"))
	}
	_ = s.out.Flush() // without a runner nobody is left to tell
}

// writer starts an actor in the writers' directory.
func (s *script) writer() *actor { return s.start("w", s.W, nil) }

// reader starts an actor in the readers' directory.
func (s *script) reader() *actor { return s.start("r", s.R, nil) }

func (s *script) start(name, dir string, inherited []*os.File) *actor {
	s.named[name]++
	n := s.named[name]
	if n > 1 {
		name += strconv.Itoa(n)
	}
	if s.Mixed && n%2 == 0 {
		dir = s.opposite(dir)
	}
	a, err := startActor(s, name, dir, inherited)
	if err != nil {
		panic(stop{err.Error()})
	}
	return a
}

// heir starts an actor that shares the open descriptions of a's descriptors,
// as a forked child does. Its own descriptors count up from 3.
func (s *script) heir(a *actor, fds ...int) *actor {
	pidfd, err := unix.PidfdOpen(a.pid(), 0)
	if err != nil {
		panic(stop{"pidfd_open: " + err.Error()})
	}
	defer unix.Close(pidfd)
	var files []*os.File
	for _, fd := range fds {
		own, err := unix.PidfdGetfd(pidfd, fd, 0)
		if err != nil {
			panic(stop{"pidfd_getfd: " + err.Error()})
		}
		f := os.NewFile(uintptr(own), "inherited")
		defer f.Close()
		files = append(files, f)
	}
	return s.start(a.proc.name+"heir", a.dir, files)
}

func (s *script) opposite(dir string) string {
	if dir == s.W {
		return s.R
	}
	return s.W
}

// fifo makes a pipe for the scenario; that it works is a scenario of its own.
func (s *script) fifo(name string) {
	s.fresh = true
	s.step("mkfifo %s", name)
	if err := unix.Mkfifo(filepath.Join(s.W, name), 0o666); err != nil {
		panic(stop{"mkfifo: " + err.Error()})
	}
	if err := unix.Chmod(filepath.Join(s.W, name), 0o666); err != nil {
		panic(stop{"chmod: " + err.Error()})
	}
}

// pair makes a pipe and opens both ends of it for blocking use.
func (s *script) pair() (w *actor, wfd int, r *actor, rfd int) {
	s.fifo("p")
	w, r = s.writer(), s.reader()
	wfd, rfd = s.connect(w, r)
	return w, wfd, r, rfd
}

// connect opens both ends of the pipe p for blocking use.
func (s *script) connect(w, r *actor) (wfd, rfd int) {
	opening := r.start(open("p", unix.O_RDONLY))
	wfd = w.quiet(open("p", unix.O_WRONLY)).fd()
	return wfd, opening.quiet().fd()
}

// usable shows that the pipe p still works: a new writer and a new reader,
// whose reader sees nothing of what was before.
func (s *script) usable() {
	w, r := s.writer(), s.reader()
	wfd, rfd := s.connect(w, r)
	w.do(write(wfd, "still usable"))
	r.do(read(rfd, 100))
	w.do(closing(wfd))
	r.do(read(rfd, 100))
}

// free waits until nobody has the pipe p open for reading.
func (s *script) free() {
	s.writer().until("ENXIO", open("p", unix.O_WRONLY|unix.O_NONBLOCK))
}

// until polls a condition of the outside world.
func until(what string, done func() bool) error {
	deadline := time.Now().Add(answerTimeout)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", answerTimeout, what)
		}
		<-tick.C
	}
	return nil
}
