// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	zmq "github.com/pebbe/zmq4"
)

func keyPair(t *testing.T) (public, secret string) {
	t.Helper()
	public, secret, err := zmq.NewCurveKeypair()
	must(t, err)
	return public, secret
}

// secured starts a node with keys and ZAP domain.
func secured(t *testing.T, cfg Config, public, secret string) *Node {
	t.Helper()
	n := start(t, cfg)
	must(t, n.SetPublicKey(public))
	must(t, n.SetSecretKey(secret))
	must(t, n.SetZAPDomain("TEST"))
	return n
}

// TestCurve has nodes with the right keys in one network, and others that try to
// get in: with another server's key, with a key that is not allowed, and plain.
func TestCurve(t *testing.T) {
	serverPublic, serverSecret := keyPair(t)
	friendPublic, friendSecret := keyPair(t)
	strangerPublic, strangerSecret := keyPair(t)
	domains := make(chan string, 100)
	server := secured(t, Config{Allow: func(domain, key string) bool {
		select {
		case domains <- domain:
		default:
		}
		return key == friendPublic
	}}, serverPublic, serverSecret)
	endpoints := []string{bind(t, server, "tcp://127.0.0.1:*"), bind(t, server, "ipc://"+filepath.Join(t.TempDir(), "s"))}
	must(t, server.Publish("secret", "of the server", 0))

	var intruders []*Node
	intrude := func(key string, n *Node) {
		t.Helper()
		must(t, n.Publish("intruder", "was here", 0))
		for _, at := range endpoints {
			must(t, n.Connect(at, key))
		}
		intruders = append(intruders, n)
	}
	intrude(strangerPublic, secured(t, Config{}, friendPublic, friendSecret))   // another server's key
	intrude(serverPublic, secured(t, Config{}, strangerPublic, strangerSecret)) // not allowed
	intrude(serverPublic, start(t, Config{}))                                   // a key made for it
	intrude("", start(t, Config{}))                                             // plain text

	for _, at := range endpoints {
		friend := secured(t, Config{}, friendPublic, friendSecret)
		must(t, friend.Connect(at, serverPublic))
		must(t, friend.Publish("friend at "+at, "hello", 0))
		settle(t, friend)
		if got := valueOf(t, friend, "secret"); got != "of the server" {
			t.Errorf("the friend at %s has %q", at, got)
		}
	}
	for i, n := range intruders {
		refusedTwice(t, n)
		if stats, err := n.Stats(); err != nil || stats.Received > 0 {
			t.Errorf("intruder %d was told %d messages, %v", i, stats.Received, err)
		}
		expectStatus(t, n, 1)
	}
	stats, err := server.Stats()
	must(t, err)
	if stats.Unwelcome < 4 { // the second and the third intruder at two endpoints
		t.Errorf("%d keys were not allowed", stats.Unwelcome)
	}
	expectStatus(t, server, 3)
	if domain := <-domains; domain != "TEST" {
		t.Errorf("ZAP domain %q, want TEST", domain)
	}
}

