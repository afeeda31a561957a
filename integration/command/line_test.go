// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package command

import (
	"os"
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	dir := folder(t)
	for _, x := range []struct {
		args []string
		says string
	}{
		{nil, "zpipes help"},
		{[]string{"frobnicate"}, "frobnicate"},
		{[]string{"--frobnicate"}, "frobnicate"},
		{[]string{"mount"}, "mount point"},
		{[]string{"mount", ""}, "empty"},
		{[]string{"mount", dir, dir}, "have 2"},
		{[]string{"mount", dir, "--frobnicate"}, "frobnicate"},
		{[]string{"mount", "--frobnicate", dir}, "frobnicate"},
		{[]string{"mount", dir, "--name"}, "needs an argument"},
		{[]string{"mount", dir, "--pid-file"}, "needs an argument"},
		{[]string{"mount", dir, "--name", "a/b"}, `"a/b"`},
		{[]string{"mount", dir, "--name", "-a"}, `"-a"`},
		{[]string{"mount", dir, "--name", strings.Repeat("n", 65)}, "1 to 64"},
		{[]string{"mount", dir, "--name="}, `""`},
		{[]string{"mount", dir, "--capacity", "1MB"}, "1MB"},
		{[]string{"mount", dir, "--capacity", "M"}, "size"},
		{[]string{"mount", dir, "--capacity", "-1"}, "size"},
		{[]string{"mount", dir, "--capacity", "4G"}, "size"},
		{[]string{"mount", dir, "--capacity", "4095"}, "4096"},
		{[]string{"mount", dir, "--client-timeout", "soon"}, "soon"},
		{[]string{"mount", dir, "--client-timeout", "0s"}, "client-timeout"},
		{[]string{"mount", dir, "--client-timeout", "4999ms"}, "5s"},
		{[]string{"broker", "--endpoint", "ipc://here"}, "absolute"},
		{[]string{"mount", dir, "--log-level", "loud"}, "loud"},
		{[]string{"broker", "extra"}, "no arguments"},
		{[]string{"umount"}, "mount point"},
		{[]string{"create"}, "names"},
		{[]string{"create", ""}, "not a pipe's name"},
		{[]string{"create", "/a"}, "not a pipe's name"},
		{[]string{"create", "a/../b"}, "not a pipe's name"},
		{[]string{"create", strings.Repeat("n", 256)}, "255"},
		{[]string{"create", "a", "--perm", "888"}, "888"},
		{[]string{"create", "a", "--perm", "10000"}, "10000"},
		{[]string{"rm"}, "names"},
		{[]string{"rm", "."}, "not a pipe's name"},
		{[]string{"ls", "a", "b"}, "have 2"},
		{[]string{"read"}, "name"},
		{[]string{"read", "a", "b"}, "have 2"},
		{[]string{"read", "a/"}, "not a pipe's name"},
		{[]string{"read", "a", "--timeout", "-1s"}, "timeout"},
		{[]string{"write"}, "name"},
		{[]string{"write", "a//b"}, "not a pipe's name"},
		{[]string{"version", "please"}, "no arguments"},
	} {
		refused(t, 2, zpipes(x.args...), x.says)
	}
}

func TestModeNamesTheModes(t *testing.T) {
	s := brokered(t)
	refused(t, 2, s.zpipes("create", "a", "--mode", "queue"), "queue", "fifo, exclusive or fanout")
}

func TestNoBroker(t *testing.T) {
	name := newName()
	for _, args := range [][]string{
		{"ls"}, {"create", "a"}, {"rm", "a"}, {"read", "a"}, {"write", "a"},
	} {
		refused(t, 3, zpipes(append(args, "--name", name)...), name)
	}
}

func TestFlagsAnywhere(t *testing.T) {
	s := brokered(t)
	n := s.name
	ok(t, zpipes("create", "--name", n, "before"))
	ok(t, zpipes("create", "after", "--name", n))
	ok(t, zpipes("create", "around", "--name="+n, "it", "-name", n))
	ok(t, zpipes("create", "--name", n, "--", "--mode", "-x"))
	ok(t, zpipes("create", "help", "h", "-", "--name", n))
	ok(t, job{args: []string{binary, "create", "by-setting"}, env: []string{"ZPIPES_NAME=" + n}})
	got := strings.Fields(ok(t, job{args: []string{binary, "ls"}, env: []string{"ZPIPES_NAME=" + n}}))
	want := strings.Fields("- --mode -x after around before by-setting h help it")
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("pipes are %q, want %q", got, want)
	}
	ok(t, zpipes("rm", "--name", n, "--", "--mode", "-x", "-"))
	if got := ok(t, zpipes("ls", "a", "-l", "--name", n)); strings.Count(got, "\n") != 3 || !strings.Contains(got, "around") {
		t.Errorf("ls -l says %q", got)
	}
}

func TestHelp(t *testing.T) {
	all := ok(t, zpipes("help"))
	if ok(t, zpipes("--help")) != all {
		t.Error("--help differs from help")
	}
	for _, line := range []string{"Exit status:", " 3  no such broker", "10  something is mounted"} {
		if !strings.Contains(all, line) {
			t.Errorf("help lacks %q", line)
		}
	}
	for _, command := range []string{"mount", "broker", "umount", "create", "rm", "ls", "read", "write", "version"} {
		if !strings.Contains(all, "   "+command+" ") {
			t.Errorf("help does not list %s", command)
		}
		if got := ok(t, zpipes("help", command)); !strings.Contains(got, "zpipes "+command) {
			t.Errorf("help %s says %q", command, got)
		}
		if got := ok(t, zpipes(command, "--help")); !strings.Contains(got, "zpipes "+command) {
			t.Errorf("%s --help says %q", command, got)
		}
	}
}

// The manual must not drift from the program.
func TestReadmeListsEverything(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(b)
	for line := range strings.Lines(ok(t, zpipes("help"))) {
		if f := strings.Fields(line); len(f) > 1 && f[0][0] >= '0' && f[0][0] <= '9' {
			if row := "| " + f[0] + " | " + strings.Join(f[1:], " ") + " |"; !strings.Contains(readme, row) {
				t.Errorf("README.md lacks the row %q", row)
			}
		}
	}
	for _, command := range []string{"mount", "broker", "umount", "create", "rm", "ls", "read", "write"} {
		for word := range strings.FieldsSeq(ok(t, zpipes("help", command))) {
			if flag := strings.TrimRight(word, ",]"); strings.HasPrefix(flag, "--") && !strings.Contains(readme, flag) {
				t.Errorf("README.md lacks the flag %s of %s", flag, command)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	if f := strings.Fields(ok(t, zpipes("version"))); len(f) != 2 || f[0] != "zpipes" {
		t.Errorf("version says %q", f)
	}
}
