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
	"runtime"
	"strings"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// latency is one that is measured through both mounts and over TCP.
type latency struct {
	name    string
	names   string // a script that makes the pipes
	reading string // actors' arguments
	writing string
	tcpRead string
	tcpWrit string
	// measured is the host whose actor has the times.
	measured int
}

var latencies = []latency{
	{
		name: "ping-pong 1 B us", measured: writer,
		names:   fmt.Sprintf("mkfifo %s/there %s/back", lab.ZP, lab.ZP),
		reading: fmt.Sprintf("pong %s/there %s/back", lab.ZP, lab.ZP),
		writing: fmt.Sprintf("ping %s/there %s/back %d", lab.ZP, lab.ZP, pings),
		tcpRead: "tcppong " + address(tcpPort),
		tcpWrit: fmt.Sprintf("tcpping %s %d", address(tcpPort), pings),
	},
	{
		name: "open to first byte us", measured: reader,
		names:   fmt.Sprintf("cd %s && mkdir first && cd first && mkfifo $(seq 0 %d)", lab.ZP, firsts-1),
		reading: fmt.Sprintf("await %s/first %d", lab.ZP, firsts),
		writing: fmt.Sprintf("first %s/first %d", lab.ZP, firsts),
		tcpRead: fmt.Sprintf("tcpawait %s %d", address(tcpPort), firsts),
		tcpWrit: fmt.Sprintf("tcpfirst %s %d", address(tcpPort), firsts),
	},
}

func (p *pairs) latency(ctx context.Context, l latency) error {
	tcp := func(read, write string) func() (result, error) {
		return func() (result, error) { return l.measure(ctx, p.plain, read, listening(tcpPort), write) }
	}
	ways := []struct {
		name string
		run  func() (result, error)
	}{
		{"zpipes", func() (result, error) { return l.mounts(ctx, p.plain) }},
		{"encrypted", func() (result, error) { return l.mounts(ctx, p.keyed) }},
		{"TCP", tcp(pinned(0, l.tcpRead), pinned(1, l.tcpWrit))},
		{"TCP on one CPU", tcp(pinned(0, l.tcpRead), pinned(0, l.tcpWrit))},
	}
	values := make([][][]float64, len(ways))
	for range p.rounds {
		for i, way := range ways {
			r, err := way.run()
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			values[i] = append(values[i], []float64{us(r.P50), us(r.P99)})
		}
	}
	for k, percentile := range []string{"p50", "p99"} {
		tcp := median(values[2], k)
		fmt.Printf("%-28s", l.name+" "+percentile)
		for i := range ways {
			fmt.Printf(" %10s", show(median(values[i], k)))
		}
		fmt.Printf("   %10s %13s\n", ratio(median(values[0], k), tcp), ratio(median(values[1], k), tcp))
	}
	return nil
}

func (l latency) mounts(ctx context.Context, net *lab.Network) (result, error) {
	if err := makeNames(ctx, net, l.names); err != nil {
		return result{}, err
	}
	return l.measure(ctx, net, pinned(0, l.reading), atOnce, pinned(1, l.writing))
}

// pinned is an actor on one CPU. Programs on two hosts never share one; left
// alone, the scheduler puts two that play ping-pong on the same, where the ball
// does not wake anybody.
func pinned(cpu int, actor string) string {
	return fmt.Sprintf("taskset -c %d $ME %s", cpu%runtime.NumCPU(), actor)
}

func (l latency) measure(ctx context.Context, net *lab.Network, reading string, ready func(*exec.Cmd) (bool, error), writing string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, w, err := both(ctx, net, reading, ready, writing)
	if err != nil {
		return result{}, err
	}
	if l.measured == writer {
		r, w = w, r
	}
	res, err := together(cancel, r, w)
	if err == nil && res.P50 == 0 {
		err = errors.New("nothing was measured")
	}
	return res, err
}

const sshdPath = "/usr/sbin/sshd"
const sshPort = 2222

// sshd is a server on the reader's host, with keys and settings of its own.
type sshd struct {
	dir string
	cmd *exec.Cmd
}

const sshdConfig = `Port %[2]d
HostKey %[1]s/host
AuthorizedKeysFile %[1]s/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
`

func startSSHD(ctx context.Context, net *lab.Network, dir string) (*sshd, error) {
	if err := os.WriteFile(filepath.Join(dir, "sshd_config"), fmt.Appendf(nil, sshdConfig, dir, sshPort), 0o600); err != nil {
		return nil, err
	}
	// The folder that it wants for its privilege separation is the host's alone.
	cmd, err := on(ctx, net, reader, fmt.Sprintf(`set -e
		ssh-keygen -q -t ed25519 -N '' -f %[1]s/host
		ssh-keygen -q -t ed25519 -N '' -f %[1]s/user
		mount -t tmpfs none /run
		mkdir -m 755 /run/sshd
		exec %[2]s -D -e -f %[1]s/sshd_config`, dir, sshdPath))
	if err != nil {
		return nil, err
	}
	s := &sshd{dir: dir, cmd: cmd}
	if err := poll(10*time.Second, 5*time.Millisecond, func() (bool, error) { return listening(sshPort)(cmd) }); err != nil {
		s.stop()
		return nil, fmt.Errorf("%w: %s", err, said(cmd))
	}
	check, err := on(ctx, net, writer, s.login()+" true")
	if err == nil {
		err = check.Wait()
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("log in: %w: %s\nthe server: %s", err, said(check), said(cmd))
	}
	return s, nil
}

func (s *sshd) login() string {
	host, _, _ := strings.Cut(address(sshPort), ":")
	return fmt.Sprintf("ssh -F none -i %s/user -p %d -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@%s",
		s.dir, sshPort, host)
}

func (s *sshd) stop() {
	_ = s.cmd.Cancel() // it may have ended
	_ = s.cmd.Wait()   // by that
}

// sshs runs both programs from the writer's host: what the reader prints comes back
// through ssh. The second command is there for together to wait for.
func sshs(c *carrier, ctx context.Context, size int) (r, w *exec.Cmd, err error) {
	pipeline := fmt.Sprintf("%s | %s $ME swallow - %d", pouringPiped(size), c.ssh.login(), size)
	if r, err = on(ctx, c.net, writer, pipeline); err != nil {
		return nil, nil, err
	}
	if w, err = on(ctx, c.net, writer, "true"); err != nil {
		err = errors.Join(err, r.Cancel(), r.Wait())
	}
	return r, w, err
}
