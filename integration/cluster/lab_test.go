// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// These tests are of scripts/lab itself; their brokers are each alone.

const soon = 10 * time.Second

func want(t *testing.T, r lab.Result, stdout string) {
	t.Helper()
	if r.Status != "exit 0" || r.Stdout != stdout || r.Hung != "" || r.Stray != "" {
		t.Errorf("want %q, got %v", stdout, r)
	}
}

func TestHostsHaveTheirOwn(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.HostOptions{Alone: true})
	for _, h := range hosts {
		want(t, h.Run(soon, `mkfifo $ZP/$HOSTNAME && hostname && ls /mnt/zp && zpipes ls`), strings.Repeat(h.Name+"\n", 3))
		if names, err := exec.Command("ls", h.Dir).Output(); err != nil || string(names) != h.Name+"\n" {
			t.Errorf("from outside: %q, %v", names, err)
		}
		want(t, h.Run(soon, `ip -4 -o addr show dev eth0 | grep -o 'inet [0-9.]*'`), "inet "+h.Addr+"\n")
	}
}

// A command sees the mount of the broker's next life in the place of the dead
// one, as it would on a host.
func TestCommandOutlivesItsBroker(t *testing.T) {
	h := lab.Hosts(t, 1, lab.HostOptions{Alone: true})[0]
	dir := lab.Dir(t)
	p := h.Start(`
		await() { for ((n = 0; n < 1000; n++)); do eval "$1" && return; sleep 0.01; done; echo "never: $1"; exit 1; }
		mkfifo $ZP/first && touch ` + dir + `/begun
		await '! stat $ZP 2>/dev/null >&2'
		await 'mkfifo $ZP/second 2>/dev/null'
		ls $ZP`)
	if !lab.Until(soon, func() bool { _, err := os.Stat(filepath.Join(dir, "begun")); return err == nil }) {
		t.Fatal(p.Describe())
	}
	h.Kill()
	h.Again()
	if !p.Wait(soon) {
		t.Fatal(p.Describe())
	}
	want(t, p.Result(), "second\n")
}

// A cable carries what it should, and nothing else.
func TestCables(t *testing.T) {
	hosts := lab.Hosts(t, 3, lab.HostOptions{Alone: true})
	a, b, c := hosts[0], hosts[1], hosts[2]
	for _, h := range hosts {
		p := lab.Start(t, h.On(lab.Command{Args: []string{"socat", "TCP-LISTEN:5000,fork,reuseaddr", "SYSTEM:hostname"}}))
		if !lab.Until(soon, func() bool { return h.Run(soon, "socat -u TCP:127.0.0.1:5000 -").Stdout == h.Name+"\n" }) {
			t.Fatal(p.Describe())
		}
	}
	reaches := func(from, to *lab.Host) bool {
		t.Helper()
		r := from.Run(soon, "socat -u TCP:"+to.Addr+":5000,connect-timeout=0.5 - 2>/dev/null")
		if r.Stdout != "" && r.Stdout != to.Name+"\n" {
			t.Errorf("%s answers as %q", to.Name, r.Stdout)
		}
		return r.Stdout != ""
	}
	check := func(when, connected string) {
		t.Helper()
		var got []string
		for _, pair := range [][2]*lab.Host{{a, b}, {b, a}, {a, c}, {c, a}, {b, c}, {c, b}} {
			if reaches(pair[0], pair[1]) {
				got = append(got, pair[0].Name[1:]+pair[1].Name[1:])
			}
		}
		if s := strings.Join(got, " "); s != connected {
			t.Errorf("%s: want connections %s, have %s", when, connected, s)
		}
	}
	check("at first", "12 21 13 31 23 32")
	a.Cut(b)
	check("1 cut from 2", "13 31 23 32")
	c.Cut()
	check("3 cut off, too", "")
	b.Heal(a)
	check("1 and 2 healed", "12 21")
	c.Heal()
	a.Netem("loss 99%")
	check("1 loses", "23 32")
	a.Netem("off")
	check("at last", "12 21 13 31 23 32")
}

func TestLabRefuses(t *testing.T) {
	net, err := lab.NewNetwork(lab.NetworkName(), filepath.Join(lab.Dir(t), "lab"), lab.Binary())
	if err != nil {
		t.Fatal(err)
	}
	refused := func(cure string, args ...string) {
		t.Helper()
		_, err := net.Call(t.Context(), args...)
		if err == nil || !strings.Contains(err.Error(), cure) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("lab %v: want one line with %q, got %v", args, cure, err)
		}
	}
	refused("lab up N", "exec", "1", "true")
	refused("1 to 250", "up", "0")
	refused("follow --", "up", "1", "--endpoint", "x")
	if err := net.Up(t.Context(), 1, "--alone"); err != nil {
		t.Error(err)
	}
	refused("lab down removes it", "up", "1", "--alone")
	refused("hosts 1 to 1", "kill", "2")
	refused("runs already", "start", "1")
	refused("off", "netem", "1")
	if err := net.Down(); err != nil {
		t.Error(err)
	}
	// A broker that does not start takes the lab with it.
	if err := net.Up(t.Context(), 2, "--alone", "--", "--capacity", "1"); err == nil || !strings.Contains(err.Error(), "--capacity") {
		t.Errorf("with a broker that does not start: %v", err)
	}
	if err := net.Down(); err != nil {
		t.Error(err)
	}
}

// Whatever a lab's processes are in, and wherever, down removes them.
func TestDownRemovesAll(t *testing.T) {
	net, err := lab.NewNetwork(lab.NetworkName(), filepath.Join(lab.Dir(t), "lab"), lab.Binary())
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Up(t.Context(), 3, "--alone"); err != nil {
		t.Fatal(err)
	}
	var blocked []*lab.Process
	for k := 1; k <= 3; k++ {
		cmd := net.Exec(t.Context(), k, "sh", "-c", `mkfifo $ZP/p; exec cat $ZP/p`)
		p := lab.Start(t, lab.Command{Args: cmd.Args, Env: cmd.Env})
		p.AwaitBlocked(1, lab.Open)
		blocked = append(blocked, p)
	}
	if _, err := net.Call(t.Context(), "kill", "2"); err != nil {
		t.Error(err)
	}
	stopped := exec.Command("sh", "-c", "kill -STOP $(cat h3/pid)")
	stopped.Dir = net.Dir
	if out, err := stopped.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := net.Down(); err == nil || !strings.Contains(err.Error(), "does not end when told") || strings.Contains(err.Error(), "left") {
		t.Errorf("with a stopped broker: %v", err)
	}
	for _, p := range blocked {
		if !p.Wait(soon) {
			t.Errorf("outlived its lab:\n%s", p.Describe())
		}
	}
}

// A test process that is killed leaves no hosts.
func TestHostsGoWithTheTest(t *testing.T) {
	dir := filepath.Join(lab.Dir(t), "lab")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleSetting+"=orphan", "NET="+lab.NetworkName(), "DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() // it waits for that
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Errorf("%q, %v", line, err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
	if !lab.Until(soon, func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) }) {
		t.Error("the lab is still there")
	}
}

func orphan() error {
	net, err := lab.NewNetwork(os.Getenv("NET"), os.Getenv("DIR"), lab.Binary())
	if err != nil {
		return err
	}
	if err := net.Up(context.Background(), 2, "--alone"); err != nil {
		return err
	}
	fmt.Println("up")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
