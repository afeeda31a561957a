// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ZP is where a program on a host finds the host's mount.
const ZP = "/mnt/zp"

// patience is how long a command of scripts/lab may take.
const patience = time.Minute

// HostOptions say how the brokers of Hosts are started.
type HostOptions struct {
	Key   bool     // with a cluster key
	Alone bool     // brokers do not know of each other
	Flags []string // further flags of zpipes mount
}

// Host is one of the hosts of a cluster.
type Host struct {
	Number int    // from 1 on
	Name   string // also the node's
	Addr   string // its address
	Dir    string // its mount, as the test and programs not on the host see it
	State  string // its state directory

	t   testing.TB
	net *Network
}

var networks atomic.Int64 // counts the networks of this process

// NetworkName is a new name for a Network of a test: namespaces have names that
// are unique on the machine, as the scratch folder has.
func NetworkName() string {
	return fmt.Sprintf("%s-%d", filepath.Base(os.Getenv(scratchSetting)), networks.Add(1))
}

// Hosts makes n hosts whose brokers have found each other. When the test ends
// their brokers are stopped, and everything is removed; the test fails if a
// broker does not end well, has complained of a fault, or leaves something.
func Hosts(t testing.TB, n int, o HostOptions) []*Host {
	t.Helper()
	dir := Dir(t)
	for _, above := range []string{dir, filepath.Dir(dir)} { // other users' programs use mounts, too
		if err := os.Chmod(above, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	net, err := NewNetwork(NetworkName(), filepath.Join(dir, "lab"), Binary())
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	if o.Key {
		args = append(args, "--key")
	}
	if o.Alone {
		args = append(args, "--alone")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var hosts []*Host
	for k := 1; k <= n; k++ {
		name := fmt.Sprintf("h%d", k)
		home := filepath.Join(net.Dir, name)
		hosts = append(hosts, &Host{
			Number: k, Name: name, Addr: fmt.Sprintf("10.9.0.%d", k),
			Dir: filepath.Join(home, "mnt/zp"), State: filepath.Join(home, "state"), t: t, net: net,
		})
	}
	t.Cleanup(func() { tearDown(t, net, hosts) })
	if err := net.Up(ctx, n, append(append(args, "--"), o.Flags...)...); err != nil {
		t.Fatal(err)
	}
	return hosts
}

func tearDown(t testing.TB, net *Network, hosts []*Host) {
	t.Helper()
	var all sync.WaitGroup
	for _, h := range hosts {
		all.Go(func() {
			if h.PID() != 0 {
				h.Stop()
			}
		})
	}
	all.Wait()
	for _, h := range hosts {
		h.checkLog()
	}
	if err := net.Down(); err != nil {
		t.Errorf("take the lab down: %v", err)
	}
}

// checkLog looks for faults in the broker's log, and shows its end when the
// test has failed.
func (h *Host) checkLog() {
	h.t.Helper()
	log := h.Log()
	for _, fault := range append([]string{"level=ERROR msg=ended"}, faults...) {
		if at := strings.Index(log, fault); at >= 0 {
			h.t.Errorf("the log of %s has %q: %.4000s", h.Name, fault, log[at:])
		}
	}
	if h.t.Failed() {
		h.t.Logf("the end of the log of %s:\n%s", h.Name, log[max(0, len(log)-4000):])
	}
}

// Clusters makes n clusters of so many hosts each, in which users other than root can
// work, too. Who takes one from the channel puts it back.
func Clusters(t testing.TB, n, hosts int, o HostOptions) chan []*Host {
	t.Helper()
	clusters := make(chan []*Host, n)
	o.Flags = append(o.Flags, "--allow-other")
	for range n {
		c := Hosts(t, hosts, o)
		OpenAbove(t, c[0].Dir)
		clusters <- c
	}
	return clusters
}

// Namespace is the path of the host's network namespace.
func (h *Host) Namespace() string { return fmt.Sprintf("/run/netns/%s-%s", h.net.Name, h.Name) }

// Log is what the broker has logged, over all its lives.
func (h *Host) Log() string {
	b, err := os.ReadFile(filepath.Join(h.net.Dir, h.Name, "log"))
	if err != nil && !os.IsNotExist(err) {
		h.t.Error(err)
	}
	return string(b)
}

// PID is the broker's process; 0 when there is none.
func (h *Host) PID() int {
	b, err := os.ReadFile(filepath.Join(h.net.Dir, h.Name, "pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		h.t.Errorf("pid file of %s: %v", h.Name, err)
	}
	if p, ok := readStat(fmt.Sprintf("/proc/%d/stat", pid)); !ok || p.state == 'Z' || p.state == 'X' {
		return 0
	}
	return pid
}

// On is the command as it runs on the host.
func (h *Host) On(c Command) Command {
	args := append([]string{h.net.script, "exec", strconv.Itoa(h.Number)}, c.Args...)
	return Command{Args: args, Env: append(h.net.env(), c.Env...), Stdin: c.Stdin, Stdout: c.Stdout}
}

// Exec is a command on the host for callers that start it themselves, with
// streams of their own. When ctx ends it is killed with all that it has started.
func (h *Host) Exec(ctx context.Context, args ...string) *exec.Cmd {
	return h.net.Exec(ctx, h.Number, args...)
}

// Run runs a shell script on the host, as Run does.
func (h *Host) Run(deadline time.Duration, script string) Result {
	h.t.Helper()
	return Run(h.t, deadline, h.On(Shell("bash", script)))
}

// Start starts a shell script on the host, as Start does.
func (h *Host) Start(script string) *Process {
	h.t.Helper()
	return Start(h.t, h.On(Shell("bash", script)))
}

// Kill kills the broker as kill -9 does. Its mount is dead then.
func (h *Host) Kill() { h.t.Helper(); h.must("kill") }

// Stop ends the broker as its administrator would.
func (h *Host) Stop() { h.t.Helper(); h.must("stop") }

// Again starts the broker again, with these flags besides the first ones.
func (h *Host) Again(flags ...string) {
	h.t.Helper()
	h.must("start", append([]string{"--"}, flags...)...)
}

// Cut lets no packet through between the host and the others, or one of them.
func (h *Host) Cut(from ...*Host) { h.t.Helper(); h.must("cut", numbers(from)...) }

// Heal undoes a Cut of the same hosts.
func (h *Host) Heal(from ...*Host) { h.t.Helper(); h.must("heal", numbers(from)...) }

// Netem gives the host's cable bad weather, as in "loss 1%"; "off" ends it.
func (h *Host) Netem(weather string) { h.t.Helper(); h.must("netem", strings.Fields(weather)...) }

func numbers(hosts []*Host) []string {
	var args []string
	for _, h := range hosts {
		args = append(args, strconv.Itoa(h.Number))
	}
	return args
}

func (h *Host) must(command string, args ...string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := h.net.Call(ctx, append([]string{command, strconv.Itoa(h.Number)}, args...)...); err != nil {
		h.t.Error(err)
	}
}
