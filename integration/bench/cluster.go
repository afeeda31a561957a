// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

const (
	pourTime = 700 * time.Millisecond // of one measurement of throughput
	pings    = 3000
	firsts   = 100 // pipes opened, or connections made, in one measurement
	tcpPort  = 5000
	reader   = 1 // the hosts
	writer   = 2
)

// carrier moves bytes from one host to another.
type carrier struct {
	name string
	net  *lab.Network
	// stream starts a reader and a writer of blocks of a size; the reader prints a
	// result.
	stream func(c *carrier, ctx context.Context, size int) (r, w *exec.Cmd, err error)
	ssh    *sshd
}

// pairs is two labs of two hosts each, one encrypted, and all carriers.
type pairs struct {
	plain, keyed *lab.Network
	carriers     []*carrier
	rounds       int
}

// runCluster measures everything whose name contains only.
func runCluster(binary string, rounds int, only string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	tmp, err := os.MkdirTemp("", "zpipes-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	p := &pairs{rounds: rounds}
	for name, net := range map[string]**lab.Network{"plain": &p.plain, "keyed": &p.keyed} {
		if *net, err = lab.NewNetwork(fmt.Sprintf("zpipes-bench-%d-%s", os.Getpid(), name), filepath.Join(tmp, name), binary); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, (*net).Down()) }()
	}
	if err := errors.Join(p.plain.Up(ctx, 2), p.keyed.Up(ctx, 2, "--key")); err != nil {
		return err
	}
	if err := p.equip(ctx, tmp); err != nil {
		return err
	}
	defer p.dismiss()
	p.title()
	for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
		name := "throughput " + sizeName(size) + " MB/s"
		if !strings.Contains(name, only) {
			continue
		}
		if err := p.throughput(ctx, name, size); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	p.latencyTitle()
	for _, l := range latencies {
		if !strings.Contains(l.name, only) {
			continue
		}
		if err := p.latency(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

// equip makes the carriers of what is installed.
func (p *pairs) equip(ctx context.Context, tmp string) error {
	p.carriers = []*carrier{
		{name: "zpipes", net: p.plain, stream: mounts},
		{name: "encrypted", net: p.keyed, stream: mounts},
	}
	if installed("socat") {
		p.carriers = append(p.carriers, &carrier{name: "socat", net: p.plain, stream: socats})
	}
	if installed("nc") {
		p.carriers = append(p.carriers, &carrier{name: "nc", net: p.plain, stream: netcats})
	}
	if installed("ssh", "ssh-keygen", sshdPath) {
		s, err := startSSHD(ctx, p.plain, tmp)
		if err != nil {
			return fmt.Errorf("sshd: %w", err)
		}
		p.carriers = append(p.carriers, &carrier{name: "ssh", net: p.plain, stream: sshs, ssh: s})
	}
	return nil
}

// dismiss ends what equip has started.
func (p *pairs) dismiss() {
	for _, c := range p.carriers {
		if c.ssh != nil {
			c.ssh.stop()
		}
	}
}

func installed(programs ...string) bool {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return false
		}
	}
	return true
}

func (p *pairs) title() {
	fmt.Printf("%-28s", "")
	for _, c := range p.carriers {
		fmt.Printf(" %10s", c.name)
	}
	fmt.Printf("   zpipes/socat encrypted/ssh   (medians of %d turns)\n", p.rounds)
}

func (p *pairs) latencyTitle() {
	fmt.Printf("%-28s %10s %10s %10s %10s   zpipes/TCP encrypted/TCP   (medians of %d turns)\n", "", "zpipes", "encrypted", "TCP", "TCP, 1 CPU", p.rounds)
}

func (p *pairs) throughput(ctx context.Context, name string, size int) error {
	values := make([][][]float64, len(p.carriers))
	for range p.rounds {
		for i, c := range p.carriers {
			v, err := c.measure(ctx, size)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			values[i] = append(values[i], []float64{v})
		}
	}
	medians := map[string]float64{}
	fmt.Printf("%-28s", name)
	for i, c := range p.carriers {
		medians[c.name] = median(values[i], 0)
		fmt.Printf(" %10s", show(medians[c.name]))
	}
	fmt.Printf("   %12s %13s\n", ratio(medians["zpipes"], medians["socat"]), ratio(medians["encrypted"], medians["ssh"]))
	return nil
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-" // not installed
	}
	return strconv.FormatFloat(a/b, 'f', 3, 64)
}

// measure is one stream's MB/s.
func (c *carrier) measure(ctx context.Context, size int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, w, err := c.stream(c, ctx, size)
	if err != nil {
		return 0, err
	}
	res, err := together(cancel, r, w)
	if err == nil && res.Bytes == 0 {
		err = errors.New("no bytes came")
	}
	return float64(res.Bytes) / 1e6 / res.Elapsed.Seconds(), err
}

