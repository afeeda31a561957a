// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package command tests the zpipes program as people and scripts use it: its
// commands, flags, exit codes and error lines, and how it starts and ends.
//
// The test process touches no mount; programs that it starts do.
package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Everything that the tests make is below scratch, whose path is in the
// environment of every process they start.
var (
	scratch string
	binary  string
)

const (
	scratchSetting   = "ZPIPES_COMMAND_SCRATCH"
	namespaceSetting = "ZPIPES_COMMAND_NAMESPACE" // set in a mount namespace of the tests' own
)

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if wantsNamespace() {
		return inNamespace()
	}
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := leftovers(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

// wantsNamespace reports that root runs the tests where ordinary users cannot
// open /dev/fuse, as in many containers. fusermount3 opens it as its caller.
func wantsNamespace() bool {
	fi, err := os.Stat("/dev/fuse")
	return err == nil && os.Geteuid() == 0 && os.Getenv(namespaceSetting) == "" && fi.Mode()&0o6 != 0o6
}

// inNamespace runs this test binary again where nobody else sees its mounts.
func inNamespace() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), namespaceSetting+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// openDevice puts a /dev/fuse in the place of the real one that every user can
// open, as udev makes it.
func openDevice() error {
	dir := filepath.Join(scratch, "dev")
	node := filepath.Join(dir, "fuse")
	return firstError(
		func() error { return os.Mkdir(dir, 0o755) },
		func() error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755") },
		func() error { return unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))) },
		func() error { return os.Chmod(node, 0o666) },
		func() error { return unix.Mount(node, "/dev/fuse", "", unix.MS_BIND, "") },
		func() error { return unix.Unmount(dir, unix.MNT_DETACH) },
		func() error { return os.Remove(dir) },
	)
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func setUp() (err error) {
	if scratch, err = os.MkdirTemp("", "zpipes-command-"); err != nil {
		return err
	}
	if err := os.Chmod(scratch, 0o755); err != nil { // another user runs the binary
		return err
	}
	if os.Getenv(namespaceSetting) != "" {
		if err := openDevice(); err != nil {
			return fmt.Errorf("make a /dev/fuse for every user: %w", err)
		}
	}
	binary = filepath.Join(scratch, "zpipes")
	args := []string{"build", "-buildvcs=false", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
		// Programs under the race detector sleep for a second before they end.
		if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
			return err
		}
	}
	if out, err := exec.Command("go", append(args, "github.com/zpipesfs/zpipesfs/cmd/zpipes")...).CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("go build: %w\n%s", err, out), os.RemoveAll(scratch))
	}
	for _, name := range []string{"ZPIPES_NAME", "ZPIPES_ENDPOINT"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	return os.Setenv(scratchSetting, scratch)
}

// leftovers ends and names what the tests have left behind.
func leftovers() error {
	var errs []error
	for _, p := range strays() {
		errs = append(errs, fmt.Errorf("process left behind: %s", p))
		errs = append(errs, syscall.Kill(p.pid, syscall.SIGKILL))
	}
	for _, dir := range mountsBelow(scratch) {
		errs = append(errs, fmt.Errorf("mount left behind: %s", dir))
		errs = append(errs, unix.Unmount(dir, unix.MNT_DETACH))
	}
	if err := os.Remove(binary); err != nil {
		errs = append(errs, err)
	}
	files, err := os.ReadDir(scratch)
	errs = append(errs, err)
	for _, f := range files {
		errs = append(errs, fmt.Errorf("file left behind: %s", f.Name()))
	}
	return errors.Join(append(errs, os.RemoveAll(scratch))...)
}

type stray struct {
	pid     int
	command string
}

func (s stray) String() string { return fmt.Sprintf("%d %s", s.pid, s.command) }

// strays are the processes that have the scratch folder in their environment.
func strays() (list []stray) {
	mark := []byte(scratchSetting + "=" + scratch)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		environ, err := os.ReadFile(dir + "/environ")
		if err != nil || pid == os.Getpid() || !bytes.Contains(environ, mark) {
			continue // it has ended, is a zombie, or is not ours
		}
		command, _ := os.ReadFile(dir + "/cmdline")
		list = append(list, stray{pid, string(bytes.ReplaceAll(command, []byte{0}, []byte{' '}))})
	}
	return list
}

func mountsBelow(dir string) (list []string) {
	info, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			list = append(list, f[4])
		}
	}
	return list
}
