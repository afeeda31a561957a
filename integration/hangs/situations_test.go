// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package hangs requires that nobody hangs: while processes are blocked on a
// pipe every command on the mount answers, and kill -9 ends every blocked
// process.
package hangs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, strings.Fields("bash cat chmod chown df find getfattr head ln ls mkdir mkfifo mv python3 rm rmdir sleep stat touch truncate umount wc dd")...))
}

const (
	// prompt is how fast a command must answer on an idle machine; longer is
	// reported. tolerated is how long it may take on a loaded one.
	prompt    = time.Second
	tolerated = 3 * time.Second
	// mortal is how long a process may live on after kill -9.
	mortal = 2 * time.Second
)

// folder is a folder with the pipes p, on which somebody is blocked, and o, on
// which nobody is.
type folder struct {
	t    *testing.T
	path string
}

func newFolder(t *testing.T, m *lab.Mount) folder {
	t.Helper()
	f := folder{t, filepath.Join(m.Dir, strings.ReplaceAll(t.Name(), "/", "."))}
	f.must(`mkdir "$D" && mkfifo "$P" "$O"`)
	t.Cleanup(func() { f.must(`rm -rf "$D"`) })
	return f
}

func (f folder) env() []string {
	return []string{"LC_ALL=C", "D=" + f.path, "P=" + f.path + "/p", "O=" + f.path + "/o"}
}

// start starts a script that will block.
func (f folder) start(script string) *lab.Process {
	f.t.Helper()
	return lab.Start(f.t, lab.Shell("bash", script, f.env()...))
}

// answer runs a script that must answer in time, and returns how it ended.
func (f folder) answer(script string) lab.Result {
	f.t.Helper()
	r := lab.Run(f.t, tolerated, lab.Shell("bash", script, f.env()...))
	switch {
	case r.Hung != "" || r.Stray != "":
		f.t.Errorf("%s: %v", script, r)
	case r.Took > prompt:
		f.t.Logf("slow: %s took %v", script, r.Took)
	}
	return r
}

// must runs a script that must answer in time, and succeed.
func (f folder) must(script string) {
	f.t.Helper()
	if r := f.answer(script); r.Status != "exit 0" {
		f.t.Errorf("%s: %v", script, r)
	}
}

// passes requires that bytes flow through both pipes, and only those bytes.
func (f folder) passes() {
	f.t.Helper()
	f.must(`for i in "$O" "$P"; do
		test -e "$i" || mkfifo "$i"
		echo through >"$i" & [ "$(cat "$i")" = through ] || exit 1; wait $! || exit 2
	done`)
}

// A situation is a way to have processes blocked on the pipe p.
type situation struct {
	name string
	// holders are scripts that keep an end open, in the order of their start.
	holders []string
	// blocked is the script whose processes block: count of them in call.
	blocked string
	count   int
	call    lab.Call
	// readers says that the pipe has a reader, so an open for writing returns.
	readers bool
	// shared says that the blocked processes have the pipe as descriptor 1.
	shared bool
	// lockstep says that the kernel lets one of them write at a time, and that no
	// signal reaches the others (see TestAppendersOfOneDescriptor).
	lockstep bool
}

const keepReading, keepWriting = `exec sleep 100 <"$P"`, `exec sleep 100 >"$P"`

var situations = []situation{
	{name: "writer on a full pipe", holders: []string{keepReading},
		blocked: `exec cat /dev/zero >"$P"`, count: 1, call: lab.Write, readers: true},
	{name: "writer in open", blocked: `exec cat /dev/zero >"$P"`, count: 1, call: lab.Open},
	{name: "reader in open", blocked: `exec cat "$P"`, count: 1, call: lab.Open},
	{name: "reader in read", holders: []string{`exec sleep 100 <>"$P"`},
		blocked: `exec cat "$P"`, count: 1, call: lab.Read, readers: true},
	{name: "appending writer on a full pipe", holders: []string{keepReading},
		blocked: `exec cat /dev/zero >>"$P"`, count: 1, call: lab.Write, readers: true},
	{name: "shared descriptor with one writer", holders: []string{keepReading},
		blocked: `{ cat /dev/zero & exec sleep 100; } >"$P"`, count: 1, call: lab.Write, readers: true, shared: true},
	{name: "shared descriptor with two writers", holders: []string{keepReading},
		blocked: `{ cat /dev/zero & exec cat /dev/zero; } >"$P"`, count: 2, call: lab.Write, readers: true, shared: true},
	{name: "shared appending descriptor with two writers", holders: []string{keepReading},
		blocked: `{ cat /dev/zero & exec cat /dev/zero; } >>"$P"`, count: 2, call: lab.Write, readers: true, shared: true, lockstep: true},
	{name: "shared descriptor with two readers", holders: []string{keepWriting},
		blocked: `{ cat & exec cat; } <"$P"`, count: 2, call: lab.Read, readers: true},
	{name: "read-write descriptor on a full pipe", blocked: `exec cat /dev/zero 1<>"$P"`, count: 1, call: lab.Write, readers: true, shared: true},
}

// arrange brings the situation about and returns the blocked session. The
// holders' opens may have to wait for the blocked end, so nothing is awaited but
// the block itself.
func (s situation) arrange(f folder) (blocked *lab.Process, holders []*lab.Process) {
	f.t.Helper()
	for _, h := range s.holders {
		holders = append(holders, f.start(h))
	}
	blocked = f.start(s.blocked)
	blocked.AwaitBlocked(s.count, s.call)
	return blocked, holders
}

// end kills each blocked process by itself, the youngest first, which must not
// outlive that.
func (s situation) end(f folder, p *lab.Process) {
	f.t.Helper()
	if s.lockstep && lab.Mounted() {
		p.Kill()
		return
	}
	for _, pid := range p.Members() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			f.t.Errorf("kill %d: %v", pid, err)
		}
		if !lab.Until(mortal, func() bool { return !slices.Contains(p.Members(), pid) }) {
			f.t.Errorf("kill -9 did not end %d:\n%s", pid, p.Describe())
		}
	}
	if !p.Wait(mortal) {
		f.t.Errorf("not reaped after kill -9:\n%s", p.Describe())
	}
}

// TestEveryCommandAnswers asks every command in every situation.
func TestEveryCommandAnswers(t *testing.T) {
	m := lab.NewMount(t)
	for _, s := range situations {
		t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			t.Run("quiet", func(t *testing.T) { s.ask(t, m) })
			for _, c := range disturbing {
				t.Run(c.name, func(t *testing.T) { s.disturb(t, m, c) })
			}
		})
	}
}

// ask asks commands that leave the blocked processes blocked.
func (s situation) ask(t *testing.T, m *lab.Mount) {
	f := newFolder(t, m)
	p, _ := s.arrange(f)
	for _, c := range quiet {
		if c.needsReader && !s.readers || c.needsShared && !s.shared {
			continue
		}
		c.ask(f, p)
		if !p.Blocked(s.count, s.call) {
			t.Fatalf("%s: no longer blocked:\n%s", c.script, p.Describe())
		}
	}
	s.end(f, p)
}

// disturb asks a command that may let the blocked processes go on. The pipe must
// be as good as new when they are gone.
func (s situation) disturb(t *testing.T, m *lab.Mount, c command) {
	f := newFolder(t, m)
	p, holders := s.arrange(f)
	c.ask(f, p)
	s.end(f, p)
	for _, h := range holders {
		h.Kill()
	}
	f.passes()
}
