// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// lockScenarios are about flock(2) and fcntl(2) locks between processes.
func lockScenarios() []scenario {
	return []scenario{
		{"flock/conflict", flockConflict},
		{"flock/shared", flockShared},
		{"flock/waits for the unlock", func(s *script) { flockWaits(s, "unlock") }},
		{"flock/waits for the close", func(s *script) { flockWaits(s, "close") }},
		{"flock/waits for the exit", func(s *script) { flockWaits(s, "exit") }},
		{"flock/waits for the kill", func(s *script) { flockWaits(s, "kill") }},
		{"flock/belongs to the open description", flockDescription},
		{"flock/waiting is interrupted", flockInterrupted},
		{"flock/killed while waiting", flockKilled},
		{"record lock/conflict", recordConflict},
		{"record lock/waits for the unlock", func(s *script) { recordWaits(s, "unlock") }},
		{"record lock/waits for the close", func(s *script) { recordWaits(s, "close") }},
		{"record lock/waits for the exit", func(s *script) { recordWaits(s, "exit") }},
		{"record lock/waits for the kill", func(s *script) { recordWaits(s, "kill") }},
		{"record lock/F_GETLK names the owner", recordOwner},
		{"record lock/one process does not conflict with itself", recordSelf},
		{"limits/record lock is lost with any descriptor", recordDup},
		{"record lock/killed while waiting", recordKilled},
		{"record lock/of the open description", recordDescription},
		{"locks/do not touch the data", lockData},
	}
}

// two makes a pipe and two processes that have it open both ways.
func two(s *script) (a *actor, afd int, b *actor, bfd int) {
	s.fifo("p")
	a, b = s.start("a", s.W, nil), s.start("b", s.W, nil)
	return a, a.do(open("p", rdwr)).fd(), b, b.do(open("p", rdwr)).fd()
}

func flockConflict(s *script) {
	a, afd, b, bfd := two(s)
	a.do(flock(afd, unix.LOCK_EX))
	b.do(flock(bfd, unix.LOCK_EX|unix.LOCK_NB))
	b.do(flock(bfd, unix.LOCK_SH|unix.LOCK_NB))
	a.do(flock(afd, unix.LOCK_UN))
	b.do(flock(bfd, unix.LOCK_EX|unix.LOCK_NB))
	a.do(flock(afd, unix.LOCK_EX|unix.LOCK_NB))
}

func flockShared(s *script) {
	a, afd, b, bfd := two(s)
	a.do(flock(afd, unix.LOCK_SH))
	b.do(flock(bfd, unix.LOCK_SH))
	b.do(flock(bfd, unix.LOCK_EX|unix.LOCK_NB))
	a.do(flock(afd, unix.LOCK_UN))
	b.do(flock(bfd, unix.LOCK_EX|unix.LOCK_NB))
	a.do(flock(afd, unix.LOCK_SH|unix.LOCK_NB))
}

// release ends a's hold on its locks.
func release(a *actor, fd int, how string, unlock op) {
	switch how {
	case "unlock":
		a.do(unlock)
	case "close":
		a.do(closing(fd))
	case "exit":
		a.start(onFD("exit", 0, 0))
		a.ends()
	default:
		a.die()
	}
}

func flockWaits(s *script, how string) {
	a, afd, b, bfd := two(s)
	a.do(flock(afd, unix.LOCK_EX))
	waiting := b.start(flock(bfd, unix.LOCK_EX))
	waiting.blocks()
	release(a, afd, how, flock(afd, unix.LOCK_UN))
	waiting.wait()
	third := s.start("c", s.W, nil)
	third.do(flock(third.do(open("p", rdwr)).fd(), unix.LOCK_SH|unix.LOCK_NB))
}

func flockDescription(s *script) {
	a, afd, b, bfd := two(s)
	second := a.do(dup(afd)).fd()
	third := a.do(open("p", rdwr)).fd()
	a.do(flock(afd, unix.LOCK_EX))
	a.do(flock(second, unix.LOCK_EX|unix.LOCK_NB))
	a.do(flock(third, unix.LOCK_EX|unix.LOCK_NB))
	a.do(closing(afd))
	b.do(flock(bfd, unix.LOCK_EX|unix.LOCK_NB))
	a.do(closing(second))
	b.until("0", flock(bfd, unix.LOCK_EX|unix.LOCK_NB))
}

func flockInterrupted(s *script) {
	a, afd, b, bfd := two(s)
	b.do(sigHandle(unix.SIGUSR1, false))
	a.do(flock(afd, unix.LOCK_EX))
	interrupt(b.start(flock(bfd, unix.LOCK_EX)))
	a.do(flock(afd, unix.LOCK_UN))
	a.do(flock(afd, unix.LOCK_EX|unix.LOCK_NB))
}

