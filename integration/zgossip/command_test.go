// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// zpipes builds the binary once.
var zpipes = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(filepath.Dir(program), "zpipes")
	out, err := exec.Command("go", "build", "-o", binary, "../../cmd/zpipes").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build zpipes: %w: %s", err, out)
	}
	return binary, nil
})

// text collects what a process prints.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// process is a zpipes that runs.
type process struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out, err text
	once     sync.Once
}

func run1(t *testing.T, args ...string) *process {
	t.Helper()
	binary, err := zpipes()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(binary, args...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("zpipes %s:\n%s%s", strings.Join(args, " "), p.out.String(), p.err.String())
		}
	})
	return p
}

func (p *process) end(sig os.Signal) {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(sig) // it may have ended
		_ = p.cmd.Wait()
	})
}

func (p *process) say(t *testing.T, lines ...string) {
	t.Helper()
	if _, err := io.WriteString(p.in, strings.Join(lines, "\n")+"\n"); err != nil {
		t.Fatal(err)
	}
}

func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not so in time: %s", what)
		}
	}
}

// A shell script drives nodes with zgossip's commands.
func TestCommand(t *testing.T) {
	hub := startCZMQ(t)
	at := hub.bind("tcp://127.0.0.1:*")
	a := run1(t, "gossip", "--watch", "--connect", at, "--publish", "flag=from a flag", "--bind", "tcp://127.0.0.1:*")
	a.say(t, "PORT", `PUBLISH key "a value"`, "SETTLE", "STATUS")
	soon(t, "deliveries", func() bool { return strings.Contains(a.out.String(), "STATUS 2\n") })
	soon(t, "CZMQ has them", func() bool { return hub.tuples()["key"] == "a value" && hub.tuples()["flag"] == "from a flag" })
	hub.publish("from", "CZMQ")
	soon(t, "it is delivered", func() bool { return strings.Contains(a.out.String(), "DELIVER from CZMQ\n") })
	lines := strings.Split(a.out.String(), "\n")
	bound, ok := strings.CutPrefix(lines[slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "BOUND ") })], "BOUND ")
	if !ok || !strings.Contains(a.out.String(), "PORT "+bound[strings.LastIndexByte(bound, ':')+1:]+"\n") {
		t.Errorf("bound at %q, but the output is\n%s", bound, a.out.String())
	}
	b := run1(t, "gossip", "--connect", bound, "--status")
	soon(t, "status", func() bool { return b.out.String() == "STATUS 3\n" })
	script := run1(t, "gossip", "--connect", bound)
	script.say(t, "PUBLISH script told")
	_ = script.in.Close() // its end, before the server has heard
	if err := script.cmd.Wait(); err != nil {
		t.Error(err)
	}
	script.once.Do(func() {})
	soon(t, "what a script publishes at its end", func() bool { return hub.tuples()["script"] == "told" })
	c := run1(t, "gossip")
	c.say(t, "NONSENSE", "SET server/timeout 500", "SET wrong", "$TERM")
	err := c.cmd.Wait()
	c.once.Do(func() {})
	if err == nil || c.cmd.ProcessState.ExitCode() != 2 || strings.Count(c.out.String(), "ERROR ") != 2 {
		t.Errorf("wrong commands: %v\n%s%s", err, c.out.String(), c.err.String())
	}
	for _, args := range [][]string{{"--publish", "novalue"}, {"--publish", strings.Repeat("k", 256) + "=v"}, {"--bind", "nonsense"}, {"--connect", "tcp://127.0.0.1:1", "--curve-server", "short"}, {"argument"}, {"--ttl", "2s"}, {"--timeout", "0s"}} {
		p := run1(t, append([]string{"gossip"}, args...)...)
		_ = p.cmd.Wait()
		p.once.Do(func() {})
		if got := p.cmd.ProcessState.ExitCode(); got != 2 || strings.Count(p.err.String(), "\n") != 1 {
			t.Errorf("gossip %v: status %d: %s", args, got, p.err.String())
		}
	}
}

// finish waits for a process that ends by itself.
func (p *process) finish() int {
	_ = p.cmd.Wait() // the status tells
	p.once.Do(func() {})
	return p.cmd.ProcessState.ExitCode()
}

// What a script publishes has reached the network when the command has ended, or
// the status says that it has not.
func TestScript(t *testing.T) {
	hub := startCZMQ(t)
	at := hub.bind(anyPort)
	want := map[string]string{"flag": "1"}
	p := run1(t, "gossip", "--connect", at, "--publish", "flag=1")
	for i := range 500 {
		key := fmt.Sprintf("k%d", i)
		p.say(t, "PUBLISH "+key+` "two words"`)
		want[key] = "two words"
	}
	if err := p.in.Close(); err != nil {
		t.Fatal(err)
	}
	if status := p.finish(); status != 0 {
		t.Fatalf("status %d: %s", status, p.err.String())
	}
	if got := hub.status(); got != len(want) {
		t.Errorf("the hub has %d tuples when the command has ended, want %d", got, len(want))
	}
	expectTuples(t, "the hub", hub, want)

	nobody := run1(t, "gossip", "--connect", "tcp://127.0.0.1:9", "--publish", "k=v", "--timeout", "100ms")
	if err := nobody.in.Close(); err != nil {
		t.Fatal(err)
	}
	if status := nobody.finish(); status != 8 || !strings.Contains(nobody.err.String(), "tcp://127.0.0.1:9") {
		t.Errorf("status %d with nobody there: %s", status, nobody.err.String())
	}
}

