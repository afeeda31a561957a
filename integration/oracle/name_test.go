// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

// nameScenarios are about a pipe's name and its directory.
func nameScenarios() []scenario {
	return []scenario{
		{"names/mkfifo", nameMkfifo},
		{"names/mkfifo of a pipe somebody has open", nameMkfifoOpen},
		{"names/what is not there", nameMissing},
		{"names/list", nameList},
		{"names/unlink while both ends are open", nameUnlinkOpen},
		{"names/unlink while an open waits", nameUnlinkOpening},
		{"names/unlinked and made again is another pipe", nameAgain},
		{"names/rename of a closed pipe", nameRename},
		{"names/rename over another pipe", nameRenameOver},
		{"names/rename into a directory", nameRenameInto},
		{"names/directories", nameDirectories},
		{"names/usable while an open of a neighbour waits", nameNeighbour},
		{"names/long and odd names", nameOdd},
		{"names/pipes in a deep directory", nameDeep},
	}
}

func nameMkfifo(s *script) {
	w := s.writer()
	w.do(onName("mkfifo", "p", 0o644))
	w.do(stat("p"))
	w.do(onName("mkfifo", "p", 0o644))
	w.do(onName("mkfifo", "q", 0o600))
	w.do(stat("q"))
	w.do(onName("mkfifo", "umask", 0o777))
	w.do(stat("umask"))
	w.do(onName("unlink", "p"))
	w.do(stat("p"))
	w.do(onName("mkfifo", "p", 0o644))
	s.usable()
}

func nameMkfifoOpen(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onName("mkfifo", "p", 0o644))
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 10))
}

func nameMissing(s *script) {
	w := s.writer()
	for _, name := range []string{"none", "none/p"} {
		w.do(open(name, rdonly))
		w.do(open(name, wronly|nb))
		w.do(stat(name))
		w.do(onName("unlink", name))
		w.do(onName("chmod", name, 0o644))
		w.do(onName("rmdir", name))
		w.do(rename(name, "other"))
	}
	w.do(onName("mkfifo", "none/p", 0o644))
	s.fifo("p")
	w.do(onName("mkfifo", "p/q", 0o644))
	w.do(open("p/q", rdonly))
	w.do(stat("p/q"))
	w.do(onName("rmdir", "p"))
	w.do(onName("unlink", ""))
}

// list shows the names in a directory.
func list(name string) op {
	o := onName("names", name)
	o.format = formatText
	return o
}

func nameList(s *script) {
	w, r := s.writer(), s.reader()
	w.do(list("."))
	for _, name := range []string{"c", "a", "b"} {
		w.do(onName("mkfifo", name, 0o644))
	}
	w.do(onName("mkdir", "d", 0o755))
	r.do(list("."))
	w.do(onName("unlink", "a"))
	r.do(list("."))
	r.do(list("d"))
	r.do(list("b"))
}

func nameUnlinkOpen(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "before "))
	w.do(onName("unlink", "p"))
	w.do(write(wfd, "after"))
	r.do(drain(rfd, 12, 100))
	w.do(stat("p"))
	w.do(list("."))
	w.do(open("p", wronly|nb))
	w.do(fstat(wfd))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.wait()
}

// An open that waits goes on waiting for a pipe nobody can open any more; it
// can be killed.
func nameUnlinkOpening(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	waiting := r.start(open("p", rdonly))
	waiting.blocks()
	w.do(onName("unlink", "p"))
	waiting.blocks()
	w.do(onName("mkfifo", "p", 0o644))
	w.do(open("p", wronly|nb))
	waiting.blocks()
	r.die()
	s.usable()
}

func nameAgain(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onName("unlink", "p"))
	w.do(onName("mkfifo", "p", 0o644))
	w.do(open("p", wronly|nb))
	newW, newR := s.writer(), s.reader()
	newWfd, newRfd := s.connect(newW, newR)
	w.do(write(wfd, "old"))
	newW.do(write(newWfd, "new"))
	r.do(read(rfd, 10))
	newR.do(read(newRfd, 10))
	newW.do(closing(newWfd))
	newR.do(read(newRfd, 10))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.do(closing(wfd))
	waiting.wait()
}