// refusedTwice waits until each of a node's connections has ended twice.
func refusedTwice(t *testing.T, n *Node) {
	t.Helper()
	eventually(t, "refused", func() bool {
		times := uint64(0)
		must(t, n.do(func(l *loop) error { times = l.stats.Reopened / uint64(len(l.remotes)); return nil }))
		return times >= 2
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Settle(ctx); !errors.Is(err, ErrUnsynced) {
		t.Errorf("a node that is to be refused has settled: %v", err)
	}
}

// TestCurveServerIsAsked: a client with CURVE does not take a server in plain text,
// or one with other keys.
func TestCurveServerIsAsked(t *testing.T) {
	public, _ := keyPair(t)
	otherPublic, otherSecret := keyPair(t)
	plain := start(t, Config{})
	other := secured(t, Config{}, otherPublic, otherSecret)
	for _, server := range []*Node{plain, other} {
		must(t, server.Publish("a", "lie", 0))
		client := start(t, Config{})
		must(t, client.Publish("mine", "1", 0))
		must(t, client.Connect(bind(t, server, "tcp://127.0.0.1:*"), public))
		refusedTwice(t, client)
		expectStatus(t, client, 1)
		expectStatus(t, server, 1)
		if stats, err := server.Stats(); err != nil || stats.Received > 0 {
			t.Errorf("the server was told %d messages, %v", stats.Received, err)
		}
	}
}

// TestCurveEncrypts: who listens on the wire reads no tuple, of neither side.
func TestCurveEncrypts(t *testing.T) {
	public, secret := keyPair(t)
	const theirs, ours = "what the server tells", "what the client tells"
	for _, encrypted := range []bool{false, true} {
		server, client, key := start(t, Config{}), start(t, Config{}), ""
		if encrypted {
			must(t, server.SetPublicKey(public))
			must(t, server.SetSecretKey(secret))
			key = public
		}
		tap := listen(t, strings.TrimPrefix(bind(t, server, "tcp://127.0.0.1:*"), "tcp://"))
		must(t, server.Publish("server", theirs, 0))
		must(t, client.Publish("client", ours, 0))
		must(t, client.Connect("tcp://"+tap.at, key))
		settle(t, client)
		expectStatus(t, server, 2)
		expectStatus(t, client, 2)
		for _, text := range []string{theirs, ours} {
			if heard := strings.Contains(tap.heard(), text); heard == encrypted {
				t.Errorf("encrypted %v: %q on the wire: %v", encrypted, text, heard)
			}
		}
	}
}

// tap is a wire that somebody listens on.
type tap struct {
	at string

	mu   sync.Mutex // guards text
	text strings.Builder
}

// listen carries one connection to an address, until the test ends.
func listen(t *testing.T, to string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &tap{at: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			in.Close()
			return
		}
		running.Go(func() { _, _ = io.Copy(out, io.TeeReader(in, w)) })
		running.Go(func() { _, _ = io.Copy(in, io.TeeReader(out, w)) })
		<-ctx.Done()
		in.Close()
		out.Close()
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		running.Wait()
	})
	return w
}

func (w *tap) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *tap) heard() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func TestKeysAreChecked(t *testing.T) {
	public, secret := keyPair(t)
	other, _ := keyPair(t)
	n := start(t, Config{})
	for _, key := range []string{"", "short", public + "x", public[:39] + "~", public[:39] + "\x00"} {
		for _, set := range []func(string) error{n.SetPublicKey, n.SetSecretKey} {
			if err := set(key); !errors.Is(err, ErrKey) {
				t.Errorf("%q: %v", key, err)
			}
		}
		if err := n.Connect("tcp://127.0.0.1:9", key); key != "" && !errors.Is(err, ErrKey) {
			t.Errorf("connect with %q: %v", key, err)
		}
	}
	must(t, n.SetPublicKey(other))
	must(t, n.SetSecretKey(secret))
	if _, err := n.Bind("tcp://127.0.0.1:*"); !errors.Is(err, ErrKey) {
		t.Errorf("keys that do not belong together: %v", err)
	}
	must(t, n.SetPublicKey(public))
	bind(t, n, "tcp://127.0.0.1:*")

	shared := secured(t, Config{Context: sharedContext(t)}, public, secret)
	if _, err := shared.Bind("tcp://127.0.0.1:*"); !errors.Is(err, ErrShared) {
		t.Errorf("bind in a shared context: %v", err)
	}
}

// TestConfiguredSecurity has the keys come from a file of zcert's.
func TestConfiguredSecurity(t *testing.T) {
	public, secret := keyPair(t)
	dir := t.TempDir()
	cert := filepath.Join(dir, "cert")
	must(t, os.WriteFile(cert, []byte("metadata\ncurve\n    public-key = \""+public+"\"\n"), 0o600))
	must(t, os.WriteFile(cert+"_secret", []byte("curve\n    public-key = \""+public+"\"\n    secret-key = \""+secret+"\"\n"), 0o600))
	config := filepath.Join(dir, "config")
	must(t, os.WriteFile(config, []byte("zgossip\n    bind\n        endpoint = tcp://127.0.0.1:*\n    security\n        mechanism = curve\n        secret-key = "+cert+"\n        domain = D\n"), 0o600))
	var asked []string
	server := start(t, Config{Allow: func(domain, key string) bool { asked = append(asked, domain); return true }})
	must(t, server.Load(config))
	must(t, server.Publish("k", "v", 0))
	port, err := server.Port()
	must(t, err)
	client := start(t, Config{})
	at := localPort(port)
	must(t, client.Connect(at, public))
	settle(t, client)
	expectStatus(t, client, 1)
	must(t, server.Close())
	if len(asked) == 0 || slices.ContainsFunc(asked, func(d string) bool { return d != "D" }) {
		t.Errorf("asked for domains %q", asked)
	}
}
