// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker"
)

// beService serves an endpoint until its standard input ends, with a log of all
// it does on standard error.
func beService(endpoint string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b := broker.New(broker.Config{})
	defer b.Close()
	s, err := Start(Config{Broker: b, Endpoints: []string{endpoint}, Log: log})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("serving")
	io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// process is a service in a process of its own.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	log   *os.File
}

// spawn starts a service by a shell command that ends in "$0".
func spawn(t *testing.T, endpoint, command string) *process {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	must(t, err)
	p := &process{t: t, log: log, cmd: exec.CommandContext(t.Context(), "/bin/sh", "-c", command, os.Args[0])}
	p.cmd.Env = append(os.Environ(), asService+"="+endpoint)
	p.cmd.Stderr = log
	p.stdin, err = p.cmd.StdinPipe()
	must(t, err)
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	must(t, p.cmd.Start())
	if _, err := io.ReadFull(out, make([]byte, len("serving\n"))); err != nil {
		t.Fatalf("no service: %v, %v", err, p.cmd.Wait())
	}
	return p
}

// end ends the service, which must have lived until now, and returns its log.
func (p *process) end() string {
	p.t.Helper()
	p.stdin.Close()
	err := p.cmd.Wait()
	p.log.Close()
	text, _ := os.ReadFile(p.log.Name())
	if err != nil {
		p.t.Fatalf("the service died: %v\n%s", err, text[max(0, len(text)-2000):])
	}
	return string(text)
}

func TestRoutingIDsCannotBeGuessed(t *testing.T) {
	label := regexp.MustCompile(`msg=opened client=([0-9a-f]+)`)
	seen := make(map[string]bool)
	for range 2 {
		endpoint := unique()
		p := spawn(t, endpoint, `exec "$0"`)
		d := dialAt(t, endpoint, "")
		d.ask(input("p"), inputOK)
		d.hangUp()
		m := label.FindStringSubmatch(p.end())
		if m == nil || seen[m[1]] {
			t.Fatalf("the first client of two processes: %q, %v", m, seen)
		}
		seen[m[1]] = true
	}
}

// TestChosenIDComesBack: an id that looks like libzmq's own says nothing about
// which connection it is.
func TestChosenIDComesBack(t *testing.T) {
	for _, id := range []string{"\x00wxyz", "fred"} {
		h := serve(t, func(c *Config) { c.ClientTimeout = never })
		for range 100 {
			d := dialAt(t, h.endpoint, id)
			d.ask(input("p"), inputOK) // nothing of the last connection is left
			d.hangUp()
			if id[0] == 0 {
				eventually(t, "its end is closed", func() bool { return h.Stats().Readers == 0 })
			}
		}
	}
}

// TestConnectionFlood: whoever can connect(2) must not end the service by it.
func TestConnectionFlood(t *testing.T) {
	endpoint := unique()
	p := spawn(t, endpoint, `ulimit -n 64; exec "$0"`)
	early := dialAt(t, endpoint, "")
	early.ask(input("p"), inputOK)
	name := strings.TrimPrefix(endpoint, "ipc://")
	var flood []int
	hangUp := func() {
		for _, fd := range flood {
			unix.Close(fd)
		}
		flood = nil
	}
	defer hangUp()
	for range 500 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		flood = append(flood, fd)
		must(t, unix.Connect(fd, &unix.SockaddrUnix{Name: name}))
	}
	early.silent() // and is served
	hangUp()
	late := dialAt(t, endpoint, "")
	late.ask(output("p"), outputOK)
	late.ask(write("x", 0), writeOK)
	early.ask(readN(1, 0), readOK("x"))
	late.hangUp()
	early.hangUp()
	p.end()
}

// TestServiceEndsByItself: when its sockets fail the service says so, and why.
func TestServiceEndsByItself(t *testing.T) {
	b := broker.New(broker.Config{})
	defer b.Close()
	s, err := Start(Config{Broker: b, Endpoints: []string{unique()}})
	must(t, err)
	select {
	case <-s.Done():
		t.Fatal("it has ended at once")
	default:
	}
	must(t, s.context.Term()) // poll fails, then the loop closes its sockets
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("it has not ended")
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), zmq.ETERM.Error()) {
		t.Errorf("Close: %v", err)
	}
}
