// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// nobody is a user, and a group, that owns nothing here.
const nobody = 65534

// permissionScenarios are about owners, permission bits and what stat shows.
func permissionScenarios() []scenario {
	return []scenario{
		{"permissions/owner only", func(s *script) { permissionMode(s, 0o600) }},
		{"permissions/others read", func(s *script) { permissionMode(s, 0o644) }},
		{"permissions/others write", func(s *script) { permissionMode(s, 0o622) }},
		{"permissions/everybody", func(s *script) { permissionMode(s, 0o666) }},
		{"permissions/nobody at all", func(s *script) { permissionMode(s, 0o000) }},
		{"permissions/through the group", permissionGroup},
		{"permissions/chmod", permissionChmod},
		{"permissions/chown", permissionChown},
		{"permissions/an owner who is not root", permissionOwner},
		{"permissions/in a directory of another user", permissionDirectory},
		{"permissions/open ends outlive a chmod", permissionOutlive},
		{"permissions/times", permissionTimes},
		{"permissions/stat does not change with the contents", permissionStat},
	}
}

// as starts an actor of another user and group.
func as(s *script, uid, gid int) *actor {
	a := s.start("other", s.W, nil)
	o := onFD("identity", 0, int64(uid), int64(gid))
	o.text = fmt.Sprintf("becomes %d:%d", uid, gid)
	a.do(o)
	return a
}

// tries records what a user may do with the pipe p.
func tries(a *actor) {
	for _, flags := range []int{rdonly | nb, wronly | nb, rdwr} {
		if res := a.do(open("p", flags)); res.Errno == "" {
			a.quiet(closing(res.fd()))
		}
	}
	for _, how := range []int64{unix.R_OK, unix.W_OK, unix.X_OK} {
		a.do(onName("access", "p", how))
	}
}

func permissionMode(s *script, mode int64) {
	s.fifo("p")
	// A reader of root's, so that opening for writing shows EACCES or success.
	s.reader().do(open("p", rdonly|nb))
	w := s.writer()
	w.do(onName("chmod", "p", mode))
	w.do(stat("p"))
	tries(as(s, nobody, nobody))
	if mode != 0o600 {
		w.do(onName("chown", "p", nobody, nobody))
		tries(as(s, nobody, nobody))
	}
}

func permissionGroup(s *script) {
	s.fifo("p")
	s.reader().do(open("p", rdonly|nb))
	w := s.writer()
	w.do(onName("chmod", "p", 0o640))
	w.do(onName("chown", "p", 0, 1234))
	tries(as(s, nobody, 1234))
	tries(as(s, nobody, nobody))
	w.do(onName("chmod", "p", 0o604))
	tries(as(s, nobody, 1234))
}

func permissionChmod(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", rdwr)).fd()
	for _, mode := range []int64{0o600, 0o1755, 0o2770, 0o4711, 0, 0o7777, 0o666} {
		w.do(onName("chmod", "p", mode))
		w.do(stat("p"))
		w.do(fstat(fd))
	}
	w.do(onFD("fchmod", fd, 0o640))
	w.do(stat("p"))
	other := as(s, nobody, nobody)
	other.do(onName("chmod", "p", 0o666))
	other.do(stat("p"))
}

func permissionChown(s *script) {
	s.fifo("p")
	w := s.writer()
	for _, to := range [][2]int64{{1234, 4321}, {-1, 99}, {98, -1}, {-1, -1}, {0, 0}} {
		o := onName("chown", "p", to[0], to[1])
		o.text = fmt.Sprintf("chown(p, %d, %d)", to[0], to[1])
		w.do(o)
		w.do(stat("p"))
	}
	other := as(s, nobody, nobody)
	other.do(onName("chown", "p", nobody, nobody))
	other.do(stat("p"))
}

func permissionOwner(s *script) {
	s.fifo("p")
	w := s.writer()
	w.do(onName("chown", "p", nobody, nobody))
	owner := as(s, nobody, nobody)
	owner.do(onName("chmod", "p", 0o200))
	owner.do(stat("p"))
	tries(owner)
	owner.do(onName("chown", "p", 0, 0))
	owner.do(onName("touch", "p"))
	third := as(s, 4711, 4711)
	third.do(onName("chmod", "p", 0o666))
	third.do(onName("touch", "p"))
}

func permissionDirectory(s *script) {
	w, other := s.writer(), as(s, nobody, nobody)
	s.fifo("p")
	other.do(onName("mkfifo", "q", 0o644))
	other.do(onName("mkdir", "q", 0o755))
	other.do(onName("unlink", "p"))
	other.do(rename("p", "q"))
	w.do(onName("mkdir", "open", 0o777))
	w.do(onName("chmod", "open", 0o777))
	other.do(onName("mkfifo", "open/p", 0o644))
	w.do(stat("open/p"))
	other.do(onName("unlink", "open/p"))
	w.do(onName("mkdir", "closed", 0o700))
	w.do(onName("mkfifo", "closed/p", 0o666))
	other.do(open("closed/p", rdonly|nb))
	other.do(stat("closed/p"))
	other.do(list("closed"))
}

func permissionOutlive(s *script) {
	s.fifo("p")
	w, r := s.writer(), as(s, nobody, nobody)
	rfd := r.do(open("p", rdonly|nb)).fd()
	wfd := w.do(open("p", wronly)).fd()
	w.do(onName("chmod", "p", 0))
	w.do(write(wfd, "still"))
	r.do(read(rfd, 10))
	r.do(open("p", rdonly|nb))
}

func permissionTimes(s *script) {
	s.fifo("p")
	w := s.writer()
	o := onName("utimensat", "p", 1_000_000_000)
	o.text = "utimensat(p)"
	w.do(o)
	w.do(onName("touch", "p"))
	w.do(stat("p"))
	other := as(s, nobody, nobody)
	other.do(o)
	other.do(onName("touch", "p"))
	w.do(onName("chmod", "p", 0o644))
	other.do(onName("touch", "p"))
}

func permissionStat(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(stat("p"))
	w.do(write(wfd, "hello"))
	w.do(stat("p"))
	w.do(fstat(wfd))
	r.do(fstat(rfd))
	r.do(read(rfd, 10))
	r.do(stat("p"))
	w.do(closing(wfd))
	r.do(stat("p"))
}
