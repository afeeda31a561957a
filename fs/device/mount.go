// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Type is the file system's type in /proc/self/mountinfo.
const Type = "fuse.zpipesfs"

// Errors of mounting.
var (
	// ErrStale: the mount point has a mount of ours whose process is gone.
	ErrStale = errors.New("a dead zpipesfs mount is still there")
	// ErrOccupied: something else is mounted on the mount point.
	ErrOccupied = errors.New("something is mounted there")
	// ErrNotMounted: no mount of ours is on the directory.
	ErrNotMounted = errors.New("not a zpipesfs mount")
	// ErrHelper: fusermount3 failed or is missing; it said why.
	ErrHelper = errors.New("fusermount3 failed")
)

// Options say how a directory is mounted.
type Options struct {
	Source     string // what df shows as the file system
	AllowOther bool   // let users other than the mounting one in
	MaxRead    int    // bytes in one READ
}

// Mount mounts on dir and returns the connection to the kernel, non-blocking:
// by mount(2) as root, else through fusermount3. The caller closes it.
func Mount(dir string, o Options) (*Conn, error) {
	if err := vacant(dir); err != nil {
		return nil, err
	}
	mount := mountHelper
	if os.Geteuid() == 0 {
		mount = mountDirect
	}
	fd, err := mount(dir, o)
	if err != nil {
		return nil, err
	}
	m, err := find(dir)
	if err == nil && m == nil {
		err = fmt.Errorf("%s: %w: it went away at once", dir, ErrNotMounted)
	}
	var c *Conn
	if err == nil {
		c, err = newConn(fd, m.dev)
	}
	if err != nil {
		unix.Close(fd)
		return nil, errors.Join(err, Unmount(dir))
	}
	return c, nil
}

// vacant refuses a mount point that is not a directory or is taken.
func vacant(dir string) error {
	if m, err := find(dir); err != nil {
		return err
	} else if m != nil {
		if m.kind == Type {
			if dead(dir) {
				return fmt.Errorf("%s: %w", dir, ErrStale)
			}
		}
		return fmt.Errorf("%s: %w (%s)", dir, ErrOccupied, m.kind)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return &os.PathError{Op: "mount", Path: dir, Err: unix.ENOTDIR}
	}
	return nil
}

const (
	answerTime = 2 * time.Second  // for a mount to show that it is alive
	helperTime = 20 * time.Second // for fusermount3 to do its work
)

// dead reports that no process serves the mount any more. One whose process is
// stopped does not answer at all: the goroutine that asks then ends with it.
func dead(dir string) bool {
	answer := make(chan bool, 1)
	go func() {
		var st unix.Stat_t
		answer <- errors.Is(unix.Stat(dir, &st), unix.ENOTCONN)
	}()
	select {
	case d := <-answer:
		return d
	case <-time.After(answerTime):
		return false
	}
}

func mountDirect(dir string, o Options) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/fuse: %w (is the fuse module loaded?)", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,default_permissions,max_read=%d",
		fd, os.Geteuid(), os.Getegid(), o.MaxRead)
	if o.AllowOther {
		data += ",allow_other"
	}
	if err := unix.Mount(o.Source, dir, Type, unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "mount", Path: dir, Err: err}
	}
	return fd, nil
}

// mountHelper asks the setuid fusermount3, which passes the open /dev/fuse back
// over a socket (fuse/util/fusermount.c, _FUSE_COMMFD).
func mountHelper(dir string, o Options) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := pair[0], os.NewFile(uintptr(pair[1]), "commfd")
	defer unix.Close(ours)
	opts := []string{"fsname=" + o.Source, "subtype=zpipesfs", "default_permissions", "nosuid", "nodev", fmt.Sprintf("max_read=%d", o.MaxRead)}
	if o.AllowOther {
		opts = append(opts, "allow_other")
	}
	ctx, cancel := context.WithTimeout(context.Background(), helperTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "fusermount3", "-o", strings.Join(opts, ","), "--", dir)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	out, err := cmd.CombinedOutput()
	theirs.Close()
	if err != nil {
		return -1, helperError(err, out)
	}
	fd, err := receiveFD(ours)
	if err != nil {
		return -1, fmt.Errorf("receive /dev/fuse from fusermount3: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}

func helperError(err error, out []byte) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: not installed (Debian: apt-get install fuse3)", ErrHelper)
	}
	return fmt.Errorf("%w: %s", ErrHelper, strings.TrimSpace(string(out)))
}

func receiveFD(sock int) (int, error) {
	buf, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(sock, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, err
	}
	if len(msgs) != 1 {
		return -1, fmt.Errorf("%d control messages, want 1", len(msgs))
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// Unmount takes a mount of ours away. Files in it that are open stay open until
// closed; the directory is free at once (MNT_DETACH).
func Unmount(dir string) error {
	m, err := find(dir)
	switch {
	case err != nil:
		return err
	case m == nil || m.kind != Type:
		return fmt.Errorf("%s: %w", dir, ErrNotMounted)
	}
	return m.unmount()
}

// Unmount takes this connection's mount away, wherever it is by now; none if
// somebody else has done it.
func (c *Conn) Unmount() error {
	all, err := mounts()
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.dev == c.dev && m.kind == Type {
			return m.unmount()
		}
	}
	return nil
}

func (m *mounted) unmount() error {
	if os.Geteuid() == 0 {
		if err := unix.Unmount(m.point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return &os.PathError{Op: "umount", Path: m.point, Err: err}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), helperTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "fusermount3", "-u", "-z", "--", m.point).CombinedOutput()
	if err != nil {
		return helperError(err, out)
	}
	return nil
}

// Dead reports whether dir has a mount of ours that no process serves.
func Dead(dir string) bool {
	m, err := find(dir)
	return err == nil && m != nil && m.kind == Type && dead(dir)
}

type mounted struct{ dev, point, kind string }

// find returns the topmost mount on dir, or nil. It asks /proc, not the file
// system: a hung or dead mount must not hold us up. So a symbolic link in the
// last place is looked at only if nothing is mounted there.
func find(dir string) (*mounted, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	if m := topmost(all, filepath.Join(parent, filepath.Base(dir))); m != nil {
		return m, nil
	}
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		return topmost(all, target), nil
	}
	return nil, nil
}

func topmost(all []mounted, point string) *mounted {
	for i := range slices.Backward(all) {
		if all[i].point == point {
			return &all[i]
		}
	}
	return nil
}

// mounts reads /proc/self/mountinfo (proc_pid_mountinfo(5)).
func mounts() (all []mounted, err error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(info)) {
		// id parent major:minor root point options [tags] - type source options
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if ok && len(l) >= 5 && len(r) >= 1 {
			all = append(all, mounted{l[2], unescape(l[4]), r[0]})
		}
	}
	return all, nil
}

// unescape undoes mountinfo's \040 and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace(s)
}
