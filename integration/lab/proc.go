// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is what /proc told of one process.
type process struct {
	pid     int
	name    string
	state   byte // as in proc(5): R, S, D, T; never a zombie
	session int
}

// processes lists the living processes that keep accepts. Zombies hold nothing
// and are left out.
func processes(keep func(process) bool) []process {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	var found []process
	for _, path := range paths {
		p, ok := readStat(path)
		if ok && p.state != 'Z' && p.state != 'X' && keep(p) {
			found = append(found, p)
		}
	}
	return found
}

// readStat reads the stat file of a process or a thread; ok is false when it
// has gone.
func readStat(path string) (p process, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return p, false
	}
	// The name stands in parentheses and may itself hold any character.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return p, false
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 4 {
		return p, false
	}
	p.pid, _ = strconv.Atoi(strings.TrimSpace(string(b[:open])))
	p.name = string(b[open+1 : end])
	p.state = fields[0][0]
	p.session, _ = strconv.Atoi(fields[3])
	return p, true
}

// inSession lists the living processes of a session.
func inSession(session int) []process {
	return processes(func(p process) bool { return p.session == session })
}

// processesOf lists the processes that were started by the test package with
// this scratch folder, whatever session they are in now.
func processesOf(scratch string) []process {
	mark := []byte(scratchSetting + "=" + scratch + "\x00")
	return processes(func(p process) bool {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		return err == nil && p.pid != os.Getpid() && bytes.Contains(env, mark)
	})
}

// killAll kills what list lists until it lists nothing, at most for two
// seconds, and returns what could not be killed.
func killAll(list func() []process) []process {
	var left []process
	Until(2*time.Second, func() bool {
		left = list()
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		return len(left) == 0
	})
	return left
}

// describe tells where each thread of the processes is: its state, the kernel
// function and the system call it waits in, and its kernel stack where that may
// be read.
func describe(ps []process) string {
	var b strings.Builder
	for _, p := range ps {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		args := strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")
		fmt.Fprintf(&b, "  pid %d (%s) state %c: %.200q\n", p.pid, p.name, p.state, args)
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.pid))
		for _, task := range tasks {
			th, ok := readStat(filepath.Join(task, "stat"))
			if !ok {
				continue
			}
			fmt.Fprintf(&b, "    thread %d state %c wchan %s syscall %s\n", th.pid, th.state,
				readLine(filepath.Join(task, "wchan")), readLine(filepath.Join(task, "syscall")))
			if stack, err := os.ReadFile(filepath.Join(task, "stack")); err == nil && len(tasks) == 1 {
				frames := strings.Split(strings.TrimSpace(string(stack)), "\n")
				fmt.Fprintf(&b, "      %s\n", strings.Join(frames[:min(len(frames), 5)], "\n      "))
			}
		}
	}
	return b.String()
}

func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(b))
}

// waitsIn reports whether the process sleeps in one of the system calls, and
// how many bytes it has read and written so far. Both must stand still before a
// process can be called blocked, as one that makes progress also sleeps.
func (p process) waitsIn(calls []uintptr) (bool, string) {
	number, _, _ := strings.Cut(readLine(fmt.Sprintf("/proc/%d/syscall", p.pid)), " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return false, ""
	}
	for _, c := range calls {
		if uint64(c) == n {
			return true, readLine(fmt.Sprintf("/proc/%d/io", p.pid))
		}
	}
	return false, ""
}