// A line of --watch can be read back, whatever is in the tuple.
func TestWatchQuotes(t *testing.T) {
	p := run1(t, "gossip", "--watch")
	p.say(t, `PUBLISH "a key" "two\nlines"`, `PUBLISH k "\"quoted\""`, `PUBLISH e ""`, `PUBLISH w "a b"`, `PUBLISH é ü`)
	want := "DELIVER \"a key\" \"two\\nlines\"\nDELIVER k \"\\\"quoted\\\"\"\nDELIVER e \"\"\nDELIVER w a b\nDELIVER é ü\n"
	soon(t, "five lines", func() bool { return strings.Count(p.out.String(), "\n") == 5 })
	if got := p.out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	p.say(t, `PUBLISH "open`, `PUBLISH "a"b c`, `PUBLISH k v 1s 2s`, `PUBLISH k v soon`)
	soon(t, "errors", func() bool { return strings.Count(p.out.String(), "ERROR ") == 4 })
	// A command that lacks a word says which it wants.
	p.say(t, "publish k", "ZAP", "SET SECRETKEY")
	for _, want := range []string{`"publish": not a command: want PUBLISH KEY VALUE [TTL]` + "\n", "want ZAP DOMAIN DOMAIN\n", "want SET PATH VALUE or SET PUBLICKEY KEY or SET SECRETKEY KEY\n"} {
		soon(t, want, func() bool { return strings.Contains(p.out.String(), want) })
	}
}

// Standard input that cannot be read on is no success.
func TestInputTooLong(t *testing.T) {
	p := run1(t, "gossip")
	_, _ = io.WriteString(p.in, "PUBLISH k "+strings.Repeat("x", 5<<20)) // it may end before it has taken all
	if status := p.finish(); status != 2 || !strings.Contains(p.out.String(), "ERROR standard input ends here") {
		t.Errorf("status %d: %s%s", status, p.out.String(), p.err.String())
	}
}

// cert writes a key pair as zcert does.
func cert(t *testing.T) (file, public string) {
	t.Helper()
	public, secret, err := zmq.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	return write(t, fmt.Sprintf("metadata\ncurve\n    public-key = %q\n    secret-key = %q\n", public, secret)), public
}

// Nodes with keys take none without, nor those that are not named.
func TestCommandCurve(t *testing.T) {
	serverFile, serverKey := cert(t)
	friendFile, friendKey := cert(t)
	strangerFile, strangerKey := cert(t)
	server := run1(t, "gossip", "--bind", anyPort, "--curve-cert", serverFile, "--curve-allow", friendKey, "--curve-domain", "TEST", "--publish", "secret=1")
	soon(t, "bound", func() bool {
		return strings.HasPrefix(server.out.String(), "BOUND tcp://") && strings.HasSuffix(server.out.String(), "\n")
	})
	at := strings.TrimSuffix(strings.TrimPrefix(server.out.String(), "BOUND "), "\n")
	for name, c := range map[string]struct {
		flags  []string
		status int
		out    string
	}{
		"friend":           {[]string{"--curve-cert", friendFile, "--curve-server", serverKey}, 0, "STATUS 1\n"},
		"stranger":         {[]string{"--curve-cert", strangerFile, "--curve-server", serverKey}, 8, ""},
		"wrong server key": {[]string{"--curve-cert", friendFile, "--curve-server", strangerKey}, 8, ""},
		"plain":            {nil, 8, ""},
	} {
		p := run1(t, append([]string{"gossip", "--connect", at, "--status", "--timeout", "3s"}, c.flags...)...)
		if status := p.finish(); status != c.status || p.out.String() != c.out {
			t.Errorf("%s: status %d, %q, want %d, %q: %s", name, status, p.out.String(), c.status, c.out, p.err.String())
		}
	}
	// CONNECT without a key is not plain text.
	p := run1(t, "gossip", "--curve-cert", friendFile, "--curve-server", serverKey)
	p.say(t, "CONNECT "+at, "SETTLE", "STATUS")
	soon(t, "CONNECT with the key of a flag", func() bool { return p.out.String() == "STATUS 1\n" })
	for _, flags := range [][]string{
		{"--curve-allow", friendKey}, {"--curve-allow", "short", "--curve-cert", serverFile}, {"--curve-server", "short"},
		{"--curve-cert", friendFile + "none"}, {"--config", friendFile + "none"}, {"--config", write(t, "a\n  b")},
		// These would be plain text.
		{"--connect", at, "--curve-cert", friendFile}, {"--bind", anyPort, "--curve-server", serverKey},
	} {
		p := run1(t, append([]string{"gossip"}, flags...)...)
		if status := p.finish(); status != 2 || strings.Count(p.err.String(), "\n") != 1 {
			t.Errorf("gossip %v: status %d: %s", flags, status, p.err.String())
		}
	}
}
