// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// asNamespace has the test run again in a network namespace of its own.
const asNamespace = "LINK_TEST_NAMESPACE"

// alone runs the test in a network namespace of its own, where packets can be
// dropped, and returns true in it.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(asNamespace) != "" {
		command(t, "ip", "link", "set", "lo", "up")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("wants root: it makes a network namespace")
	}
	for _, tool := range []string{"unshare", "ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("install iproute2, nftables and util-linux: %v", err)
		}
	}
	again := exec.Command("unshare", "--net", "--kill-child", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "2m")
	again.Env = append(os.Environ(), asNamespace+"=1")
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// drop drops all TCP packets of the namespace, or no more.
func drop(t testing.TB, on bool) {
	t.Helper()
	if !on {
		command(t, "nft", "delete", "table", "inet", "link")
		return
	}
	command(t, "nft", "add table inet link; add chain inet link in { type filter hook input priority 0; }; add rule inet link in meta l4proto tcp drop")
}

// A cable that is pulled closes no connection: packets are just gone. When it is
// back, octets flow again soon, and not when TCP tries the next time.
func TestPacketsAreDropped(t *testing.T) {
	if !alone(t) {
		return
	}
	const part = 16 << 20
	shape := within(2 * time.Second)
	a, b := listenAs(t, "a", shape), listenAs(t, "b", shape)
	acquaint(a, b)
	a.stands(t, b)
	src, k := newTorrent(0), b.sinks()
	more := func() {
		src.mu.Lock()
		src.left += part
		src.mu.Unlock()
		a.Wake(b.id, src)
	}
	size := 0
	for range 3 {
		more() // some of it is on the way when the cable is out
		drop(t, true)
		more() // and this cannot be
		size += 2 * part
		<-time.After(time.Second) // how long the cable is out
		before, back := k.got(), time.Now()
		drop(t, false)
		b.until(t, "more", func() bool { return k.got() > before })
		if took := time.Since(back); took > 1500*time.Millisecond {
			t.Errorf("nothing came for %v after the cable was back", took)
		}
	}
	b.until(t, "all", func() bool { return k.got() >= size })
	if got, want := fmt.Sprintf("%x", k.sum.Sum(nil)), src.total(); got != want {
		t.Errorf("sha256 is %s, not %s", got, want)
	}
	if n := len(a.lost(b.id)) + len(b.lost(a.id)); n > 0 {
		t.Errorf("the session was lost: %v, %v", a.lost(b.id), b.lost(a.id))
	}
	drop(t, true)
	start := time.Now()
	a.until(t, "a knows", func() bool { return len(a.lost(b.id)) > 0 })
	b.until(t, "b knows", func() bool { return len(b.lost(a.id)) > 0 })
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the loss was known after %v", took)
	}
	drop(t, false)
	a.stands(t, b)
	b.stands(t, a)
}