func flockKilled(s *script) {
	a, afd, b, bfd := two(s)
	a.do(flock(afd, unix.LOCK_EX))
	waiting := b.start(flock(bfd, unix.LOCK_EX))
	waiting.blocks()
	b.die()
	a.do(flock(afd, unix.LOCK_UN))
	third := s.start("c", s.W, nil)
	tfd := third.do(open("p", rdwr)).fd()
	third.until("0", flock(tfd, unix.LOCK_EX|unix.LOCK_NB))
	a.do(flock(afd, unix.LOCK_SH|unix.LOCK_NB))
}

func setlk(fd, kind int, start, length int64) op {
	return recordLock(fd, unix.F_SETLK, kind, start, length)
}

func recordConflict(s *script) {
	a, afd, b, bfd := two(s)
	a.do(setlk(afd, unix.F_WRLCK, 0, 10))
	b.do(setlk(bfd, unix.F_WRLCK, 5, 10))
	b.do(setlk(bfd, unix.F_WRLCK, 10, 10))
	b.do(setlk(bfd, unix.F_RDLCK, 9, 1))
	a.do(setlk(afd, unix.F_RDLCK, 0, 10))
	b.do(setlk(bfd, unix.F_RDLCK, 0, 10))
	a.do(setlk(afd, unix.F_WRLCK, 0, 0))
	a.do(setlk(afd, unix.F_UNLCK, 0, 0))
	b.do(setlk(bfd, unix.F_WRLCK, 0, 0))
}

func recordWaits(s *script, how string) {
	a, afd, b, bfd := two(s)
	a.do(setlk(afd, unix.F_WRLCK, 0, 0))
	waiting := b.start(recordLock(bfd, unix.F_SETLKW, unix.F_WRLCK, 3, 4))
	waiting.blocks()
	release(a, afd, how, setlk(afd, unix.F_UNLCK, 0, 0))
	waiting.wait()
}

func recordOwner(s *script) {
	a, afd, b, bfd := two(s)
	a.do(setlk(afd, unix.F_WRLCK, 4, 4))
	for _, start := range []int64{0, 4, 6, 8} {
		res := b.do(recordLock(bfd, unix.F_GETLK, unix.F_WRLCK, start, 2))
		s.line("its owner is a: %v", res.Values[0] != unix.F_UNLCK && res.Values[1] == int64(a.pid()))
	}
	a.do(recordLock(afd, unix.F_GETLK, unix.F_WRLCK, 4, 2))
}

// A process replaces its own locks, and loses all of them when it closes any
// descriptor of the file.
func recordSelf(s *script) {
	a, afd, b, bfd := two(s)
	second := a.do(open("p", rdwr)).fd()
	a.do(setlk(afd, unix.F_WRLCK, 0, 10))
	a.do(setlk(second, unix.F_WRLCK, 5, 10))
	b.do(setlk(bfd, unix.F_WRLCK, 0, 1))
	a.do(closing(second))
	b.until("0", setlk(bfd, unix.F_WRLCK, 0, 1))
}

// fcntl(2): closing any descriptor of the file drops the locks, a dup as well.
func recordDup(s *script) {
	a, afd, b, bfd := two(s)
	second := a.do(dup(afd)).fd()
	a.do(setlk(afd, unix.F_WRLCK, 0, 0))
	b.do(setlk(bfd, unix.F_WRLCK, 0, 0))
	a.do(closing(second))
	b.until("0", setlk(bfd, unix.F_WRLCK, 0, 0))
}

func recordKilled(s *script) {
	a, afd, b, bfd := two(s)
	a.do(setlk(afd, unix.F_WRLCK, 0, 0))
	waiting := b.start(recordLock(bfd, unix.F_SETLKW, unix.F_WRLCK, 0, 0))
	waiting.blocks()
	b.die()
	a.do(setlk(afd, unix.F_UNLCK, 0, 0))
	third := s.start("c", s.W, nil)
	tfd := third.do(open("p", rdwr)).fd()
	third.until("0", setlk(tfd, unix.F_WRLCK, 0, 0))
	a.do(setlk(afd, unix.F_RDLCK, 0, 0))
}

func recordDescription(s *script) {
	a, afd, b, bfd := two(s)
	second := a.do(open("p", rdwr)).fd()
	a.do(recordLock(afd, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 10))
	a.do(recordLock(second, unix.F_OFD_SETLK, unix.F_WRLCK, 5, 10))
	b.do(setlk(bfd, unix.F_WRLCK, 0, 1))
	a.do(closing(afd))
	b.until("0", setlk(bfd, unix.F_WRLCK, 0, 1))
}

func lockData(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(flock(wfd, unix.LOCK_EX))
	w.do(setlk(wfd, unix.F_WRLCK, 0, 0))
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 10))
	r.do(flock(rfd, unix.LOCK_SH|unix.LOCK_NB))
	r.do(setlk(rfd, unix.F_RDLCK, 0, 0))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	r.thread(1).do(setlk(rfd, unix.F_WRLCK, 0, 0))
	w.do(closing(wfd))
	waiting.wait()
	r.until("0", flock(rfd, unix.LOCK_SH|unix.LOCK_NB))
}
