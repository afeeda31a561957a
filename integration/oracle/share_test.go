// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"fmt"

	"golang.org/x/sys/unix"

	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// shareScenarios are about descriptors that share one open description: an end
// is closed when the last of them is.
func shareScenarios() []scenario {
	return []scenario{
		{"share/dup of a writer", shareDupWriter},
		{"share/dup of a reader", shareDupReader},
		{"share/dup2 over an end closes it", shareDup2},
		{"share/inherited writer", shareInheritedWriter},
		{"share/inherited reader", shareInheritedReader},
		{"share/O_NONBLOCK is shared by dup", shareNonblock},
		{"share/a program inherits the writer", shareExec},
		{"share/a program in the background keeps the writer open", shareBackground},
		{"share/two opens are two ends", shareTwoOpens},
		{"share/through /proc/self/fd", shareProc},
		{"at once/write after the reader's close", func(s *script) { atOnce(s, 0) }},
		{"at once/read after the writer's close", func(s *script) { atOnce(s, 1) }},
		{"at once/open after the reader's close", func(s *script) { atOnce(s, 2) }},
	}
}

func shareDupWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	second := w.do(dup(wfd)).fd()
	w.do(write(wfd, "one "))
	w.do(closing(wfd))
	w.do(write(second, "two"))
	r.do(drain(rfd, 7, 100))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.do(closing(second))
	waiting.wait()
}

func shareDupReader(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	second := r.do(dup(rfd)).fd()
	r.do(closing(rfd))
	w.do(poll(wfd, 0, brief))
	w.do(write(wfd, "hello"))
	r.do(read(second, 10))
	r.do(closing(second))
	w.until("EPIPE", write(wfd, "x"))
}

func shareDup2(s *script) {
	w, wfd, r, rfd := s.pair()
	null := w.do(open("/dev/null", wronly)).fd()
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.quiet(onFD("dup2", null, int64(wfd)))
	s.line("w: dup2")
	waiting.wait()
	w.do(write(wfd, "to nowhere"))
	r.do(read(rfd, 10))
}

func shareInheritedWriter(s *script) {
	w, wfd, r, rfd := s.pair()
	child := s.heir(w, wfd)
	w.do(closing(wfd))
	child.do(write(3, "from the child"))
	r.do(read(rfd, 100))
	waiting := r.start(read(rfd, 100))
	waiting.blocks()
	child.die()
	waiting.wait()
}

func shareInheritedReader(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	child := s.heir(r, rfd)
	r.die()
	w.do(poll(wfd, 0, brief))
	w.do(write(wfd, "hello"))
	child.do(read(3, 10))
	child.do(closing(3))
	w.until("EPIPE", write(wfd, "x"))
}

func shareNonblock(s *script) {
	_, _, r, rfd := s.pair()
	second := r.do(dup(rfd)).fd()
	child := s.heir(r, rfd)
	r.do(nonblock(rfd, true))
	r.do(read(second, 10))
	child.do(read(3, 10))
	child.do(nonblock(3, false))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
}

// shellTo is a shell command whose output goes to a descriptor.
func shellTo(fd int, command string) op {
	o := execute(fmt.Sprintf("exec >&%d; %s", fd, command))
	o.text = command
	return o
}

func shareExec(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(shellTo(wfd, "echo one"))
	w.do(shellTo(wfd, "echo two; (echo three)"))
	w.do(closing(wfd))
	r.do(drain(rfd, 100, 100))
}

// The shell has gone, the process it left has not: no end-of-file yet.
func shareBackground(s *script) {
	w, wfd, r, rfd := s.pair()
	s.fifo("go")
	leave := execute(fmt.Sprintf("(read -r word <%s/go; echo $word >&%d) <&- >&- 2>&- &", w.dir, wfd))
	leave.text = "leave a process behind"
	w.do(leave)
	w.do(closing(wfd))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	gfd := w.do(open("go", wronly)).fd()
	w.do(write(gfd, "bye\n"))
	w.do(closing(gfd))
	waiting.wait()
	r.do(read(rfd, 10))
}

func shareTwoOpens(s *script) {
	w, wfd, r, rfd := s.pair()
	second := w.do(open("p", wronly)).fd()
	w.do(nonblock(wfd, true))
	w.do(closing(wfd))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	filled := w.thread(1).start(several(writePattern(second, oversize, 1), oversize))
	waiting.wait()
	filled.blocks()
	r.do(drain(rfd, oversize-10, 0))
	filled.wait()
}

// Opening a descriptor's name in /proc opens the pipe anew.
func shareProc(s *script) {
	w, wfd, r, rfd := s.pair()
	again := open(fmt.Sprintf("/proc/%d/fd/%d", w.pid(), wfd), wronly|nb)
	again.text = "open(its own descriptor in /proc)"
	second := w.do(again).fd()
	w.do(closing(wfd))
	w.do(write(second, "through proc"))
	r.do(read(rfd, 100))
	w.do(closing(second))
	r.do(read(rfd, 100))
}

// atOnce has one process close an end and use the other: what a process has
// done itself, it finds done.
func atOnce(s *script, what int64) {
	s.fifo("p")
	w := s.writer()
	w.do(onSignal("sig_ignore", unix.SIGPIPE))
	const rounds = 500
	o := onName("close_then", "p", rounds, what)
	o.text = "close and look, 500 times"
	o.format = func(res proto.Result) string {
		if res.Ret == rounds {
			return "always closed"
		}
		return "not always closed"
	}
	w.do(o)
}
