// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// peers returns the other members that a broker sees.
func peers(t *testing.T, name string) (nodes []string) {
	t.Helper()
	binary, err := zpipes()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "status", "--name", name, "--json").Output()
	if err != nil {
		return nil // it has yet to come
	}
	var status struct {
		Peers []struct{ Node, State string }
	}
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Peers {
		if p.State == "up" {
			nodes = append(nodes, p.Node)
		}
	}
	return nodes
}

// Brokers find each other through a hub, whose it is.
func TestDiscovery(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			hub := kind.start(t)
			at := hub.bind("tcp://127.0.0.1:*")
			prefix := fmt.Sprintf("discover-%d-", os.Getpid())
			broker := func(node string) *process {
				return run1(t, "broker", "--name", prefix+node, "--node", node, "--bind", "127.0.0.1:0", "--profile", "local",
					"--discover", "zgossip", "--gossip-connect", at)
			}
			a := broker("a")
			broker("b")
			broker("c")
			all := func(nodes ...string) func() bool {
				return func() bool {
					for _, n := range nodes {
						if len(peers(t, prefix+n)) != len(nodes)-1 {
							return false
						}
					}
					return true
				}
			}
			soon(t, "all see all", all("a", "b", "c"))
			// A restarted broker has another port: its tuple is replaced.
			const key = "zpipes/member/a"
			old := hub.tuples()[key]
			a.end(syscall.SIGKILL)
			soon(t, "two see each other", all("b", "c"))
			broker("a")
			soon(t, "all see all again", all("a", "b", "c"))
			soon(t, "the tuple is replaced", func() bool { return hub.tuples()[key] != old })
			if n := hub.status(); old == "" || n != 3 {
				t.Errorf("the hub had %q of a, and has %d tuples, want 3", old, n)
			}
		})
	}
}

// keygen has zpipes make a key pair.
func keygen(t *testing.T) (file, public string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "cert")
	p := run1(t, "keygen", "--curve", file)
	if status := p.finish(); status != 0 {
		t.Fatalf("keygen: status %d: %s", status, p.err.String())
	}
	return file, strings.TrimSpace(p.out.String())
}

// brokers are brokers that look for each other in one gossip network.
type brokers struct {
	t      *testing.T
	prefix string
}

func (b brokers) start(node string, flags ...string) *process {
	b.t.Helper()
	return run1(b.t, append([]string{"broker", "--name", b.prefix + node, "--node", node, "--bind", "127.0.0.1:0", "--profile", "local",
		"--discover", "zgossip"}, flags...)...)
}

// see waits until each of the nodes sees all others of them, and nobody else.
func (b brokers) see(nodes ...string) {
	b.t.Helper()
	for _, node := range nodes {
		others := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == node })
		soon(b.t, fmt.Sprintf("%s sees %q", node, others), func() bool {
			have := peers(b.t, b.prefix+node)
			slices.Sort(have)
			return slices.Equal(have, others)
		})
	}
}

// logged waits until a process has logged a line with a text.
func (p *process) logged(t *testing.T, text string) {
	t.Helper()
	soon(t, "logged "+text, func() bool { return strings.Contains(p.err.String(), text) })
}

// endpoint waits until a broker serves gossip, and returns where.
func (p *process) endpoint(t *testing.T) string {
	t.Helper()
	p.logged(t, `msg="gossip served" endpoint=tcp://`)
	_, rest, _ := strings.Cut(p.err.String(), `msg="gossip served" endpoint=`)
	return strings.Fields(rest)[0]
}

// Through a hub with CURVE those with the right keys find each other, and nobody finds
// or is found by others.
func TestDiscoveryCurve(t *testing.T) {
	hubFile, hubKey := keygen(t)
	aFile, aKey := keygen(t)
	bFile, bKey := keygen(t)
	strangerFile, strangerKey := keygen(t)
	hub := run1(t, "gossip", "--bind", anyPort, "--curve-cert", hubFile, "--curve-allow", aKey, "--curve-allow", bKey, "--watch")
	soon(t, "the hub is there", func() bool {
		return strings.HasPrefix(hub.out.String(), "BOUND ") && strings.HasSuffix(hub.out.String(), "\n")
	})
	at := strings.TrimSpace(strings.TrimPrefix(hub.out.String(), "BOUND "))
	group := brokers{t, fmt.Sprintf("curve-%d-", os.Getpid())}
	intruders := make(map[string]*process)
	for node, flags := range map[string][]string{
		"wrong-server-key": {"--gossip-curve-cert", aFile, "--gossip-curve-server", strangerKey},
		"not-allowed":      {"--gossip-curve-cert", strangerFile, "--gossip-curve-server", hubKey},
		"any-key":          {"--gossip-curve-server", hubKey},
		"plain":            nil,
	} {
		intruders[node] = group.start(node, append(flags, "--gossip-connect", at)...)
	}
	for _, p := range intruders {
		p.logged(t, "gossip server refuses this node")
	}
	group.start("a", "--gossip-connect", at, "--gossip-curve-cert", aFile, "--gossip-curve-server", hubKey)
	group.start("b", "--gossip-connect", at, "--gossip-curve-cert", bFile, "--gossip-curve-server", hubKey)
	group.see("a", "b")
	soon(t, "the hub knows both", func() bool { return strings.Count(hub.out.String(), "DELIVER zpipes/member/") == 2 })
	for node, p := range intruders {
		if found := peers(t, group.prefix+node); len(found) > 0 || strings.Contains(p.err.String(), "a member was told of") {
			t.Errorf("%s has found %q:\n%s", node, found, p.err.String())
		}
		if strings.Contains(hub.out.String(), node) {
			t.Errorf("%s has told the hub:\n%s", node, hub.out.String())
		}
	}
}

// Without a hub a broker serves the network itself.
func TestDiscoveryCurveWithoutHub(t *testing.T) {
	file, public := keygen(t)
	group := brokers{t, fmt.Sprintf("served-%d-", os.Getpid())}
	at := group.start("a", "--gossip-bind", anyPort, "--gossip-curve-cert", file).endpoint(t)
	plain := group.start("plain", "--gossip-connect", at)
	plain.logged(t, "gossip server refuses this node")
	group.start("b", "--gossip-connect", at, "--gossip-curve-server", public)
	group.start("c", "--gossip-connect", at, "--gossip-curve-server", public)
	group.see("a", "b", "c")
	if found := peers(t, group.prefix+"plain"); len(found) > 0 {
		t.Errorf("the one without a key has found %q", found)
	}
}

// A key file that is not there, or that others can read, is one line and no broker.
func TestDiscoveryCurveFiles(t *testing.T) {
	file, _ := keygen(t)
	public := write(t, fmt.Sprintf("curve\n    public-key = %q\n", strings.Repeat("0", 40)))
	if err := os.Chmod(file+"_secret", 0o644); err != nil {
		t.Fatal(err)
	}
	group := brokers{t, fmt.Sprintf("files-%d-", os.Getpid())}
	for name, cert := range map[string]string{"none": file + "-none", "open": file, "public": public} {
		p := group.start(name, "--gossip-bind", anyPort, "--gossip-curve-cert", cert, "--log-level", "error")
		if status := p.finish(); status != 2 || strings.Count(p.err.String(), "\n") != 1 || !strings.Contains(p.err.String(), "--gossip-curve-cert: ") {
			t.Errorf("%s: status %d: %s", name, status, p.err.String())
		}
	}
}
