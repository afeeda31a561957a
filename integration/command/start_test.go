// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package command

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mountPoint makes an empty directory to mount on.
func mountPoint(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(folder(t), "pipes")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// running reports whether a process exists and has not ended.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func absent(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

func TestDaemon(t *testing.T) {
	dir, home, name := mountPoint(t), folder(t), newName()
	j := zpipes("mount", "pipes", "--daemon", "--pid-file", filepath.Join(home, "pid"), "--log-file", filepath.Join(home, "log"), "--name", name)
	j.dir = filepath.Dir(dir)
	started := time.Now()
	if out := ok(t, j); out != "" {
		t.Errorf("it says %q", out)
	}
	t.Logf("ready after %v", time.Since(started).Round(time.Millisecond))
	// Everything is there at once.
	pid := pidIn(t, filepath.Join(home, "pid"))
	t.Cleanup(func() {
		syscall.Kill(pid, syscall.SIGTERM)
		until(t, "the daemon ends", func() bool { return !running(pid) })
	})
	ok(t, sh(`mkfifo "$1/p" && { echo hello > "$1/p" & } && test "$(cat "$1/p")" = hello`, dir))
	if got, want := ok(t, zpipes("ls", "--name", name)), "p\n"; got != want {
		t.Errorf("ls says %q, want %q", got, want)
	}

	// It is on its own: session, directory, umask, descriptors.
	stat := strings.Fields(ok(t, job{args: []string{"cat", fmt.Sprintf("/proc/%d/stat", pid)}}))
	if stat[5] != fmt.Sprint(pid) || stat[6] != "0" {
		t.Errorf("its session is %s and its terminal %s; want its own and none", stat[5], stat[6])
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != "/" {
		t.Errorf("it works in %q, %v", cwd, err)
	}
	if status := ok(t, job{args: []string{"cat", fmt.Sprintf("/proc/%d/status", pid)}}); !strings.Contains(status, "Umask:\t0022") {
		t.Errorf("its umask is not 0022")
	}
	for fd, want := range []string{"/dev/null", filepath.Join(home, "log"), filepath.Join(home, "log")} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil || got != want {
			t.Errorf("its descriptor %d is %q, %v; want %s", fd, got, err, want)
		}
	}

	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "the daemon ends", func() bool { return !running(pid) })
	if len(mountsBelow(dir)) > 0 || !absent(filepath.Join(home, "pid")) {
		t.Error("it has left its mount or its pid file")
	}
	if log, err := os.ReadFile(filepath.Join(home, "log")); err != nil || strings.Contains(string(log), "ERROR") || strings.Contains(string(log), "RACE") {
		t.Errorf("its log: %s %v", log, err)
	}
}

// What the caller has open, a lock say, is not held by the daemon.
func TestDaemonInheritsNothing(t *testing.T) {
	home, name := folder(t), newName()
	pidFile, open := filepath.Join(home, "pid"), filepath.Join(home, "open")
	ok(t, sh(`exec 7>"$1"; shift; exec "$@"`, open, binary, "broker", "--daemon", "--name", name, "--pid-file", pidFile))
	pid := pidIn(t, pidFile)
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) < 3 {
		t.Errorf("it has %d descriptors, %v", len(fds), err)
	}
	for _, fd := range fds {
		if file, _ := os.Readlink(fd); file == open {
			t.Errorf("its descriptor %s is the caller's %s", filepath.Base(fd), file)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "the daemon ends", func() bool { return !running(pid) })
}

