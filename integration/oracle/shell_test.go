// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import "time"

// shellScenarios run real programs on pipes. Files that are none are in
// $SCRATCH, outside of the mount.
//
// What a program falls back to when a call is refused is its own business: here
// only what comes out counts.
func shellScenarios() []scenario {
	all := []scenario{
		{"programs/echo and cat", shellEcho},
		{"programs/a loop of read", shellLoop},
		{"programs/yes into head", shellYes},
		{"programs/timeout ends cat", shellTimeout},
		{"programs/descriptors of the shell", shellDescriptors},
		{"programs/append with several writers", shellAppend},
		{"programs/chain of pipes", shellChain},
		{"programs/a server and its clients", shellServer},
		{"programs/python selectors", shellSelectors},
		{"programs/python subprocess", shellSubprocess},
		{"programs/Go, io.Copy", goCopy},
		{"programs/Go, read deadline", goDeadline},
		{"programs/stopped by the terminal", shellStopped},
	}
	for _, command := range readingPrograms() {
		all = append(all, scenario{"programs/reading with " + command[0], func(s *script) { shellReads(s, command[1]) }})
	}
	for _, command := range writingPrograms() {
		all = append(all, scenario{"programs/writing with " + command[0], func(s *script) { shellWrites(s, command[1]) }})
	}
	return all
}

// readingPrograms are names and commands that copy p to standard output.
func readingPrograms() [][2]string {
	return [][2]string{
		{"cat", "cat p"},
		{"busybox cat", "busybox cat p"},
		{"dd", "dd if=p bs=3000 status=none"},
		{"cp", "cp p $SCRATCH/copy && cat $SCRATCH/copy"},
		{"busybox cp", "busybox cp p $SCRATCH/copy && cat $SCRATCH/copy"},
		{"head", "head -c 1000000 p"},
		{"tail", "tail -n +1 p"},
		{"sed", "sed -n p p"},
		{"awk", "awk '{print}' p"},
		{"grep", "grep '' p"},
		{"tee", "tee <p"},
		{"shutil", `python3 -c 'import shutil, sys; shutil.copyfileobj(open("p", "rb"), sys.stdout.buffer)'`},
		{"a buffered python", `python3 -c 'for line in open("p"): print(line, end="")'`},
	}
}

// writingPrograms are names and commands that copy standard input to p.
func writingPrograms() [][2]string {
	return [][2]string{
		{"cat", "cat >p"},
		{"busybox cat", "busybox cat >p"},
		{"cat in append mode", "cat >>p"},
		{"dd", "dd of=p bs=3000 status=none"},
		{"dd without truncation", "dd of=p bs=64K conv=notrunc status=none"},
		{"cp", "cat >$SCRATCH/copy && cp $SCRATCH/copy p"},
		{"tee", "tee p >/dev/null"},
		{"sort", "sort -n -o p"},
		{"shutil", `python3 -c 'import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, open("p", "wb"))'`},
		{"a buffered python", `python3 -c 'import sys; out = open("p", "w"); out.writelines(sys.stdin)'`},
	}
}

// The programs get 300 kB of text, more than a FIFO holds.
const numbers = "seq 1 50000"

func shellReads(s *script, command string) {
	s.fifo("p")
	w := s.sh(s.W, numbers+" >p")
	r := s.sh(s.R, "set -o pipefail; { "+command+"; } | sha256sum")
	r.wait()
	w.wait()
}

func shellWrites(s *script, command string) {
	s.fifo("p")
	r := s.sh(s.R, "sha256sum <p")
	w := s.sh(s.W, "set -o pipefail; "+numbers+" | { "+command+"; }")
	w.wait()
	r.wait()
}

func shellEcho(s *script) {
	s.fifo("p")
	for range 10 {
		w := s.sh(s.W, "echo hello >p")
		r := s.sh(s.R, "cat p")
		w.wait()
		r.wait()
		s.free()
	}
}

func shellLoop(s *script) {
	s.fifo("p")
	r := s.sh(s.R, `while read -r a b; do echo "$b $a"; done <p`)
	w := s.sh(s.W, `for i in 1 2 3; do echo "$i line"; done >p`)
	w.wait()
	r.wait()
}

func shellYes(s *script) {
	s.fifo("p")
	w := s.sh(s.W, "yes >p; echo $?")
	r := s.sh(s.R, "head -c 4 p")
	r.wait()
	w.wait()
}

func shellTimeout(s *script) {
	s.fifo("p")
	s.sh(s.R, "timeout 0.3 cat p; echo $?").wait()
	s.sh(s.W, "timeout 0.3 sh -c 'echo x >p'; echo $?").wait()
	both := s.sh(s.W, "exec 3<>p; timeout 0.3 cat <&3; echo $?")
	both.wait()
	s.free()
	s.usable()
}

