// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// waits are commands that a silent host holds up, by the path that it is asked
// about.
var waits = []struct{ name, path, script string }{
	{"lookup", "silent/none", `exec stat $M/silent/none`},
	{"lookup in doubt", "silent/t", `exec stat $M/silent/t`},
	{"mkdir", "silent/new", `exec python3 -c 'import os,sys; os.mkdir(sys.argv[1])' $M/silent/new`},
	{"mkfifo", "silent/new", `exec mkfifo $M/silent/new`},
	{"create", "silent/new", `exec touch $M/silent/new`},
	{"rm", "silent/q", `exec rm $M/silent/q`},
	{"rmdir", "silent/d", `exec rmdir $M/silent/d`},
	{"mv", "silent/q", `exec mv -f $M/silent/q $M/silent/r`},
	{"chmod", "silent/q", `exec chmod 600 $M/silent/q`},
	{"mode", "silent/q", `exec setfattr -n user.zpipes.mode -v fanout $M/silent/q`},
	{"ls", "silent/", `exec ls $M/silent`},
}

// elsewhere is what must work while a silent host holds up others.
const elsewhere = `cd $M/loud
mkdir sub; mkfifo sub/a; chmod 600 sub/a; mv sub/a sub/b; stat far >/dev/null
(echo hello >sub/b) & test $(cat sub/b) = hello; wait
ls . sub >/dev/null; rm far sub/b; rmdir sub; ! stat none 2>/dev/null`

// TestOthersAreServed: one who waits for a silent host holds up nobody in another
// directory, and no bytes in its own.
func TestOthersAreServed(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			s := serve(t)
			flow := lab.Start(t, s.shell(`exec 3<>$M/silent/p; echo open >$M/ready; rm $M/ready
read line <$M/go; echo ab >&3; read back <&3; test $back = ab; exec 3>&-`))
			s.must(t, `mkfifo $M/ready $M/go 2>/dev/null || true; test $(cat $M/ready) = open`)
			waiting := s.start(t, w.path, w.script)
			s.must(t, elsewhere)
			s.must(t, `echo >$M/go`)
			if !flow.Wait(limit) || flow.Result().Status != "exit 0" {
				t.Error("bytes do not flow:", flow.Result())
			}
			if waiting.Wait(0) {
				t.Error("it did not wait:", waiting.Result())
			}
			close(s.speak)
			if !waiting.Wait(limit) {
				t.Error("it goes on waiting:", waiting.Describe())
			}
		})
	}
}

// TestKilled: whoever waits for a silent host dies when killed, also after a
// signal that it handles, and so do those who queue for the directory behind it.
func TestKilled(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			s := serve(t)
			first := s.start(t, w.path, w.script)
			behind := lab.Start(t, s.shell(`exec mkdir $M/silent/other`))
			first.Kill()
			if !lab.Until(limit, func() bool { return s.asked(w.path) == 0 }) {
				t.Error("the question is not given up")
			}
			behind.Kill()
			if !lab.Until(limit, func() bool { return s.asked("") == 0 }) {
				t.Error("the question of the one behind is not given up")
			}
			s.must(t, elsewhere)
		})
	}
}

// handler makes a directory, and takes a signal meanwhile.
const handler = `exec python3 -c '
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.siginterrupt(signal.SIGUSR1, True)
os.mkdir(sys.argv[1])
' $M/silent/new`

// TestHandledSignal: mkdir(2) does not fail for a signal, as it does on no other
// file system.
func TestHandledSignal(t *testing.T) {
	s := serve(t)
	p := s.start(t, "silent/new", handler)
	for range 3 {
		p.Signal(syscall.SIGUSR1)
	}
	s.must(t, elsewhere)
	if p.Wait(0) || s.asked("silent/new") != 1 {
		t.Fatal("it gave up:", p.Result())
	}
	close(s.speak)
	if !p.Wait(limit) || p.Result().Status != "exit 0" {
		t.Error(p.Result())
	}
	s.must(t, `test -d $M/silent/new`)
}

func TestKilledAfterHandledSignal(t *testing.T) {
	s := serve(t)
	p := s.start(t, "silent/new", handler)
	p.Signal(syscall.SIGUSR1)
	s.must(t, elsewhere)
	p.Kill()
	if !lab.Until(limit, func() bool { return s.asked("") == 0 }) {
		t.Error("the question is not given up")
	}
}

// TestInterrupted: control-C is a kill to a program that does not handle it.
func TestInterrupted(t *testing.T) {
	s := serve(t)
	p := s.start(t, "silent/none", `exec stat $M/silent/none`)
	p.Signal(syscall.SIGINT)
	if !p.Wait(limit) || p.Result().Status != "signal: interrupt" {
		t.Error(p.Result())
	}
}

// TestCloseWhileWaiting: an ending daemon frees those who wait.
func TestCloseWhileWaiting(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			s := serve(t)
			p := s.start(t, w.path, w.script)
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				s.close(t)()
			}()
			if !lab.Until(limit, func() bool {
				select {
				case <-closed:
					return true
				default:
					return false
				}
			}) {
				t.Fatal("the mount does not close")
			}
			if !p.Wait(limit) {
				t.Error("it goes on waiting:", p.Describe())
			}
			if lab.IsMounted(s.dir) {
				t.Error("it is still mounted")
			}
		})
	}
}

// TestLate: a host that does not answer in time is told by errno.
func TestLate(t *testing.T) {
	s := serve(t)
	for _, script := range []string{`stat $M/late/none`, `mkdir $M/late/new`, `rm $M/late/p`, `rmdir $M/late/d`, `ls $M/late`, `chmod 600 $M/late/p`} {
		if r := lab.Run(t, limit, s.shell(script)); r.Status == "exit 0" || !strings.Contains(r.Stderr, "timed out") {
			t.Errorf("%s: %v", script, r)
		}
	}
	s.must(t, elsewhere)
}

// TestManyWait: however many wait for silent hosts, the mount serves others; those
// beyond its limit are refused.
func TestManyWait(t *testing.T) {
	const asks = 1024
	s := serve(t)
	p := lab.Start(t, s.shell(fmt.Sprintf(`exec python3 -c '
import errno, os, sys, threading
refused = []
def look(i):
    try:
        os.stat("%%s/silent/n%%d" %% (sys.argv[1], i))
    except OSError as e:
        if e.errno == errno.EAGAIN:
            refused.append(i)
        elif e.errno != errno.ENOENT:
            os._exit(3)
threading.stack_size(65536)
threads = [threading.Thread(target=look, args=(i,)) for i in range(%d)]
for t in threads: t.start()
for t in threads: t.join()
print(len(refused))
' $M`, asks+50)))
	if !lab.Until(limit, func() bool { return s.asked("") == asks }) {
		t.Fatal(s.asked(""), p.Describe())
	}
	s.must(t, `stat $M/loud/p >/dev/null; test -d $M/loud/d`)
	if r := lab.Run(t, limit, s.shell(`mkdir $M/loud/new`)); !strings.Contains(r.Stderr, "temporarily unavailable") {
		t.Error("beyond the limit:", r)
	}
	close(s.speak)
	if !p.Wait(limit) || strings.TrimSpace(p.Stdout()) != "50" {
		t.Error(p.Result())
	}
	s.must(t, elsewhere)
}
