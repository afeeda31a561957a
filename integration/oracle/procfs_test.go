// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// task is what /proc says of one thread.
type task struct {
	state    byte   // R, S, D, T, Z as in ps
	syscall  int    // the call it is in, -1 when it is in none
	switches string // how often it was scheduled: the same twice, and it did not run in between
}

// readTask fails when the thread is gone.
func readTask(pid, tid int) (task, error) {
	dir := fmt.Sprintf("/proc/%d/task/%d", pid, tid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return task{}, fmt.Errorf("state of a thread: %w", err)
	}
	call, err := os.ReadFile(dir + "/syscall")
	if err != nil {
		return task{}, fmt.Errorf("call of a thread: %w", err)
	}
	t := task{syscall: -1}
	if nr, err := strconv.Atoi(string(bytes.Fields(call)[0])); err == nil {
		t.syscall = nr
	}
	for line := range strings.Lines(string(status)) {
		field, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch field {
		case "State":
			t.state = value[0]
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			t.switches += value + " "
		}
	}
	return t, nil
}

func (t task) sleeps() bool { return t.state == 'S' || t.state == 'D' }

// process is a line of ps.
type process struct {
	pid, parent, group int
	state              byte
	command            string
}

// processes lists all processes; one that ends meanwhile is left out.
func processes() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	var all []process
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The command is in parentheses and may hold blanks and parentheses.
		open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		p := process{command: string(stat[open+1 : end])}
		if _, err := fmt.Sscanf(string(stat[:open]), "%d", &p.pid); err != nil {
			continue
		}
		if _, err := fmt.Sscanf(string(stat[end+1:]), " %c %d %d", &p.state, &p.parent, &p.group); err != nil {
			continue
		}
		all = append(all, p)
	}
	return all
}

// members lists the living processes of a group.
func members(group int) []process {
	return slices.DeleteFunc(processes(), func(p process) bool { return p.group != group || p.state == 'Z' })
}

// children lists the living children of a process.
func children(parent int) []process {
	return slices.DeleteFunc(processes(), func(p process) bool { return p.parent != parent || p.state == 'Z' })
}

// whereabouts says of each thread of the processes where it sleeps.
func whereabouts(all []process) string {
	var b strings.Builder
	for _, p := range all {
		fmt.Fprintf(&b, "process %d (%s) %c\n", p.pid, p.command, p.state)
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.pid)) // the pattern is well formed
		for _, dir := range tasks {
			tid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				continue
			}
			t, err := readTask(p.pid, tid)
			if err != nil || t.state == 'R' || idle(dir) {
				continue
			}
			fmt.Fprintf(&b, "  thread %d: state %c, syscall %s, at %s\n", tid, t.state,
				content(dir+"/syscall"), content(dir+"/wchan"))
			if t.state == 'D' {
				fmt.Fprintf(&b, "%s\n", content(dir+"/stack"))
			}
		}
	}
	return b.String()
}

// idle tells whether a thread waits for work from its own process, as most
// threads of a Go program do.
func idle(dir string) bool {
	return strings.HasPrefix(content(dir+"/wchan"), "futex")
}

func content(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// mounted tells whether dir is a mount point, and of which file system type.
func mounted(dir string) (fstype string, ok bool, err error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", false, fmt.Errorf("list mounts: %w", err)
	}
	for line := range strings.Lines(string(info)) {
		front, back, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(front); len(fields) > 4 && fields[4] == dir {
			fstype, ok = strings.Fields(back)[0], true
		}
	}
	return fstype, ok, nil
}