func shellDescriptors(s *script) {
	s.fifo("p")
	s.sh(s.W, "exec 3<>p; echo one >&3; read -r x <&3; echo $x; exec 3>&-; echo closed").wait()
	s.free()
	r := s.sh(s.R, "exec 4<p; read -r x <&4; read -r y <&4; echo $y $x; cat <&4; exec 4<&-")
	w := s.sh(s.W, "exec 5>p; echo one >&5; echo two >&5; (echo three; echo four) >&5; exec 5>&-")
	w.wait()
	r.wait()
}

func shellAppend(s *script) {
	s.fifo("p")
	r := s.sh(s.R, "sort p")
	w := s.sh(s.W, "exec 3>p; for i in 1 2 3 4 5; do echo line $i >>p & done; wait")
	w.wait()
	r.wait()
}

func shellChain(s *script) {
	for _, name := range []string{"a", "b", "c"} {
		s.fifo(name)
	}
	filters := s.sh(s.W, "tr a-z A-Z <a >b & rev <b >c & wait")
	r := s.sh(s.R, "cat c")
	w := s.sh(s.W, "printf 'one\\ntwo\\n' >a")
	w.wait()
	r.wait()
	filters.wait()
}

// A server reads requests and answers each on the pipe the client made. A keeper
// holds the requests open until it is told to go.
func shellServer(s *script) {
	for _, name := range []string{"requests", "ready", "gate"} {
		s.fifo(name)
	}
	server := s.sh(s.R, `exec 3<requests; while read -r name word <&3; do echo "$word" | rev >"$name"; done`)
	keeper := s.sh(s.W, "exec 3>requests; echo ready >ready; cat <gate")
	s.sh(s.R, "cat ready").wait()
	for _, word := range []string{"stressed", "drawer"} {
		client := s.sh(s.W, `mkfifo mine; echo "mine `+word+`" >requests; cat mine; rm mine`)
		client.wait()
	}
	s.sh(s.W, "echo done >gate").wait()
	keeper.wait()
	server.wait()
}

func shellSelectors(s *script) {
	s.fifo("p")
	s.fifo("ready")
	r := s.run(s.R, "python3", "-c", `
import os, selectors
fd = os.open("p", os.O_RDONLY | os.O_NONBLOCK)
sel = selectors.DefaultSelector()
sel.register(fd, selectors.EVENT_READ)
print("before", len(sel.select(0.1)))
os.close(os.open("ready", os.O_WRONLY))
got = b""
while not got.endswith(b"end"):
    sel.select(10)
    got += os.read(fd, 4)
print("got", got)
sel.select(10)
print("last", os.read(fd, 4))
`)
	w := s.sh(s.W, "cat ready; exec 3>p; printf hello >&3; printf ' and the end' >&3")
	w.wait()
	r.wait()
}

func shellSubprocess(s *script) {
	s.fifo("p")
	r := s.run(s.R, "python3", "-c", `
import subprocess
with open("p") as pipe:
    print(subprocess.run(["tr", "a-z", "A-Z"], stdin=pipe, capture_output=True).stdout)
`)
	w := s.run(s.W, "python3", "-c", `
import subprocess
with open("p", "w") as pipe:
    subprocess.run(["echo", "from a child"], stdout=pipe)
    pipe.write("from the parent\n")
`)
	w.wait()
	r.wait()
}

func goCopy(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	reading := r.start(goProgram("go_read", "p"))
	w.do(goProgram("go_write", "p", 20<<20, 5))
	reading.wait()
}

// Go's deadlines need a descriptor that epoll takes and reports rightly.
func goDeadline(s *script) {
	s.fifo("p")
	w, r := s.writer(), s.reader()
	reading := r.start(goProgram("go_deadline", "p", 200))
	wfd := w.do(open("p", wronly)).fd()
	reading.wait()
	w.do(closing(wfd))
	s.free()
	late := goProgram("go_deadline", "p", (20 * time.Second).Milliseconds())
	late.format = formatRead
	reading = r.start(late)
	wfd = w.do(open("p", wronly)).fd()
	w.do(write(wfd, "in time"))
	reading.wait()
}

// What ^Z and fg do to a reader: the program carries on.
func shellStopped(s *script) {
	s.fifo("p")
	w := s.writer()
	r := s.run(s.R, "cat", "p")
	wfd := w.do(open("p", wronly)).fd()
	w.do(write(wfd, "one "))
	r.asleep()
	r.pause()
	w.do(write(wfd, "two"))
	r.resume()
	w.do(closing(wfd))
	r.wait()
}
