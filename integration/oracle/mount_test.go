// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bench is the two sides of the comparison.
type bench struct {
	fifo  dirs
	mount dirs
	real  bool // mount is a FUSE mount, not FIFOs once more
}

// newBench makes both sides and lets the test take them down again, which
// fails it when anything is left.
func newBench(t *testing.T) bench {
	demand(t)
	root, err := os.MkdirTemp("", "oracle")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { takeDown(t, root) })
	fifo, mount := filepath.Join(root, "fifo"), filepath.Join(root, "mount")
	// Actors of other users must reach both.
	for _, dir := range []string{root, fifo, mount} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := bench{fifo: dirs{W: fifo, R: fifo}, mount: dirs{W: mount, R: mount}, real: true}
	given := os.Getenv("ZPIPES_ORACLE_DIR")
	if given == "" {
		startDaemon(t, root, mount)
		return b
	}
	b.mount = dirs{W: given, R: given}
	if second := os.Getenv("ZPIPES_ORACLE_DIR2"); second != "" {
		b.mount.R, b.mount.Apart, b.fifo.Apart = second, true, true
	}
	fstype, err := fileSystem(given)
	if err != nil {
		t.Fatal(err)
	}
	b.real = strings.HasPrefix(fstype, "fuse")
	return b
}

// demand fails the test where it cannot be run at all.
func demand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting, and acting as other users, takes root")
	}
	for _, program := range []string{"bash", "busybox", "gzip", "python3", "rev", "sha256sum", "tar", "timeout"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("a scenario runs %s: %v", program, err)
		}
	}
}

// takeDown removes the directories, which must be empty by now.
func takeDown(t *testing.T, root string) {
	for _, p := range children(os.Getpid()) {
		t.Errorf("a child process is left:\n%s", whereabouts([]process{p}))
	}
	for _, dir := range []string{"fifo", "mount", "zpipes", ""} {
		if err := os.Remove(filepath.Join(root, dir)); err != nil && !os.IsNotExist(err) {
			t.Errorf("left behind: %v", err)
		}
	}
}

// fileSystem answers the type of the file system that holds dir, without
// touching it.
func fileSystem(dir string) (string, error) {
	for ; ; dir = filepath.Dir(dir) {
		fstype, ok, err := mounted(dir)
		if err != nil || ok || dir == "/" {
			return fstype, err
		}
	}
}

// daemon is the program that serves the mount under test.
type daemon struct {
	t     *testing.T
	dir   string // the mount point
	cmd   *exec.Cmd
	log   bytes.Buffer // complete when ended is closed
	ended chan struct{}
}

// startDaemon builds the program, mounts dir and waits until the mount answers.
func startDaemon(t *testing.T, root, dir string) {
	binary := filepath.Join(root, "zpipes")
	args := []string{"build", "-o", binary}
	if os.Getenv("ZPIPES_RACE") == "1" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/zpipesfs/zpipesfs/cmd/zpipes")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	d := &daemon{t: t, dir: dir, ended: make(chan struct{})}
	d.cmd = exec.Command(binary, "mount", "--allow-other", "--name", fmt.Sprintf("oracle-%d", os.Getpid()), dir)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	// Should the test binary be killed, the daemon unmounts and goes. The
	// signal comes when the thread that started it ends: keep that thread.
	runtime.LockOSThread()
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("start the program: %v", err)
	}
	go func() {
		defer close(d.ended)
		_ = d.cmd.Wait() // ProcessState has what is to know
	}()
	t.Cleanup(d.stop)
	if err := until("the mount", d.answers); err != nil {
		t.Fatal(err)
	}
	if d.within(0) {
		t.Fatal("the program ended at once")
	}
}

// answers tells whether the mount is there and answers; also when the program
// has ended, which ends the waiting.
func (d *daemon) answers() bool {
	if d.within(0) {
		return true
	}
	_, ok, err := mounted(d.dir)
	if err != nil || !ok {
		return false
	}
	return exec.Command("timeout", "-s", "KILL", "5", "ls", d.dir).Run() == nil
}

func (d *daemon) within(limit time.Duration) bool { return closedWithin(d.ended, limit) }

// stop ends the program as an administrator would and fails the test unless it
// unmounts, ends well and has written nothing that looks like a crash.
func (d *daemon) stop() {
	if !d.within(0) {
		_ = d.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended meanwhile
	}
	if !d.within(15 * time.Second) {
		d.t.Errorf("the program does not end on SIGTERM\n%s", whereabouts(members(d.cmd.Process.Pid)))
		_ = d.cmd.Process.Kill() // likewise
	}
	if _, ok, err := mounted(d.dir); err != nil || ok {
		d.t.Errorf("the mount is left (%v)", err)
		if out, err := exec.Command("umount", "-l", d.dir).CombinedOutput(); err != nil {
			d.t.Errorf("umount: %v: %s", err, out)
		}
	}
	if !d.within(15 * time.Second) {
		d.t.Fatal("the program cannot be killed")
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("the program ended with exit code %d", code)
	}
	log := d.log.String()
	if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
		d.t.Error("the program's log holds a race or a panic")
	}
	if d.t.Failed() {
		d.t.Logf("the program's log:\n%s", log)
	}
}