func nameRename(s *script) {
	s.fifo("old")
	w := s.writer()
	w.do(onName("chmod", "old", 0o640))
	w.do(rename("old", "p"))
	w.do(stat("old"))
	w.do(stat("p"))
	w.do(list("."))
	s.usable()
	w.do(onName("mkfifo", "old", 0o644))
	w.do(list("."))
}

func nameRenameOver(s *script) {
	s.fifo("old")
	s.fifo("p")
	w := s.writer()
	w.do(onName("chmod", "old", 0o600))
	w.do(rename("old", "p"))
	w.do(list("."))
	w.do(stat("p"))
	w.do(rename("p", "p"))
	w.do(list("."))
	s.usable()
}

func nameRenameInto(s *script) {
	s.fifo("q")
	w := s.writer()
	w.do(onName("mkdir", "d", 0o755))
	w.do(rename("q", "d"))
	w.do(rename("q", "d/q"))
	w.do(list("d"))
	w.do(rename("d/q", "p"))
	w.do(list("."))
	w.do(onName("rmdir", "d"))
	s.usable()
}

func nameDirectories(s *script) {
	w := s.writer()
	w.do(onName("mkdir", "d", 0o755))
	w.do(onName("mkdir", "d", 0o755))
	w.do(onName("mkfifo", "d", 0o755))
	w.do(onName("mkfifo", "d/p", 0o644))
	w.do(onName("rmdir", "d"))
	w.do(onName("unlink", "d"))
	w.do(onName("mkdir", "d/e", 0o700))
	w.do(list("d"))
	w.do(open("d", wronly))
	w.do(open("d/p", rdonly|nb))
	w.do(onName("unlink", "d/p"))
	w.do(onName("rmdir", "d/e"))
	w.do(onName("rmdir", "d"))
	w.do(list("."))
}

// Nothing in a directory waits for an open that waits.
func nameNeighbour(s *script) {
	s.fifo("p")
	a, b, w := s.reader(), s.writer(), s.writer()
	s.fifo("q")
	opening := a.start(open("p", rdonly))
	opening.blocks()
	other := b.start(open("q", wronly))
	other.blocks()
	w.do(onName("chmod", "p", 0o600))
	w.do(onName("touch", "p"))
	w.do(onName("mkfifo", "new", 0o644))
	w.do(stat("p"))
	w.do(list("."))
	w.do(rename("new", "newer"))
	w.do(onName("unlink", "newer"))
	w.do(onName("mkdir", "d", 0o755))
	w.do(onName("rmdir", "d"))
	w.do(onName("unlink", "q"))
	s.writer().do(open("p", wronly))
	opening.wait()
}

func nameOdd(s *script) {
	w := s.writer()
	long := make([]byte, 100)
	for i := range long {
		long[i] = 'n'
	}
	for _, name := range []string{"a b", "-n", "ü", "*", "new\nline", string(long)} {
		w.do(onName("mkfifo", name, 0o644))
		fd := w.do(open(name, rdwr)).fd()
		w.do(write(fd, "x"))
		w.do(read(fd, 10))
		w.do(onName("unlink", name))
	}
	tooLong := make([]byte, 256)
	for i := range tooLong {
		tooLong[i] = 'n'
	}
	w.do(onName("mkfifo", string(tooLong), 0o644))
}

func nameDeep(s *script) {
	w := s.writer()
	dir := "a"
	for _, next := range []string{"b", "c", "d"} {
		w.do(onName("mkdir", dir, 0o755))
		dir += "/" + next
	}
	w.do(onName("mkdir", dir, 0o755))
	w.do(onName("mkfifo", dir+"/p", 0o644))
	fd := w.do(open(dir+"/p", rdwr)).fd()
	w.do(write(fd, "deep"))
	w.do(read(fd, 10))
	w.do(onName("rmdir", "a"))
	w.do(closing(fd))
	w.until("ENXIO", open(dir+"/p", wronly|nb))
	w.do(rename(dir+"/p", "p"))
	w.do(list(dir))
	s.free()
	s.usable()
}
