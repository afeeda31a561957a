// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// faults are what no log of a daemon may have.
var faults = []string{"DATA RACE", "panic:", "fatal error:", "SIGSEGV"}

// Mount is a zpipes mount, or a plain directory of kernel FIFOs in its place.
type Mount struct {
	Dir    string
	t      testing.TB
	daemon *Process // nil for a plain directory
}

// NewMount mounts zpipes on a new directory, with these flags for the mount
// command, and waits until it answers. When the test ends the daemon is
// stopped; the test fails if it does not end well or leaves its mount behind.
func NewMount(t testing.TB, flags ...string) *Mount {
	t.Helper()
	if Mounted() {
		return MountAt(t, Dir(t), flags...)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirSetting), "fifo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &Mount{Dir: dir, t: t}
}

// MountAt is NewMount on a directory of the caller's.
func MountAt(t testing.TB, dir string, flags ...string) *Mount {
	t.Helper()
	// A broker's name is unique on its host.
	name := filepath.Base(os.Getenv(scratchSetting)) + "-" + filepath.Base(dir)
	args := append([]string{Binary(), "mount", "--name", name}, flags...)
	m := &Mount{Dir: dir, t: t}
	// Should the test process die, SIGTERM makes the daemon unmount.
	m.daemon = start(t, Command{Args: append(args, dir), Env: DaemonEnv(t)}, syscall.SIGTERM)
	t.Cleanup(m.tearDown)
	if !Until(10*time.Second, func() bool { return IsMounted(dir) || m.Ended(0) }) || m.Ended(0) {
		t.Fatalf("zpipes mount does not mount: %v", m.daemon.Result())
	}
	if r := Run(t, 5*time.Second, Command{Args: []string{"ls", dir}}); r.Status != "exit 0" {
		t.Fatalf("the mount does not answer: ls: %v", r)
	}
	return m
}

// DaemonEnv is the environment that keeps a daemon's files in a folder of the
// test.
func DaemonEnv(t testing.TB) []string {
	t.Helper()
	dir := Dir(t)
	var env []string
	for _, name := range []string{"XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		env = append(env, name+"="+dir)
	}
	return env
}

// PID returns the daemon's process.
func (m *Mount) PID() int { return m.daemon.PID() }

// Stop sends SIGTERM to the daemon and waits at most limit until it has ended.
// The test fails when it does not, or not with status 0, or leaves the mount.
func (m *Mount) Stop(limit time.Duration) {
	m.t.Helper()
	m.daemon.Signal(syscall.SIGTERM)
	if !m.Ended(limit) {
		m.t.Errorf("SIGTERM did not end the daemon in %v:\n%s", limit, m.daemon.Describe())
		return
	}
	if r := m.daemon.Result(); r.Status != "exit 0" {
		m.t.Errorf("the daemon ended badly: %v", r)
	}
	if IsMounted(m.Dir) {
		m.t.Errorf("the daemon has left its mount on %s", m.Dir)
	}
}

// Kill kills the daemon as kill -9 does. The dead mount stays.
func (m *Mount) Kill() {
	m.t.Helper()
	m.daemon.Kill()
}

// Ended reports whether the daemon has ended, waiting at most limit for it.
func (m *Mount) Ended(limit time.Duration) bool { return m.daemon.Wait(limit) }

// Detach is umount -l: the mount goes from the directory at once.
func (m *Mount) Detach() {
	m.t.Helper()
	if r := Run(m.t, 5*time.Second, Command{Args: append(detach(), m.Dir)}); r.Status != "exit 0" {
		m.t.Errorf("detach %s: %v", m.Dir, r)
	}
}

// Log is what the daemon has written to standard error.
func (m *Mount) Log() string { return m.daemon.Stderr() }

// tearDown stops a daemon that still runs, frees everybody who waits in the
// mount if it cannot be stopped, and looks for faults in the daemon's log.
func (m *Mount) tearDown() {
	m.t.Helper()
	if !m.Ended(0) {
		m.Stop(10 * time.Second)
	}
	for _, left := range mountsBelow(m.Dir) {
		if err := left.drop(); err != nil {
			m.t.Error(err)
		}
	}
	m.daemon.Kill()
	log := m.Log()
	for _, fault := range faults {
		if at := strings.Index(log, fault); at >= 0 {
			m.t.Errorf("the daemon's log has %q: %.4000s", fault, log[at:])
		}
	}
}

// mount is a line of mountinfo.
type mount struct {
	device string // major:minor
	dir    string
}

// IsMounted reports whether something is mounted on dir, without touching it.
func IsMounted(dir string) bool {
	for _, m := range mountsBelow(dir) {
		if m.dir == dir {
			return true
		}
	}
	return false
}

// mountsBelow lists the mounts on dir and below it.
func mountsBelow(dir string) []mount {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []mount
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			found = append(found, mount{device: f[2], dir: f[4]})
		}
	}
	return found
}

// drop aborts the FUSE connection, which frees every process that waits in it,
// and detaches the mount.
func (m mount) drop() error {
	var errs []error
	_, minor, _ := strings.Cut(m.device, ":")
	abort := filepath.Join("/sys/fs/fuse/connections", minor, "abort")
	if err := os.WriteFile(abort, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("abort the connection of %s: %w", m.dir, err))
	}
	argv := append(detach(), m.dir)
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("detach %s: %w: %s", m.dir, err, out))
	}
	return errors.Join(errs...)
}

// detach is the command, less the directory, that takes a mount away whoever
// still uses it. Only root may call umount on a mount that fstab does not name.
func detach() []string {
	if os.Geteuid() == 0 {
		return []string{"umount", "-l"}
	}
	return []string{"fusermount3", "-u", "-z"}
}
