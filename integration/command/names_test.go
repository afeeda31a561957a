// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCreateListRemove(t *testing.T) {
	s := mounted(t)
	ok(t, s.zpipes("create", "a", "b"))
	ok(t, s.zpipes("create", "shared", "--mode", "fanout", "--perm", "0660"))
	refused(t, 7, s.zpipes("create", "new", "a", "never"), "create a", "exists")
	refused(t, 6, s.zpipes("create", "d/e/f"), "create d/e/f", "--parents")
	ok(t, s.zpipes("create", "--parents", "d/e/f"))
	refused(t, 6, s.zpipes("create", "a/x"), "not a directory")
	if got, want := ok(t, s.zpipes("ls")), "a\nb\nd/e/f\nnew\nshared\n"; got != want {
		t.Errorf("ls says %q, want %q", got, want)
	}
	if got, want := ok(t, s.zpipes("ls", "d/")), "d/e/f\n"; got != want {
		t.Errorf("ls d/ says %q, want %q", got, want)
	}
	if got, want := ok(t, sh(`cd "$1" && stat -c '%a %n' * d/e/f && getfattr --only-values -n user.zpipes.mode shared`, s.dir)),
		"644 a\n644 b\n755 d\n644 new\n660 shared\n644 d/e/f\nfanout"; got != want {
		t.Errorf("the mount has %q, want %q", got, want)
	}
	refused(t, 6, s.zpipes("rm", "none"), "rm none", "not exist")
	refused(t, 7, s.zpipes("rm", "d"), "rm d", "--dir")
	refused(t, 7, s.zpipes("rm", "d", "--dir"), "rm d", "not empty")
	ok(t, s.zpipes("rm", "a", "b", "new", "shared", "d/e/f"))
	ok(t, s.zpipes("rm", "d/e", "d", "-d"))
	if got := ok(t, s.zpipes("ls", "-l")); strings.Count(got, "\n") != 1 {
		t.Errorf("ls -l of nothing says %q", got)
	}
}

func TestOddNames(t *testing.T) {
	s := mounted(t)
	odd := []string{"two words", "new\nline", "q\xff", "%41", "ä", `"`}
	ok(t, s.zpipes(append([]string{"create"}, odd...)...))
	got := ok(t, s.zpipes("ls"))
	for _, line := range []string{"two words", `"new\nline"`, `"q\xff"`, "%41", "ä", `"`} {
		if !strings.Contains("\n"+got, "\n"+line+"\n") {
			t.Errorf("ls says %q, want a line %s", got, line)
		}
	}
	if n := strings.Count(got, "\n"); n != len(odd) {
		t.Errorf("ls says %d lines, want %d", n, len(odd))
	}
	for _, name := range odd {
		ok(t, sh(`test -f "$1"`, s.at(name)))
	}
	ok(t, s.zpipes(append([]string{"rm"}, odd...)...))
}

func TestListTellsEndsAndBytes(t *testing.T) {
	s := mounted(t)
	ok(t, s.zpipes("create", "p"))
	start(t, sh(`exec 3<>"$1"; printf 12345 >&3; exec tail -f /dev/null`, s.at("p")))
	until(t, "ls -l shows the ends and bytes", func() bool {
		f := strings.Fields(lastLine(ok(t, s.zpipes("ls", "--long"))))
		return len(f) == 9 && f[3] == "1" && f[4] == "1" && f[5] == "5" && f[6] == "5"
	})
	f := strings.Fields(lastLine(ok(t, s.zpipes("ls", "-l", "p"))))
	if f[0] != "prw-r--r--" || f[2] != "fifo" || f[8] != "p" {
		t.Errorf("ls -l says %q", f)
	}
	// An open pipe loses its name; its ends go on.
	ok(t, s.zpipes("rm", "p"))
	refused(t, 6, s.zpipes("rm", "p"), "rm p")
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestManyNames(t *testing.T) {
	s := brokered(t)
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("dir%d/pipe-with-a-long-name-%06d", i%7, i))
	}
	ok(t, s.zpipes(append([]string{"create", "-p"}, names...)...))
	if n := strings.Count(ok(t, s.zpipes("ls")), "\n"); n != len(names) {
		t.Errorf("ls says %d lines, want %d", n, len(names))
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	s := brokered(t)
	ok(t, s.zpipes("create", "a"))
	for _, command := range []string{"ls", "ls -l", "version"} {
		j := sh(`exec "$1" `+command+` >/dev/full`, binary)
		j.env = []string{"ZPIPES_NAME=" + s.name}
		if strings.HasPrefix(command, "version") {
			j.env = nil
		}
		refused(t, 1, j, "no space")
	}
}

func TestStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can be somebody else; this user's own brokers are tested everywhere")
		return
	}
	as := func(j job) job { j.uid = nobody; return j }
	private := mounted(t)
	for _, command := range []string{"ls", "create", "rm"} {
		args := []string{command}
		if command != "ls" {
			args = append(args, "x")
		}
		refused(t, 7, as(private.zpipes(args...)), command, "permission", "user 0")
	}

	public := mounted(t, "--allow-other")
	ok(t, as(public.zpipes("ls")))
	refused(t, 7, as(public.zpipes("create", "x")), "create x", "permission")
	ok(t, sh(`chmod 1777 "$1"`, public.dir))
	ok(t, public.zpipes("create", "roots"))
	ok(t, as(public.zpipes("create", "mine")))
	refused(t, 7, as(public.zpipes("rm", "roots")), "rm roots", "permission")
	if got, want := ok(t, sh(`stat -c %u "$1"`, public.at("mine"))), fmt.Sprintln(nobody); got != want {
		t.Errorf("the pipe belongs to user %q, want %q", got, want)
	}
	ok(t, as(sh(`test -f "$1/roots"`, public.dir)))
	ok(t, as(public.zpipes("rm", "mine")))

	// Root may manage a broker of somebody else.
	dir := filepath.Join(folder(t), "pipes")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	theirs := serving(t, newName(), "", as(zpipes("broker")))
	ok(t, theirs.zpipes("create", "by-root"))
	ok(t, as(theirs.zpipes("ls")))
}
