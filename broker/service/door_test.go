// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
)

func TestDefaultEndpoint(t *testing.T) {
	if got := DefaultEndpoint("local"); got != "ipc://@/zpipes/local" {
		t.Errorf("got %s", got)
	}
	h := serve(t, nil)
	// The abstract name is NUL and the path, with no NUL behind.
	address, _ := strings.CutPrefix(h.endpoint, "ipc://@")
	c, err := net.Dial("unix", "\x00"+address)
	must(t, err)
	c.Close()
}

func TestEndpointInUse(t *testing.T) {
	for _, endpoint := range []string{unique(), "tcp://127.0.0.1:*", "ipc://" + t.TempDir() + "/s"} {
		t.Run(endpoint, func(t *testing.T) {
			h := serve(t, func(c *Config) { c.Endpoints = []string{endpoint} })
			r, w := h.openPair(t, "p")
			_, err := Start(Config{Broker: broker.New(broker.Config{}), Endpoints: []string{unique(), h.endpoint}})
			if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), h.endpoint) {
				t.Fatalf("second service: %v", err)
			}
			t.Log(err)
			w.ask(write("x", 0), writeOK) // the first is not hurt
			r.ask(readN(1, 0), readOK("x"))
			h.dial(t).ask(input("q"), inputOK)
			must(t, h.Close())
			again := serve(t, func(c *Config) { c.Endpoints = []string{h.endpoint} })
			again.dial(t).ask(input("p"), inputOK)
		})
	}
}

func TestBadEndpoints(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	for _, endpoint := range []string{"", "x", "ipc://", "ipc://@", "tcp://", "tcp://127.0.0.1", "inproc://x", "udp://1:2",
		"ipc:///no/such/dir/s", "ipc://" + file, "ipc://" + dir + "/" + strings.Repeat("x", 200), "tcp://192.0.2.1:5555", "tcp://127.0.0.1:x"} {
		s, err := Start(Config{Broker: broker.New(broker.Config{}), Endpoints: []string{endpoint}})
		if err == nil {
			s.Close()
			t.Errorf("%q was bound", endpoint)
			continue
		}
		if !strings.Contains(err.Error(), endpoint) {
			t.Errorf("%q: the error does not name it: %v", endpoint, err)
		}
		t.Log(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("a file in the way was touched: %q %v", b, err)
	}
	if _, err := Start(Config{Endpoints: []string{unique()}}); err == nil {
		t.Error("a service without a broker was started")
	}
	if _, err := Start(Config{Broker: broker.New(broker.Config{})}); !errors.Is(err, ErrEndpoint) {
		t.Errorf("no endpoint: %v", err)
	}
}

func TestEndpointsOutOfRange(t *testing.T) {
	long := strings.Repeat("x", 107)
	for _, endpoint := range []string{"tcp://127.0.0.1:99999", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:",
		"tcp://*", "ipc:///" + long, "ipc://@" + long} {
		s, err := Start(Config{Broker: broker.New(broker.Config{}), Endpoints: []string{endpoint}})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, ErrEndpoint) {
			t.Errorf("%q: got %v, want ErrEndpoint", endpoint, err)
		}
	}
	h := serve(t, func(c *Config) { c.Endpoints = []string{(unique() + long)[:len("ipc://")+107]} })
	h.dial(t).ask(input("p"), inputOK)
}

// TestLockedDirectory: who holds the directory's lock keeps a broker from
// starting, but not for ever from saying so.
func TestLockedDirectory(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	cfg := Config{Broker: broker.New(broker.Config{}), Endpoints: []string{"ipc://" + dir + "/s"}}
	failed := make(chan error, 1)
	go func() {
		s, err := Start(cfg)
		if err == nil {
			s.Close()
		}
		failed <- err
	}()
	select {
	case err := <-failed:
		if !errors.Is(err, ErrInUse) {
			t.Errorf("got %v, want ErrInUse", err)
		}
	case <-time.After(patience):
		t.Error("still waiting")
		must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_UN))
		<-failed
	}
}