// together waits for a reader and a writer that run, and returns what the reader
// has printed. When one fails the other is ended.
func together(cancel func(), r, w *exec.Cmd) (res result, err error) {
	wrote := make(chan error, 1)
	go func() {
		err := w.Wait()
		if err != nil {
			err = fmt.Errorf("writer: %w: %s", err, said(w))
			cancel()
		}
		wrote <- err
	}()
	err = r.Wait()
	if err != nil {
		err = fmt.Errorf("reader: %w: %s", err, said(r))
		cancel()
	}
	if err := errors.Join(err, <-wrote); err != nil {
		return res, err
	}
	text := r.Stdout.(*bytes.Buffer).Bytes()
	if err := json.Unmarshal(text, &res); err != nil {
		return res, fmt.Errorf("reader: %q: %w", text, err)
	}
	return res, nil
}

func said(cmd *exec.Cmd) string {
	return strings.TrimSpace(cmd.Stderr.(*bytes.Buffer).String())
}

// on starts a shell script on a host. "$ME" is this program as an actor.
func on(ctx context.Context, net *lab.Network, host int, script string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := net.Exec(ctx, host, "bash", "-c", script)
	cmd.Env = append(cmd.Env, "ME="+self+" actor")
	cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer)
	return cmd, cmd.Start()
}

// both starts a reader, waits until it is ready, and starts a writer.
func both(ctx context.Context, net *lab.Network, reading string, ready func(r *exec.Cmd) (bool, error), writing string) (r, w *exec.Cmd, err error) {
	if r, err = on(ctx, net, reader, reading); err != nil {
		return nil, nil, err
	}
	if err = poll(5*time.Second, 2*time.Millisecond, func() (bool, error) { return ready(r) }); err != nil {
		err = errors.Join(fmt.Errorf("%s: %w", reading, err), r.Cancel(), r.Wait())
		return nil, nil, err
	}
	if w, err = on(ctx, net, writer, writing); err != nil {
		err = errors.Join(err, r.Cancel(), r.Wait())
	}
	return r, w, err
}

func atOnce(*exec.Cmd) (bool, error) { return true, nil }

// listening tells whether the reader's host has a socket that listens.
func listening(port int) func(r *exec.Cmd) (bool, error) {
	// proc_net_tcp(5): local address, remote address, state 0A.
	wanted := fmt.Sprintf(":%04X 00000000:0000 0A ", port)
	return func(r *exec.Cmd) (bool, error) {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", r.Process.Pid))
		return bytes.Contains(table, []byte(wanted)), err
	}
}

func address(port int) string { return fmt.Sprintf("10.9.0.%d:%d", reader, port) }

// pouring and swallowing are the programs at both ends, at a path; piped ones
// write to standard output and read standard input.
func pouring(path string, size int) string {
	return fmt.Sprintf("$ME pour %s %d %d", path, size, pourTime.Milliseconds())
}

func swallowing(path string, size int) string { return fmt.Sprintf("$ME swallow %s %d", path, size) }

func pouringPiped(size int) string { return pouring("/dev/fd/3", size) + " 3>&1 >/dev/null" }

func mounts(c *carrier, ctx context.Context, size int) (r, w *exec.Cmd, err error) {
	const path = lab.ZP + "/stream"
	if err := makeNames(ctx, c.net, "mkfifo "+path); err != nil {
		return nil, nil, err
	}
	return both(ctx, c.net, swallowing(path, size), atOnce, pouring(path, size))
}

// makeNames runs a script that makes names, on both hosts: one of them has them
// already.
func makeNames(ctx context.Context, net *lab.Network, script string) error {
	for _, host := range []int{reader, writer} {
		cmd, err := on(ctx, net, host, script+" 2>/dev/null; true")
		if err == nil {
			err = cmd.Wait()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func socats(c *carrier, ctx context.Context, size int) (r, w *exec.Cmd, err error) {
	block := max(size, 64<<10) // to its advantage
	return both(ctx, c.net,
		fmt.Sprintf("socat -u -b %d TCP-LISTEN:%d,reuseaddr STDOUT | %s", block, tcpPort, swallowing("-", size)), listening(tcpPort),
		fmt.Sprintf("%s | socat -u -b %d STDIN TCP:%s", pouringPiped(size), block, address(tcpPort)))
}

func netcats(c *carrier, ctx context.Context, size int) (r, w *exec.Cmd, err error) {
	return both(ctx, c.net,
		fmt.Sprintf("nc -l 0.0.0.0 %d </dev/null | %s", tcpPort, swallowing("-", size)), listening(tcpPort),
		fmt.Sprintf("%s | nc -N %s >/dev/null", pouringPiped(size), strings.Replace(address(tcpPort), ":", " ", 1)))
}
