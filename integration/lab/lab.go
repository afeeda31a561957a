// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package lab runs whole programs against a zpipes mount and leaves nothing
// behind: it builds the binary once, mounts and unmounts, starts every command
// in a session of its own, ends it whole when its deadline passes, and looks
// for what is left when a test package ends.
//
// A test process never opens a file of the mount itself; it starts programs
// that do. A process stuck in a system call can then be looked at and killed.
//
// Settings, all from the environment:
//
//	ZPIPES_TEST_DIR     a plain directory used in place of a mount, in which
//	                    mkfifo makes kernel FIFOs
//	ZPIPES_TEST_BINARY  a zpipes binary to use in place of building one
package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	dirSetting    = "ZPIPES_TEST_DIR"
	binarySetting = "ZPIPES_TEST_BINARY"
	// scratchSetting is in the environment of every process started here, and
	// holds the folder below which a test package keeps all of its files.
	scratchSetting = "ZPIPES_LAB_SCRATCH"
)

// Mounted reports whether tests run on a mount. It is false when
// ZPIPES_TEST_DIR names a directory of kernel FIFOs to use instead.
func Mounted() bool { return os.Getenv(dirSetting) == "" }

// Main runs the tests of a package that need programs to be installed, and
// returns the exit status for os.Exit. It fails with one line when a program is
// missing, builds the zpipes binary, and fails when the tests left a process or
// a mount behind.
func Main(m *testing.M, programs ...string) int {
	if err := CheckPrograms(programs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	scratch, err := setUp()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := leftovers(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

// CheckPrograms returns an error that names every program not found by PATH.
func CheckPrograms(programs ...string) error {
	var missing []string
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("programs missing: %s", strings.Join(missing, " "))
	}
	return nil
}

// Dir makes an empty folder on the disk, with a path short enough for a Unix
// socket in it, and removes it when the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := makeFolder(os.Getenv(scratchSetting), "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// makeFolder makes a folder that all users may enter, for mounts in it.
func makeFolder(in, name string) (string, error) {
	dir, err := os.MkdirTemp(in, name)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// OpenAbove lets users other than root through the scratch folders above a path.
func OpenAbove(t testing.TB, path string) {
	t.Helper()
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// Until polls cond until it holds, at most for limit, and reports whether it
// did.
func Until(limit time.Duration, cond func() bool) bool {
	return poll(limit, 5*time.Millisecond, cond)
}

func poll(limit, every time.Duration, cond func() bool) bool {
	tick := time.NewTicker(every)
	defer tick.Stop()
	end := time.After(limit)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			return cond()
		}
	}
	return true
}

// Binary is the path of the zpipes binary under test.
func Binary() string { return os.Getenv(binarySetting) }

// setUp makes the scratch folder and the binary. Their paths go into the
// environment, where the tests and every process they start find them.
func setUp() (scratch string, err error) {
	scratch, err = makeFolder("", "zpipes-lab-")
	if err != nil {
		return "", fmt.Errorf("make a scratch folder: %w", err)
	}
	if err := os.Setenv(scratchSetting, scratch); err != nil {
		return "", err
	}
	if !Mounted() || Binary() != "" {
		return scratch, nil
	}
	bin := filepath.Join(scratch, "zpipes")
	if err := build(bin, "github.com/zpipesfs/zpipesfs/cmd/zpipes"); err != nil {
		return "", errors.Join(err, os.RemoveAll(scratch))
	}
	return scratch, os.Setenv(binarySetting, bin)
}

// GoBuild compiles a main package, given as the go command names it, and
// returns the path of the binary, which lives as long as the test.
func GoBuild(t testing.TB, pkg string) string {
	t.Helper()
	bin := filepath.Join(Dir(t), filepath.Base(pkg))
	if err := build(bin, pkg); err != nil {
		t.Fatal(err)
	}
	return bin
}

func build(bin, pkg string) error {
	args := []string{"build", "-o", bin}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, pkg)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// leftovers ends what the tests of this package have left behind and returns an
// error that names it.
func leftovers(scratch string) error {
	var errs []error
	if left := processesOf(scratch); len(left) > 0 {
		errs = append(errs, fmt.Errorf("processes left behind:\n%s", describe(left)))
		killAll(func() []process { return processesOf(scratch) })
	}
	for _, ns := range namespaces(filepath.Base(scratch) + "-") {
		out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput()
		errs = append(errs, fmt.Errorf("namespace left behind: %s (removed now: %v %s)", ns, err, out))
	}
	for _, m := range mountsBelow(scratch) {
		errs = append(errs, fmt.Errorf("mount left behind: %s", m.dir))
		errs = append(errs, m.drop())
	}
	return errors.Join(errs...)
}
