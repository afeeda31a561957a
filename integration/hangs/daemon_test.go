// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package hangs

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

const openers = 300

// TestManyBlockedOpeners has hundreds of processes wait in open, on pipes of
// their own and on one pipe together, and requires that bytes still flow through
// another pipe.
func TestManyBlockedOpeners(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"readers-of-many-pipes", `for i in {1..300}; do mkfifo "$D/r$i"; done; for i in {1..300}; do cat "$D/r$i" & done; wait`},
		{"readers-of-one-pipe", `for i in {1..300}; do cat "$P" & done; wait`},
		{"writers-of-one-pipe", `for i in {1..300}; do (exec cat /dev/zero >"$P") & done; wait`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFolder(t, lab.NewMount(t))
			p := f.start(strings.Replace(c.script, "for i in {1..300}; do mkfifo \"$D/r$i\"; done", `mkfifo "$D"/r{1..300}`, 1))
			p.AwaitBlocked(openers, lab.Open)
			for range 5 {
				f.must(`echo through >"$O" & [ "$(cat "$O")" = through ] && wait $!`)
			}
			f.must(`ls -l "$D"; mkfifo "$D/new"; rm "$D/new"`)
			start := time.Now()
			p.Kill()
			if took := time.Since(start); took > mortal {
				t.Errorf("kill -9 of %d processes took %v", openers, took)
			}
			f.must(`rm -f "$D"/r*`)
			f.passes()
		})
	}
}

// TestManyBlockedWriters has hundreds of writers wait for room.
func TestManyBlockedWriters(t *testing.T) {
	f := newFolder(t, lab.NewMount(t))
	f.start(keepReading)
	p := f.start(`for i in {1..300}; do (exec cat /dev/zero >"$P") & done; wait`)
	p.AwaitBlocked(openers, lab.Write)
	for _, c := range quiet {
		c.ask(f, p)
	}
	p.Kill()
}

// block brings about every situation in which all processes are blocked, each in
// a folder of its own.
func block(t *testing.T, m *lab.Mount) map[string]*lab.Process {
	t.Helper()
	blocked := make(map[string]*lab.Process)
	for _, s := range situations {
		f := folder{t, m.Dir + "/" + strings.ReplaceAll(s.name, " ", "-")}
		f.must(`mkdir "$D" && mkfifo "$P" "$O"`)
		if p, _ := s.arrange(f); len(p.Members()) == s.count {
			blocked[s.name] = p
		}
	}
	return blocked
}

// end requires that the processes end by themselves, and not well but for readers
// that may be told of the end of data.
func end(t *testing.T, blocked map[string]*lab.Process, endOfData bool) {
	t.Helper()
	for _, s := range situations {
		p := blocked[s.name]
		if p == nil {
			continue
		}
		if !p.Wait(mortal) {
			t.Errorf("%s: still blocked:\n%s", s.name, p.Describe())
		} else if r := p.Result(); r.Status == "exit 0" && !(endOfData && slices.Equal(s.call, lab.Read)) {
			t.Errorf("%s: ended well: %v", s.name, r)
		}
	}
}

// TestDaemonKilled kills the daemon while processes are blocked: they must end
// with an error once the mount is detached, and the directory can be mounted
// again at once.
func TestDaemonKilled(t *testing.T) {
	if !lab.Mounted() {
		t.Skip("kernel FIFOs have no daemon")
	}
	dir := lab.Dir(t)
	m := lab.MountAt(t, dir)
	blocked := block(t, m)
	m.Kill()
	m.Detach()
	end(t, blocked, false)
	again := lab.MountAt(t, dir)
	newFolder(t, again).passes()
}

// TestDaemonStopped ends the daemon with SIGTERM while processes are blocked: it
// must neither wait for them nor leave them blocked.
func TestDaemonStopped(t *testing.T) {
	if !lab.Mounted() {
		t.Skip("kernel FIFOs have no daemon")
	}
	dir := lab.Dir(t)
	m := lab.MountAt(t, dir)
	blocked := block(t, m)
	m.Stop(5 * time.Second)
	end(t, blocked, true)
	again := lab.MountAt(t, dir)
	newFolder(t, again).passes()
}
