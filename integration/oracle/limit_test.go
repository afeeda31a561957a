// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"time"

	"golang.org/x/sys/unix"

	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// limitScenarios are about what the mount may not be able to do because the
// kernel sees a regular file there.
func limitScenarios() []scenario {
	return []scenario{
		{"limits/type of the file", limitType},
		{"limits/FIONREAD", limitFionread},
		{"limits/F_GETPIPE_SZ", limitPipeSize},
		{"limits/private mmap", limitMmap},
		{"limits/tar", limitTar},
		{"limits/read -t of bash", limitReadTimeout},
		{"limits/head -n", limitHead},
		{"limits/tail -c", limitTail},
		{"limits/gzip", limitGzip},
		{"limits/sort", limitSort},
		{"limits/truncate", limitTruncate},
		{"limits/size", limitSize},
	}
}

func limitType(s *script) {
	s.fifo("p")
	s.sh(s.W, "if test -p p; then echo a pipe; else echo no pipe; fi; stat -c %F p").wait()
	s.sh(s.W, "find . -type p; ls -F").wait()
}

func limitFionread(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "hello"))
	o := onFD("fionread", rfd)
	o.format = func(res proto.Result) string {
		if res.Ret == 5 {
			return "what is there"
		}
		return "another number"
	}
	r.do(o)
}

func limitPipeSize(s *script) {
	w, wfd, _, _ := s.pair()
	o := onFD("fcntl", wfd, unix.F_GETPIPE_SZ, 0)
	o.text = "fcntl(F_GETPIPE_SZ)"
	w.do(several(o, 1<<30))
}

func limitMmap(s *script) {
	_, _, r, rfd := s.pair()
	r.do(mmap(rfd, unix.MAP_PRIVATE))
	if r.alive() {
		return
	}
	r.ends()
}

func limitTar(s *script) {
	s.fifo("p")
	w := s.writer()
	fd := w.do(open("p", rdwr|nb)).fd()
	w.do(write(fd, "hello"))
	s.sh(s.R, "tar cf $SCRATCH/a p; tar tvf $SCRATCH/a | cut -c 1-10; tar xOf $SCRATCH/a | wc -c").wait()
	w.do(read(fd, 10))
}

// Without a line bash gives up after its time. Where it does not, it reads the
// line that comes later.
func limitReadTimeout(s *script) {
	s.fifo("p")
	w := s.writer()
	wfd := w.do(open("p", rdwr)).fd()
	r := s.sh(s.R, `exec 3<p; read -t 0.3 x <&3; echo "$? $x"`)
	s.line("bash gives up: %v", r.within(1500*time.Millisecond))
	w.do(write(wfd, "late\n"))
	r.wait()
}

// Programs that take the size of a regular file for what they will read. All
// get 11 bytes, and what they print to standard error counts, too.

// limitHead: head reads ahead and wants to give back what it did not print.
func limitHead(s *script) { limitProgram(s, "head -n 1 p") }

// limitTail: tail skips by seeking.
func limitTail(s *script) { limitProgram(s, "tail -c +3 p") }

// limitGzip: gzip compares the size with what it read.
func limitGzip(s *script) { limitProgram(s, "gzip -c <p | gzip -dc") }

// limitSort: sort makes its buffer as large as the file, and a temporary file
// of each line that exceeds it. Here it can make none.
func limitSort(s *script) { limitProgram(s, "sort -T $SCRATCH/missing p") }

func limitProgram(s *script, command string) {
	s.fifo("p")
	w := s.writer()
	r := s.sh(s.R, "{ "+command+"; } 2>&1 | sed s,$SCRATCH/,,")
	wfd := w.do(open("p", wronly)).fd()
	// Whether the program is gone by now is its own affair.
	w.quiet(write(wfd, "one\ntwo\nsix\n"))
	w.do(closing(wfd))
	r.wait()
}

// limitTruncate: O_TRUNC arrives as a truncation, and so does what programs do
// that take the pipe for a regular file (sort -o, dd seek=).
func limitTruncate(s *script) {
	w, wfd, _, _ := s.pair()
	w.do(onFD("ftruncate", wfd, 0))
	w.do(onFD("ftruncate", wfd, 100))
	w.do(onName("truncate", "p", 0))
	w.do(fstat(wfd))
}

// limitSize: a regular file is not smaller than what was read from it.
func limitSize(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "one two"))
	r.do(fstat(rfd))
	r.do(read(rfd, 4))
	r.do(fstat(rfd))
	w.do(fstat(wfd))
}