func TestPortIsResolved(t *testing.T) {
	h := serve(t, func(c *Config) { c.Endpoints = []string{"tcp://127.0.0.1:*", unique()} })
	if len(h.Endpoints()) != 2 || strings.HasSuffix(h.endpoint, "*") {
		t.Fatalf("bound %v", h.Endpoints())
	}
	for _, endpoint := range h.Endpoints() {
		d := dialAt(t, endpoint, "")
		d.ask(input("p"+endpoint[:3]), inputOK)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	h := serve(t, func(c *Config) { c.Endpoints = []string{"ipc://" + path} })
	h.dial(t).ask(input("p"), inputOK)
	st, err := os.Stat(path)
	must(t, err)
	if got := st.Mode().Perm(); got != modeOwner {
		t.Errorf("mode %o, want %o", got, modeOwner)
	}
	must(t, h.Close())
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestUserIsRefused(t *testing.T) {
	for _, endpoint := range []string{unique(), "ipc://" + t.TempDir() + "/s"} {
		t.Run(endpoint, func(t *testing.T) {
			h := serve(t, func(c *Config) {
				c.Endpoints, c.AllowUID = []string{endpoint}, func(uid int) bool { return uid != os.Getuid() }
			})
			if got := runClient(t, os.Args[0], endpoint, nil); got != "refused" {
				t.Fatalf("a client of this user: %s", got)
			}
			if h.Stats().Refused == 0 {
				t.Error("no refusal was counted")
			}
		})
	}
}

// TestRefusalsDoNotFillTheLog: one line for each user, then one a minute.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	var log strings.Builder
	p := porter{allow: func(int) bool { return false }, stats: new(counters), told: make(map[int]bool),
		log: slog.New(slog.NewTextHandler(&log, nil))}
	for uid := range 1000 {
		for range 3 {
			p.admits(zapIPC, fmt.Sprintf("localhost:%d:1:2", uid))
		}
	}
	if n := strings.Count(log.String(), "\n"); n == 0 || n > toldUsers {
		t.Errorf("%d lines", n)
	}
	log.Reset()
	p.tell(peer{uid: 1, pid: 2}, time.Now().Add(2*tellEvery))
	if !strings.Contains(log.String(), "unlogged=2810") { // since the 64th user's first
		t.Errorf("later: %q", log.String())
	}
	if p.stats.refused.Load() != 3000 {
		t.Errorf("%d refusals counted", p.stats.refused.Load())
	}
}

func TestOtherUserMayConnectOnlyWhenAllowed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("wants root, to be another user")
	}
	program := publicCopy(t)
	const nobody = 65534
	other := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	closed := serve(t, nil)
	if got := runClient(t, program, closed.endpoint, other); got != "refused" {
		t.Errorf("uid %d by default: %s", nobody, got)
	}
	if got := runClient(t, program, closed.endpoint, nil); got != "opened" {
		t.Errorf("root by default: %s", got)
	}
	path := "ipc://" + filepath.Dir(program) + "/s"
	open := serve(t, func(c *Config) {
		c.Endpoints, c.AllowUID = []string{unique(), path}, func(uid int) bool { return uid == nobody }
	})
	for _, endpoint := range open.Endpoints() {
		if got := runClient(t, program, endpoint, other); got != "opened" {
			t.Errorf("uid %d allowed at %s: %s", nobody, endpoint, got)
		}
		if got := runClient(t, program, endpoint, nil); got != "refused" {
			t.Errorf("root not allowed at %s: %s", endpoint, got)
		}
	}
}

// publicCopy copies the test binary to where every user can run it.
func publicCopy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "zpipes-service-test")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	in, err := os.Open(os.Args[0])
	must(t, err)
	defer in.Close()
	path := filepath.Join(dir, "client")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, errors.Join(err, out.Close(), os.Chmod(path, 0o755)))
	return path
}

// runClient runs a client in a process of its own and returns what it says.
func runClient(t *testing.T, program, endpoint string, as *syscall.SysProcAttr) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), asClient+"="+endpoint)
	cmd.Dir = "/"
	cmd.SysProcAttr = as
	out, err := cmd.CombinedOutput()
	if err != nil {
		return strings.TrimSpace(string(out)) + " " + err.Error()
	}
	return strings.TrimSpace(string(out))
}
