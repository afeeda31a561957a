// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package zgossip runs nodes of CZMQ's zgossip and ours in one network.
package zgossip

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/cluster/zgossip"
)

// patience bounds every wait, for a machine that does other things as well.
const patience = 60 * time.Second

var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run builds the C program once for all tests.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "zgossip-czmq")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "peer")
	out, err := exec.Command("cc", "-std=gnu11", "-Wall", "-Werror", "-O1", "-o", program, "testdata/peer.c", "-lczmq", "-lzmq").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build testdata/peer.c (wants cc and libczmq-dev): %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// node is a node of a network, CZMQ's or ours, driven as the seed drives its
// actor. What cannot be done fails the test.
type node interface {
	bind(endpoint string) string
	connect(endpoint string)
	publish(key, value string)
	set(path, value string)
	status() int
	load(file string)
	save(file string)
	deliveries() []string      // so far: "key=value" each
	tuples() map[string]string // what the deliveries make
	kill()                     // without a farewell
}

// kinds makes a node of each kind.
var kinds = []struct {
	name  string
	start func(t *testing.T) node
}{
	{"ours", startOurs},
	{"CZMQ", startCZMQ},
}

// czmq is a process with CZMQ's actor.
type czmq struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr bytes.Buffer
	reader sync.WaitGroup

	replies chan string // PORT and STATUS
	book
}

// book is what was delivered.
type book struct {
	mu   sync.Mutex // guards below
	list []string
	set  map[string]string
}

func (b *book) add(key, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.set == nil {
		b.set = make(map[string]string)
	}
	b.list = append(b.list, key+"="+value)
	b.set[key] = value
}

func (b *book) deliveries() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.list...)
}

func (b *book) tuples() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]string, len(b.set))
	for k, v := range b.set {
		all[k] = v
	}
	return all
}

func startCZMQ(t *testing.T) node {
	t.Helper()
	p := &czmq{t: t, cmd: exec.Command(program, "gossip"), replies: make(chan string, 16)}
	p.cmd.Stderr = &p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.in = in
	p.reader.Go(func() { p.read(out) })
	t.Cleanup(p.kill)
	return p
}

func (p *czmq) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		parts := strings.Split(lines.Text(), "\t")
		if parts[0] == "DELIVER" && len(parts) == 3 {
			p.add(parts[1], parts[2])
		} else if len(parts) == 2 {
			p.replies <- parts[1]
		}
	}
}

func (p *czmq) command(parts ...string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, strings.Join(parts, "\t")+"\n"); err != nil {
		p.t.Fatalf("command %v: %v: %s", parts, err, p.stderr.String())
	}
}

func (p *czmq) ask(command string) int {
	p.t.Helper()
	p.command(command)
	select {
	case reply := <-p.replies:
		n, err := strconv.Atoi(reply)
		if err != nil {
			p.t.Fatal(err)
		}
		return n
	case <-time.After(patience):
		p.t.Fatalf("no answer to %s: %s", command, p.stderr.String())
	}
	return 0
}

func (p *czmq) bind(endpoint string) string {
	p.t.Helper()
	p.command("BIND", endpoint)
	port := p.ask("PORT") // also waits until it is done
	return strings.Replace(endpoint, "*", strconv.Itoa(port), 1)
}

func (p *czmq) connect(endpoint string)   { p.command("CONNECT", endpoint) }
func (p *czmq) publish(key, value string) { p.command("PUBLISH", key, value) }
func (p *czmq) set(path, value string)    { p.command("SET", path, value) }
func (p *czmq) load(file string)          { p.command("LOAD", file) }
func (p *czmq) save(file string)          { p.command("SAVE", file); p.status() }
func (p *czmq) status() int               { return p.ask("STATUS") }

func (p *czmq) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill() // it may have ended
		p.reader.Wait()
		_ = p.cmd.Wait() // "signal: killed"
	}
}

// ours is a node of this project.
type ours struct {
	t      *testing.T
	node   *zgossip.Node
	reader sync.WaitGroup
	book
}

func startOurs(t *testing.T) node { return startOurNode(t, zgossip.Config{}) }

func startOurNode(t *testing.T, cfg zgossip.Config) *ours {
	t.Helper()
	n, err := zgossip.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o := &ours{t: t, node: n}
	o.reader.Go(o.read)
	t.Cleanup(o.kill)
	return o
}

func (o *ours) read() {
	for {
		e, err := o.node.Next(context.Background())
		if err != nil {
			return // closed
		}
		if e.Kind == zgossip.Deliver {
			o.add(e.Key, e.Value)
		}
	}
}

func (o *ours) check(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *ours) bind(endpoint string) string {
	o.t.Helper()
	bound, err := o.node.Bind(endpoint)
	o.check(err)
	return bound
}

func (o *ours) connect(endpoint string)   { o.t.Helper(); o.check(o.node.Connect(endpoint, "")) }
func (o *ours) publish(key, value string) { o.t.Helper(); o.check(o.node.Publish(key, value, 0)) }
func (o *ours) set(path, value string)    { o.t.Helper(); o.check(o.node.Set(path, value)) }
func (o *ours) load(file string)          { o.t.Helper(); o.check(o.node.Load(file)) }
func (o *ours) save(file string)          { o.t.Helper(); o.check(o.node.Save(file)) }

func (o *ours) status() int {
	o.t.Helper()
	n, err := o.node.Status()
	o.check(err)
	return n
}

func (o *ours) kill() {
	if err := o.node.Close(); err != nil && !errors.Is(err, zgossip.ErrClosed) {
		o.t.Error(err)
	}
	o.reader.Wait()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what func() string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what())
		case <-tick.C:
		}
	}
}

var zeroConfig zgossip.Config
