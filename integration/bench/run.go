// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/service"
)

type config struct {
	binary   string
	endpoint string // of the broker that is measured
	dir      string
	pid      int // of the daemon
	rounds   int
	only     string
}

func (c *config) run() (err error) {
	tmp, err := os.MkdirTemp("", "zpipes-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fifos := filepath.Join(tmp, "fifo")
	if err := os.Mkdir(fifos, 0o755); err != nil {
		return err
	}
	if c.dir == "" {
		stop, err := c.mount(filepath.Join(tmp, "mount"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	fmt.Printf("%-28s %14s %14s %8s   (medians of %d turns)\n", "", "kernel FIFO", "mount", "ratio", c.rounds)
	for _, b := range benchmarks {
		if !strings.Contains(b.name, c.only) {
			continue
		}
		if err := c.compare(b, fifos, c.dir); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	if strings.Contains("zpipes", c.only) {
		if err := c.zpipes(); err != nil {
			return fmt.Errorf("zpipes: %w", err)
		}
	}
	if strings.Contains("memory", c.only) {
		return c.memory()
	}
	return nil
}

// mount starts the binary on dir; stop takes it down.
func (c *config) mount(dir string) (stop func() error, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("bench-%d", os.Getpid())
	c.endpoint = service.DefaultEndpoint(name)
	cmd := exec.Command(c.binary, "mount", "--name", name, dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return cmd.Wait()
	}
	err = poll(10*time.Second, 10*time.Millisecond, func() (bool, error) {
		var st syscall.Statfs_t
		const fuseMagic = 0x65735546
		return syscall.Statfs(dir, &st) == nil && st.Type == fuseMagic, nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the mount does not answer: %w", err), stop())
	}
	c.dir, c.pid = dir, cmd.Process.Pid
	return stop, nil
}

// poll asks at every tick until the answer is yes or limit has passed.
func poll(limit, every time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	end := time.After(limit)
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-end:
			return fmt.Errorf("not within %v", limit)
		}
	}
}

// benchmark measures one thing in a directory of pipes.
type benchmark struct {
	name string
	unit string
	run  func(dir string) ([]float64, error)
}

// compare runs b in turns and prints the medians.
func (c *config) compare(b benchmark, fifos, mount string) error {
	var values [2][][]float64
	for range c.rounds {
		for i, dir := range []string{fifos, mount} {
			v, err := b.run(dir)
			if err != nil {
				return fmt.Errorf("in %s: %w", dir, err)
			}
			values[i] = append(values[i], v)
		}
	}
	units := strings.Split(b.unit, ",")
	for k, unit := range units {
		f, m := median(values[0], k), median(values[1], k)
		fmt.Printf("%-28s %14s %14s %8.3f\n", b.name+" "+unit, show(f), show(m), m/f)
	}
	return nil
}

func median(rounds [][]float64, k int) float64 {
	var v []float64
	for _, r := range rounds {
		v = append(v, r[k])
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func show(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

var benchmarks = []benchmark{
	throughput(1<<20, 2000),
	throughput(128<<10, 12000),
	throughput(64<<10, 16000),
	throughput(4<<10, 30000),
	{name: "ping-pong 1 B", unit: "p50 us,p99 us", run: pingPong},
	{name: "open+close", unit: "per s", run: openCloseRate},
}

// pipes makes named pipes and removes them after f.
func pipes(dir string, names []string, f func(paths []string) error) (err error) {
	var paths []string
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(path)) }()
		paths = append(paths, path)
	}
	return f(paths)
}

func throughput(size, count int) benchmark {
	name := fmt.Sprintf("throughput %d KiB", size>>10)
	return benchmark{name: name, unit: "MB/s", run: func(dir string) (v []float64, err error) {
		err = pipes(dir, []string{"p"}, func(p []string) error {
			r, err := pair([]string{"sink", p[0], strconv.Itoa(size)}, []string{"source", p[0], strconv.Itoa(size), strconv.Itoa(count)})
			if err == nil && r.Bytes != int64(size)*int64(count) {
				err = fmt.Errorf("%d bytes came, want %d", r.Bytes, size*count)
			}
			v = []float64{float64(r.Bytes) / 1e6 / r.Elapsed.Seconds()}
			return err
		})
		return v, err
	}}
}

// pair runs two actors and returns the first one's result.
func pair(measured, other []string) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := start(ctx, measured...)
	if err != nil {
		return result{}, err
	}
	b, errB := start(ctx, other...)
	if errB == nil {
		_, errB = b.wait()
	}
	if errB != nil {
		cancel() // the first would wait for a partner
	}
	r, errA := a.wait()
	return r, errors.Join(errB, errA)
}

// patience is how long one measurement may take; what hangs is killed then.
const patience = 2 * time.Minute

func pingPong(dir string) (v []float64, err error) {
	err = pipes(dir, []string{"there", "back"}, func(p []string) error {
		r, err := pair([]string{"ping", p[0], p[1], "10000"}, []string{"pong", p[0], p[1]})
		v = []float64{float64(r.P50.Nanoseconds()) / 1e3, float64(r.P99.Nanoseconds()) / 1e3}
		return err
	})
	return v, err
}

func openCloseRate(dir string) (v []float64, err error) {
	err = pipes(dir, []string{"p"}, func(p []string) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		a, err := start(ctx, "openclose", p[0], "5000")
		if err != nil {
			return err
		}
		r, err := a.wait()
		v = []float64{float64(r.Count) / r.Elapsed.Seconds()}
		return err
	})
	return v, err
}
