// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// refusedScenarios are about calls a pipe refuses.
func refusedScenarios() []scenario {
	return []scenario{
		{"refused/lseek", refusedSeek},
		{"refused/pread and pwrite", refusedPread},
		{"refused/shared mmap", refusedMmap},
		{"refused/fallocate", refusedFallocate},
		{"refused/fsync", refusedSync},
		{"refused/wrong direction", refusedDirection},
		{"refused/none of them disturbs the data", refusedUndisturbed},
	}
}

// bothEnds runs a check on the reading and on the writing end.
func bothEnds(s *script, check func(a *actor, fd int)) {
	w, wfd, r, rfd := s.pair()
	check(w, wfd)
	check(r, rfd)
	both := w.do(open("p", rdwr)).fd()
	check(w, both)
}

func refusedSeek(s *script) {
	bothEnds(s, func(a *actor, fd int) {
		for _, whence := range []int64{unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END} {
			a.do(onFD("lseek", fd, 0, whence))
		}
	})
}

func refusedPread(s *script) {
	bothEnds(s, func(a *actor, fd int) {
		a.do(pread("pread", fd))
		a.do(pread("preadv", fd))
		a.do(pwrite("pwrite", fd))
		a.do(pwrite("pwritev", fd))
	})
}

func refusedMmap(s *script) {
	bothEnds(s, func(a *actor, fd int) { a.do(mmap(fd, unix.MAP_SHARED)) })
}

func refusedFallocate(s *script) {
	bothEnds(s, func(a *actor, fd int) { a.do(onFD("fallocate", fd, 100)) })
}

func refusedSync(s *script) {
	bothEnds(s, func(a *actor, fd int) {
		a.do(onFD("fsync", fd))
		a.do(onFD("fdatasync", fd))
	})
}

func refusedDirection(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(read(wfd, 10))
	r.do(write(rfd, "hello"))
	w.do(read(wfd, 0))
	r.do(write(rfd, ""))
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 10))
}

func refusedUndisturbed(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "one two"))
	r.do(read(rfd, 4))
	for _, o := range []op{
		pread("pread", rfd), onFD("lseek", rfd, 0, unix.SEEK_SET), onFD("ftruncate", rfd, 0),
		mmap(rfd, unix.MAP_SHARED), onFD("fsync", rfd),
		stat("p"), onName("touch", "p"), onName("chmod", "p", 0o600),
	} {
		r.do(o)
	}
	r.do(read(rfd, 10))
	w.do(write(wfd, "three"))
	r.do(read(rfd, 10))
}
