// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// many is how many pipes the memory benchmark makes.
const many = 10000

// hold opens count pipes of dir and blocks a thread in read on each, until its
// standard input ends.
func hold(dir string, count int) (result, error) {
	debug.SetMaxThreads(count + 100)
	var failed sync.Map
	var opened sync.WaitGroup
	for i := range count {
		opened.Add(1)
		go func() {
			fd, err := openPipe(filepath.Join(dir, strconv.Itoa(i)), syscall.O_RDWR, 0)
			if err != nil {
				failed.Store(i, err)
			}
			opened.Done()
			var b [1]byte
			_, _ = read(fd, b[:])
		}()
	}
	opened.Wait()
	var err error
	failed.Range(func(_, v any) bool { err = v.(error); return false })
	if err != nil {
		return result{}, err
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return result{}, err // the process ends, and with it the threads in read
}

// memory prints what idle pipes and blocked readers cost the daemon, and what
// stat(2) takes among them.
func (c *config) memory() (err error) {
	dir := filepath.Join(c.dir, "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	empty, err := c.settled()
	if err != nil {
		return err
	}
	for i := range many {
		if err := syscall.Mkfifo(filepath.Join(dir, strconv.Itoa(i)), 0o600); err != nil {
			return err
		}
	}
	idle, err := c.settled()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, in, err := startHeld(ctx, "hold", dir, strconv.Itoa(many))
	if err != nil {
		return err
	}
	if line, err := a.out.ReadString('\n'); err != nil || line != "open\n" {
		return errors.Join(errors.New("the readers did not open"), in.Close(), a.cmd.Wait())
	}
	blocked, err := c.settled()
	took := statTimes(dir)
	fmt.Printf("%-28s %14s kB\n", "memory at start", show(empty))
	fmt.Printf("%-28s %14s kB, %.2f a pipe\n", fmt.Sprintf("memory, %d idle pipes", many), show(idle), (idle-empty)/many)
	fmt.Printf("%-28s %14s kB, %.2f a reader\n", fmt.Sprintf("memory, %d blocked readers", many), show(blocked), (blocked-idle)/many)
	fmt.Printf("%-28s %14s us median, %s us at most\n", "stat among them", show(us(took[len(took)/2])), show(us(took[len(took)-1])))
	return errors.Join(err, in.Close(), a.cmd.Wait())
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func statTimes(dir string) (took []time.Duration) {
	for i := range 1000 {
		var st syscall.Stat_t
		begin := time.Now()
		if syscall.Stat(filepath.Join(dir, strconv.Itoa(i*7%many)), &st) == nil {
			took = append(took, time.Since(begin))
		}
	}
	slices.Sort(took)
	return took
}

// settled returns the daemon's resident memory in kB once it stays the same.
func (c *config) settled() (float64, error) {
	last, same := 0.0, 0
	err := poll(patience, 50*time.Millisecond, func() (bool, error) {
		rss, err := residentKB(c.pid)
		if same++; rss != last {
			last, same = rss, 0
		}
		return same == 10, err
	})
	return last, err
}

func residentKB(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, errors.New("no VmRSS")
}
