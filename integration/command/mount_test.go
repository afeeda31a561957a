// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountPointMustExist(t *testing.T) {
	dir := folder(t)
	none := filepath.Join(dir, "none")
	refused(t, 4, zpipes("mount", none, "--name", newName()), "mount "+none, "no such directory")
	refused(t, 4, zpipes("mount", filepath.Join(none, "none"), "--name", newName()), "no such directory")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, 4, zpipes("mount", file, "--name", newName()), "mount "+file, "not a directory")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func TestOccupiedMountPointIsRefused(t *testing.T) {
	s := mounted(t)
	refused(t, 10, zpipes("mount", s.dir, "--name", newName()), "mount "+s.dir, "mounted there")
	ok(t, s.zpipes("create", "still-here"))
	ok(t, sh(`test -f "$1"`, s.at("still-here")))
	refused(t, 10, zpipes("mount", "/proc", "--name", newName()), "mount /proc")
}

// Whoever kills a server and starts it again at once finds it working.
func TestKilledServerIsReplaced(t *testing.T) {
	dir, name := mountPoint(t), newName()
	pidFile := filepath.Join(folder(t), "pid")
	args := []string{"mount", dir, "--daemon", "--name", name, "--pid-file", pidFile}
	for range 5 {
		ok(t, zpipes(args...))
		ok(t, sh(`echo hello 1<>"$1/p"`, dir)) // bytes, and an end that is open meanwhile
		if err := syscall.Kill(pidIn(t, pidFile), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, zpipes(args...))
	pid := pidIn(t, pidFile)
	if out := ok(t, zpipes("ls", "--name", name)); out != "" {
		t.Errorf("the new server has pipes: %q", out)
	}
	ok(t, sh(`mkfifo "$1/p" && ls "$1"`, dir))
	if n := len(mountsBelow(dir)); n != 1 {
		t.Errorf("%d mounts are on %s, want 1", n, dir)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "the daemon ends", func() bool { return !running(pid) })
}

func TestStaleMountIsLogged(t *testing.T) {
	s := mounted(t)
	s.signal(syscall.SIGKILL)
	s.process.wait()
	if r := run(t, sh(`ls "$1"`, s.dir)); !strings.Contains(r.stderr, "not connected") {
		t.Errorf("a dead mount says %v", r)
	}
	again := serving(t, newName(), s.dir, zpipes("mount", s.dir))
	ok(t, sh(`mkfifo "$1/p"`, s.dir))
	again.stop()
	if log := again.stderr.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, s.dir) {
		t.Errorf("the log does not tell of the dead mount: %q", log)
	}
}

// Whoever waits in the mount when the server ends gets an answer.
func TestTermWithProcessesWaiting(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := mounted(t, "--capacity", "64K")
		ok(t, s.zpipes("create", "o", "r", "w"))
		opener := start(t, sh(`exec cat "$1"`, s.at("o")))
		reader := start(t, sh(`exec cat <>"$1"`, s.at("r")))
		writer := start(t, sh(`exec cat /dev/zero 1<>"$1"`, s.at("w")))
		until(t, "all wait", func() bool {
			var ends []string
			for line := range strings.Lines(ok(t, s.zpipes("ls", "-l"))) {
				if f := strings.Fields(line); len(f) == 9 {
					ends = append(ends, f[3]+f[4]+f[5])
				}
			}
			return strings.Join(ends[1:], " ") == "100 110 1165536" &&
				inCall(opener, unix.SYS_OPENAT) && inCall(reader, unix.SYS_READ) && inCall(writer, unix.SYS_WRITE)
		})
		s.signal(sig)
		s.signal(sig) // makes nothing worse
		if r := opener.wait(); r.code != 1 {
			t.Errorf("opener: %v; want an error", r)
		}
		if r := reader.wait(); r.code != 0 {
			t.Errorf("reader: %v; want the end of the data", r)
		}
		if r := writer.wait(); r.signal != syscall.SIGPIPE {
			t.Errorf("writer: %v; want SIGPIPE", r)
		}
		s.endsWell()
		if len(mountsBelow(s.dir)) > 0 {
			t.Error("the mount is still there")
		}
	}
}

// inCall reports that a process sleeps in a system call.
func inCall(p *process, call int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", p.cmd.Process.Pid))
	return err == nil && strings.HasPrefix(string(b), fmt.Sprint(call, " "))
}

func TestManySignals(t *testing.T) {
	s := mounted(t)
	for range 20 {
		s.signal(syscall.SIGTERM)
		s.signal(syscall.SIGINT)
	}
	s.endsWell()
}