func TestDaemonWithoutLog(t *testing.T) {
	name, pidFile := newName(), filepath.Join(folder(t), "pid")
	ok(t, zpipes("broker", "--daemon", "--name", name, "--pid-file", pidFile))
	pid := pidIn(t, pidFile)
	for fd := range 3 {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil || got != "/dev/null" {
			t.Errorf("its descriptor %d is %q, %v", fd, got, err)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	ok(t, zpipes("ls", "--name", name))
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	until(t, "the daemon ends", func() bool { return !running(pid) })
	refused(t, 3, zpipes("ls", "--name", name), name)
}

func TestDaemonTellsWhyItFails(t *testing.T) {
	home := folder(t)
	taken := brokered(t)
	for _, x := range []struct {
		code int
		args []string
		says string
	}{
		{4, []string{"mount", filepath.Join(home, "none")}, "no such directory"},
		{10, []string{"mount", "/proc"}, "mount /proc"},
		{5, []string{"broker", "--name", taken.name}, taken.name},
		{1, []string{"broker", "--log-file", filepath.Join(home, "none/log")}, "none/log"},
		{1, []string{"broker", "--pid-file", filepath.Join(home, "none/pid")}, "none/pid"},
		{2, []string{"broker", "--endpoint", "nonsense"}, "nonsense"},
	} {
		args := x.args
		if !strings.Contains(strings.Join(args, " "), "--name") {
			args = append(args, "--name", newName())
		}
		refused(t, x.code, zpipes(args...), x.says)
		refused(t, x.code, zpipes(append(args, "--daemon")...), x.says)
	}
	// The log has it, too.
	log := filepath.Join(home, "log")
	refused(t, 10, zpipes("mount", "/proc", "--name", newName(), "--daemon", "--log-file", log), "mount /proc")
	if b, err := os.ReadFile(log); err != nil || !strings.Contains(string(b), "level=ERROR") || !strings.Contains(string(b), "mount /proc") {
		t.Errorf("the log says %q, %v", b, err)
	}
}

func TestPidFile(t *testing.T) {
	file := filepath.Join(folder(t), "pid")
	s := brokered(t, "--pid-file", file)
	if got := pidIn(t, file); got != s.cmd.Process.Pid {
		t.Errorf("the pid file says %d, want %d", got, s.cmd.Process.Pid)
	}
	refused(t, 5, zpipes("broker", "--name", newName(), "--pid-file", file), file, fmt.Sprint(s.cmd.Process.Pid))
	if got := pidIn(t, file); got != s.cmd.Process.Pid {
		t.Errorf("the second broker has overwritten the pid file with %d", got)
	}
	s.stop()
	if !absent(file) {
		t.Error("the pid file is still there")
	}

	// A dead process's id, and a file of no process, are no hindrance.
	dead := start(t, job{args: []string{"true"}})
	dead.wait()
	for _, text := range []string{fmt.Sprintln(dead.cmd.Process.Pid), "", "garbage\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s := brokered(t, "--pid-file", file)
		if got := pidIn(t, file); got != s.cmd.Process.Pid {
			t.Errorf("the pid file says %d, want %d", got, s.cmd.Process.Pid)
		}
		s.stop()
	}

	// Who finds another's id in the file at the end leaves it alone.
	s = brokered(t, "--pid-file", file)
	if err := os.WriteFile(file, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if got := pidIn(t, file); got != 1 {
		t.Errorf("the pid file says %d, want 1", got)
	}
}

func TestLogFileIsOpenedAgain(t *testing.T) {
	dir := folder(t)
	log, old := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	s := brokered(t, "--log-file", log)
	has := func(file, text string) func() bool {
		return func() bool {
			b, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(b), text)
		}
	}
	until(t, "the log says ready", has(log, "msg=ready"))
	if err := os.Rename(log, old); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	until(t, "the new log is written", has(log, "opened again"))
	s.stop()
	if !has(log, "msg=ending")() || has(old, "msg=ending")() {
		t.Error("the end is in the wrong file")
	}
	if r := s.wait(); r.stderr != "" || r.stdout != "" {
		t.Errorf("besides the log file it says: %v", r)
	}
}

func TestHangup(t *testing.T) {
	s := brokered(t)
	s.signal(syscall.SIGHUP) // the terminal has gone
	s.endsWell()

	s = brokered(t)
	s.stop()
	name := newName()
	under := serving(t, name, "", job{args: []string{"sh", "-c", `trap '' HUP; exec "$@"`, "sh", binary, "broker"}})
	under.signal(syscall.SIGHUP)
	ok(t, under.zpipes("ls"))
}

func TestLogLevel(t *testing.T) {
	quiet := brokered(t, "--log-level", "error")
	quiet.stop()
	if r := quiet.wait(); r.stderr != "" {
		t.Errorf("at level error it says %q", r.stderr)
	}
	normal := brokered(t)
	normal.stop()
	if r := normal.wait(); !strings.Contains(r.stderr, "level=INFO msg=ready") {
		t.Errorf("at level info it says %q", r.stderr)
	}
}

func TestNameIsUnique(t *testing.T) {
	s := mounted(t)
	other := mountPoint(t)
	refused(t, 5, zpipes("mount", other, "--name", s.name), s.name, fmt.Sprint(s.cmd.Process.Pid), "--name")
	refused(t, 5, zpipes("broker", "--name", s.name), s.name)
	// The first has not noticed.
	ok(t, s.zpipes("create", "still-here"))
	ok(t, sh(`test -f "$1"`, s.at("still-here")))

	refused(t, 5, zpipes("broker", "--name", newName(), "--endpoint", "ipc://@/zpipes/"+s.name), "ipc://@/zpipes/"+s.name)
}

func TestEndpoints(t *testing.T) {
	dir := folder(t)
	socket := filepath.Join(dir, "s,1") // a comma is nothing special
	s := brokered(t, "--endpoint", "ipc://"+socket, "--endpoint", "tcp://127.0.0.1:*")
	if absent(socket) {
		t.Error("the socket is not there")
	}
	if !regexp.MustCompile(`tcp://\S*127\.0\.0\.1\]?:[1-9]`).MatchString(s.stderr.String()) {
		t.Errorf("the log does not name the port: %q", s.stderr.String())
	}
	s.stop()
	if !absent(socket) {
		t.Error("the socket is still there")
	}
}

// A full pipe holds what --capacity says.
func TestCapacity(t *testing.T) {
	s := mounted(t, "--capacity", "8K")
	ok(t, s.zpipes("create", "p"))
	w := start(t, sh(`exec 3<>"$1"; exec head -c 1M /dev/zero >&3`, s.at("p")))
	until(t, "the pipe is full", func() bool {
		f := strings.Fields(lastLine(ok(t, s.zpipes("ls", "-l"))))
		return len(f) == 9 && f[5] == "8192"
	})
	w.signal(syscall.SIGKILL)
	w.wait()
}
