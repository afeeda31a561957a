// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// A program is a script that runs programs on the pipes p and q in a folder. It opens
// them as "$P" and "$Q" for reading and as "$WP" and "$WQ" for writing; their folder
// is "$D" and "$WD". It reads "$IN" (text) and "$BIN" (noise), may leave files in
// "$OUT", which are compared, and in "$TMP", which are not. "$GOPIPE" is the Go
// program of testdata/gopipe.
type program struct {
	name   string
	shell  string // bash when empty
	script string
	status string // with kernel FIFOs; "exit 0" when empty
}

// prelude gives the bash scripts await, which polls a condition for ten
// seconds, end, which waits for a background process and prints its status if
// that is not 0, agree, which waits until hosts agree (end and wait do, too), holds,
// which tells whether a program that bash has started has a file open, and feed,
// which opens the pipe for writing before it returns and then writes a file to it
// in the background. The file must be larger than the pipe's buffer, or the pipe
// may have come and gone before its reader opens.
const prelude = `set -u
await() {
	local n
	for ((n = 0; n < 1000; n++)); do "$@" && return; sleep 0.01; done
	echo "never: $*"; exit 99
}
agree() { [ -z "${NAMESPACE-}" ] || "$AGREE"; }
wait() { local status=0; builtin wait "$@" || status=$?; agree; return $status; }
end() { wait "$1" || echo "$2: status $?"; }
feed() { exec 9<>"$WP"; cat "$1" >&9 9>&- & exec 9>&-; }
holds() { [ "$(cat /proc/"$1"/comm)" != bash ] && readlink /proc/"$1"/fd/* | sed 's/ (deleted)$//' | grep -qxF -- "$2"; }
has_lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }
`

const deadline = 20 * time.Second

// place is where a program's pipes are: the folders that are its "$WD" and "$D", on two
// hosts of a cluster or the same.
type place struct {
	writers, readers string
	namespace        string // of a host of the cluster; empty: one host
}

func onHost(dir string) place { return place{writers: dir, readers: dir} }

// bench is what scripts read.
type bench struct {
	in     input
	gopipe string
	agree  string // a command: see agree in prelude
}

func newBench(t *testing.T) bench {
	t.Helper()
	agree := filepath.Join(lab.Dir(t), "agree")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n%s=agree exec %s\n", roleVariable, self)
	if err := os.WriteFile(agree, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return bench{in: newInput(t), gopipe: lab.GoBuild(t, "./testdata/gopipe"), agree: agree}
}

// outcome is what is compared of a run.
type outcome struct {
	stdout, status, files string
}

// run runs a program in a new folder there and requires that nobody hangs, nothing
// outlives the script and the folder can be removed afterwards.
func (b bench) run(t *testing.T, at place, p program) (outcome, lab.Result) {
	t.Helper()
	dir, writers := filepath.Join(at.readers, p.name), filepath.Join(at.writers, p.name)
	disk := lab.Dir(t)
	out, tmp := filepath.Join(disk, "out"), filepath.Join(disk, "tmp")
	for _, d := range []string{out, tmp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{
		"D=" + dir, "P=" + dir + "/p", "Q=" + dir + "/q",
		"WD=" + writers, "WP=" + writers + "/p", "WQ=" + writers + "/q",
		"NAMESPACE=" + at.namespace, "AGREE=" + b.agree, "OUT=" + out, "TMP=" + tmp,
		"IN=" + b.in.text, "BIN=" + b.in.noise, "GOPIPE=" + b.gopipe, "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_DATE=2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE=2020-01-01T00:00:00Z",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
	}
	b.tidy(t, `mkdir "$WD" && mkfifo "$WP" "$WQ"`, env)
	shell, script := p.shell, p.script
	if shell == "" {
		shell, script = "bash", prelude+script
	}
	file := filepath.Join(disk, "script")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	r := lab.Run(t, deadline, lab.Command{Args: append(strings.Fields(shell), file), Env: env})
	b.tidy(t, `rm "$P" "$Q" && rmdir "$D"`, env)
	o := outcome{
		stdout: strings.NewReplacer(dir, "DIR", writers, "DIR", disk, "DISK").Replace(r.Stdout),
		status: r.Status,
		files:  digests(t, out),
	}
	if r.Hung != "" {
		o.status = "hung"
	}
	if r.Stray != "" {
		o.status += ", processes left behind"
	}
	return o, r
}

func (b bench) tidy(t *testing.T, script string, env []string) {
	t.Helper()
	if r := lab.Run(t, deadline, lab.Shell("sh", script, env...)); r.Status != "exit 0" {
		t.Errorf("%s: %v", script, r)
	}
}

// compare runs a program on kernel FIFOs and on a mount, and fails for each
// difference. The run on FIFOs must itself end as the program says and show
// something to compare.
func (b bench) compare(t *testing.T, fifos, mount place, p program) {
	t.Helper()
	want, wantRun := b.run(t, fifos, p)
	expected := p.status
	if expected == "" {
		expected = "exit 0"
	}
	if want.status != expected || want.stdout+want.files == "" {
		t.Errorf("with kernel FIFOs: want %s and some output, got %v", expected, wantRun)
	}
	got, gotRun := b.run(t, mount, p)
	if got != want {
		t.Errorf("differs\n--- kernel FIFOs: %v\n%s\n--- mount: %v\n%s", wantRun, want.files, gotRun, got.files)
	}
}

// digests lists the files below dir with their lengths and hashes.
func digests(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		lines = append(lines, fmt.Sprintf("%s %d %x", rel, len(b), sha256.Sum256(b)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestPrograms requires that a program does the same on the mount's pipes as on
// kernel FIFOs: output, exit status and files.
func TestPrograms(t *testing.T) {
	b := newBench(t)
	fifos, mount := onHost(lab.Dir(t)), onHost(lab.NewMount(t).Dir)
	for _, p := range all() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b.compare(t, fifos, mount, p)
		})
	}
}

// all are the programs, with their family's name before their own.
func all() (list []program) {
	families := []struct {
		name     string
		programs []program
	}{
		{"copying", copying}, {"text", text}, {"busybox", busybox}, {"shell", shells},
		{"awk-sed-grep", filters}, {"archive", archives}, {"network", network},
		{"python", python}, {"perl-node", perlNode}, {"tools", tools}, {"go", goPrograms},
	}
	for _, family := range families {
		for _, p := range family.programs {
			p.name = family.name + "-" + p.name
			list = append(list, p)
		}
	}
	return list
}