// A signal that comes while the server starts ends it, too.
func TestSignalWhileStarting(t *testing.T) {
	for range 5 {
		dir := mountPoint(t)
		p := start(t, zpipes("mount", dir, "--name", newName()))
		until(t, "it catches signals", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
			return err == nil && catches(string(b), syscall.SIGTERM)
		})
		p.signal(syscall.SIGTERM)
		if r := p.wait(); r.code != 0 && r.signal != syscall.SIGTERM {
			t.Errorf("it ended badly: %v", r)
		}
	}
}

// catches reads the mask of caught signals in proc_pid_status(5).
func catches(status string, sig syscall.Signal) bool {
	_, mask, _ := strings.Cut(status, "SigCgt:\t")
	var bits uint64
	fmt.Sscanf(mask, "%x", &bits)
	return bits&(1<<(sig-1)) != 0
}

func TestUnmountEndsTheServer(t *testing.T) {
	for _, how := range []string{`zpipes umount`, `umount`, `umount -l`, `fusermount3 -u`} {
		s := mounted(t)
		ok(t, sh(`mkfifo "$1/p"`, s.dir))
		command := strings.Fields(strings.Replace(how, "zpipes", binary, 1))
		ok(t, job{args: append(command, s.dir)})
		if n := len(mountsBelow(s.dir)); n != 0 {
			t.Errorf("%s: the mount is still there", how)
		}
		s.endsWell()
	}
}

// A file that is open keeps umount(8) off, not zpipes umount.
func TestUnmountWhileInUse(t *testing.T) {
	s := mounted(t)
	ok(t, s.zpipes("create", "p"))
	holder := start(t, sh(`exec 3<>"$1"; echo open; exec tail -f /dev/null`, s.at("p")))
	until(t, "the pipe is open", func() bool { return holder.stdout.String() == "open\n" })
	if r := run(t, job{args: []string{"umount", s.dir}}); r.code == 0 || !strings.Contains(r.stderr, "busy") {
		t.Errorf("umount: %v; want busy", r)
	}
	ok(t, zpipes("umount", s.dir))
	if len(mountsBelow(s.dir)) != 0 {
		t.Error("the mount is still there")
	}
	holder.signal(syscall.SIGKILL)
	holder.wait()
	s.endsWell()
}

func TestUmountRefusals(t *testing.T) {
	dir := folder(t)
	refused(t, 4, zpipes("umount", dir), "umount "+dir, "not a zpipesfs mount")
	refused(t, 4, zpipes("umount", "/proc"), "umount /proc", "not a zpipesfs mount")
	refused(t, 4, zpipes("umount", filepath.Join(dir, "none/none")), "umount")
}

func TestUmountOfDeadMount(t *testing.T) {
	s := mounted(t)
	s.signal(syscall.SIGKILL)
	s.process.wait()
	ok(t, zpipes("umount", s.dir))
	if len(mountsBelow(s.dir)) != 0 {
		t.Error("the mount is still there")
	}
}

// Ordinary users mount through fusermount3.
func TestUserMounts(t *testing.T) {
	dir := mountPoint(t)
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	as := func(j job) job { j.uid = nobody; return j }
	name := newName()
	s := serving(t, name, dir, as(zpipes("mount", dir)))
	ok(t, as(sh(`mkfifo "$1/p" && { seq 1000 > "$1/p" & } && test "$(cat "$1/p" | wc -l)" = 1000`, dir)))
	if got, want := ok(t, as(sh(`stat -c '%a %u %g' "$1"`, dir))), fmt.Sprintf("755 %d %d\n", owner(), owner()); got != want {
		t.Errorf("the root directory is %q, want %q", got, want)
	}
	ok(t, as(s.zpipes("ls")))
	if os.Geteuid() == 0 {
		if r := run(t, sh(`ls "$1"`, dir)); !strings.Contains(r.stderr, "denied") {
			t.Errorf("root looks into a user's mount: %v", r)
		}
	}
	s.stop()

	// A killed server's mount is taken away here, too.
	s = serving(t, newName(), dir, as(zpipes("mount", dir)))
	s.signal(syscall.SIGKILL)
	s.process.wait()
	s = serving(t, newName(), dir, as(zpipes("mount", dir)))
	ok(t, as(sh(`mkfifo "$1/p"`, dir)))
	ok(t, as(zpipes("umount", dir)))
	s.endsWell()

	// Without the administrator's leave nobody else gets in.
	if conf, _ := os.ReadFile("/etc/fuse.conf"); !strings.Contains("\n"+string(conf), "\nuser_allow_other") && (os.Geteuid() != 0 || owner() != 0) {
		refused(t, 4, as(zpipes("mount", dir, "--name", newName(), "--allow-other")), "user_allow_other")
	}
}

// owner is the user that user mounts belong to.
func owner() int {
	if os.Geteuid() == 0 {
		return nobody
	}
	return os.Getuid()
}
