// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

// threadScenarios are about several threads of one process.
func threadScenarios() []scenario {
	return []scenario{
		{"threads/descriptor closed under a blocked read", threadCloseRead},
		{"threads/another descriptor closed under a blocked write", threadCloseWrite},
		{"threads/stat and chmod while a read and a write wait", threadStat},
		{"threads/both ends in one process", threadBothEnds},
		{"threads/many blocked calls of one process", threadMany},
	}
}

// The read goes on with the description its descriptor no longer names.
func threadCloseRead(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	r.thread(1).do(closing(rfd))
	waiting.blocks()
	w.do(write(wfd, "hello"))
	waiting.wait()
	r.do(read(rfd, 10))
}

func threadCloseWrite(s *script) {
	w, wfd, r, rfd := s.pair()
	second := w.do(open("p", wronly)).fd()
	third := w.do(dup(wfd)).fd()
	waiting := w.start(writePattern(wfd, oversize, 1))
	waiting.blocks()
	for _, fd := range []int{second, third, wfd} {
		w.thread(1).do(closing(fd))
		waiting.blocks()
	}
	r.do(drain(rfd, oversize, 0))
	waiting.wait()
	r.do(read(rfd, 10))
}

func threadStat(s *script) {
	w, wfd, r, rfd := s.pair()
	s.fifo("q")
	writing := w.start(writePattern(wfd, oversize, 1))
	writing.blocks()
	reading := r.start(open("q", rdonly))
	reading.blocks()
	for _, name := range []string{"p", "q"} {
		w.thread(1).do(stat(name))
		w.thread(1).do(onName("chmod", name, 0o600))
		w.thread(1).do(onName("touch", name))
		w.thread(1).do(onName("chown", name, 1, 1))
		w.thread(1).do(stat(name))
	}
	w.thread(1).do(fstat(wfd))
	w.thread(1).do(onName("unlink", "p"))
	r.thread(1).do(drain(rfd, oversize, 0))
	writing.wait()
}

func threadBothEnds(s *script) {
	s.fifo("p")
	w := s.writer()
	opening := w.start(open("p", rdonly))
	opening.blocks()
	wfd := w.thread(1).do(open("p", wronly)).fd()
	rfd := opening.wait().fd()
	reading := w.start(drain(rfd, 4<<20, 0))
	w.thread(1).do(stream(wfd, 4<<20, 2))
	reading.wait()
	waiting := w.start(read(rfd, 10))
	waiting.blocks()
	w.thread(1).do(closing(wfd))
	waiting.wait()
}

func threadMany(s *script) {
	w, wfd, r, rfd := s.pair()
	const threads = 50
	var calls []*call
	for i := range threads {
		calls = append(calls, r.thread(i).start(read(rfd, 1)))
	}
	calls[threads-1].blocks()
	s.line("a byte for each")
	w.do(writePattern(wfd, threads, 1))
	total := 0
	for _, c := range calls {
		total += int(c.quiet().Ret)
	}
	s.line("read %d", total)
	again := r.start(read(rfd, 1))
	again.blocks()
}
