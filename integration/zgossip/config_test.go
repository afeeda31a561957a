// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/cluster/zgossip"
	"github.com/zpipesfs/zpipesfs/wire/zpl"
)

// sample has what ZPL has, and entries that no gossip node knows.
const sample = `#   Notes that stay
server
    timeout = 12345     #  Milliseconds
    workdir = "/tmp"
#   About the next
unknown/section
    deep
        deeper = 'a "quoted" value'
        with-hash = "no # comment"
    unquoted = several words here   # and a comment
    empty
$odd@name.&+_-1 = '$'
zgossip
    echo = I am up
    bind
        endpoint = tcp://127.0.0.1:*
`

// items lists a configuration as the C program does.
func items(it *zpl.Item, level int) string {
	var b strings.Builder
	for _, c := range it.Items {
		fmt.Fprintf(&b, "%d\t%s\t%s\n", level, c.Name, c.Value)
		b.WriteString(items(c, level+1))
	}
	return b.String()
}

// zconfig has CZMQ load a file and save it as another.
func zconfig(t *testing.T, in, out string) string {
	t.Helper()
	text, err := exec.Command(program, "config", in, out).CombinedOutput()
	if err != nil {
		t.Fatalf("zconfig does not load it: %v: %s", err, text)
	}
	return string(text)
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func parse(t *testing.T, file string) *zpl.Item {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	root, err := zpl.Parse(text)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return root
}

// TestConfigBothWays reads a text with both, and what each has written with the
// other.
func TestConfigBothWays(t *testing.T) {
	file := write(t, sample)
	root := parse(t, file)
	want := items(root, 1)
	if !strings.Contains(want, "3\tdeeper\ta \"quoted\" value\n") {
		t.Fatalf("read as:\n%s", want)
	}
	theirs := filepath.Join(t.TempDir(), "theirs")
	if got := zconfig(t, file, theirs); got != want {
		t.Fatalf("CZMQ reads:\n%swe read:\n%s", got, want)
	}
	text, err := root.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := zconfig(t, write(t, string(text)), theirs); got != want {
		t.Fatalf("CZMQ reads what we wrote as:\n%swe read:\n%s", got, want)
	}
	// zconfig cannot read back a value with double quotes that it wrote itself.
	plain := write(t, strings.ReplaceAll(sample, `'a "quoted" value'`, `"quoted"`))
	want = zconfig(t, plain, theirs)
	if got := items(parse(t, theirs), 1); got != want {
		t.Fatalf("we read what CZMQ wrote as:\n%swant:\n%s", got, want)
	}
}

// TestSaveAndLoad has each kind of node load what the other saved.
func TestSaveAndLoad(t *testing.T) {
	for i, from := range kinds {
		to := kinds[1-i]
		t.Run(from.name+" saves, "+to.name+" loads", func(t *testing.T) {
			first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
			a := from.start(t)
			a.load(write(t, strings.ReplaceAll(sample, `'a "quoted" value'`, `"quoted"`)))
			a.set("server/timeout", "4321")
			a.set("made/by/set", "yes")
			a.save(first)
			b := to.start(t)
			b.load(first)
			b.save(second)
			got := parse(t, second)
			if want := items(parse(t, first), 1); items(got, 1) != want {
				t.Errorf("loaded and saved:\n%swant:\n%s", items(got, 1), want)
			}
			for path, want := range map[string]string{
				"server/timeout": "4321", "server/workdir": "/tmp", "made/by/set": "yes", "zgossip/bind/endpoint": anyPort,
			} {
				if v := got.Get(path, "(none)"); v != want {
					t.Errorf("%s is %q, want %q", path, v, want)
				}
			}
		})
	}
}

// TestCertBothWays has CZMQ load what zpipes keygen makes, and zpipes what CZMQ saves.
func TestCertBothWays(t *testing.T) {
	file, public := keygen(t)
	theirs := filepath.Join(t.TempDir(), "theirs")
	out, err := exec.Command(program, "cert", file, theirs).Output()
	if err != nil {
		t.Fatalf("zcert does not load it: %v", err)
	}
	for _, f := range []string{file, theirs} {
		gotPublic, gotSecret, err := zgossip.ReadCert(f)
		if err != nil || gotPublic != public || gotPublic+"\n"+gotSecret+"\n" != string(out) {
			t.Errorf("%s has %q and a secret key, %v; CZMQ says\n%s", f, gotPublic, err, out)
		}
	}
	// Who has the public file alone gets no secret.
	if err := os.Remove(file + "_secret"); err != nil {
		t.Fatal(err)
	}
	if got, secret, err := zgossip.ReadCert(file); err != nil || got != public || secret != "" {
		t.Errorf("the public file has %q and %q, %v", got, secret, err)
	}
}

// TestCurveWithCZMQ has a client made of CZMQ's sockets and certificates connect.
// (Debian's CZMQ has no CURVE in its zgossip actor.)
func TestCurveWithCZMQ(t *testing.T) {
	public, secret, err := zmq.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	stranger, _, err := zmq.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	o := startOurNode(t, zgossip.Config{})
	o.check(o.node.SetPublicKey(public))
	o.check(o.node.SetSecretKey(secret))
	o.check(o.node.SetZAPDomain("TEST"))
	at := o.bind(anyPort)
	o.publish("key", "value")
	for _, c := range []struct{ name, key, want string }{
		{"right key", public, strings.ToUpper(strings.ReplaceAll(aTuple, " ", "")) + "\n"},
		{"wrong key", stranger, ""},
	} {
		out, err := exec.Command(program, "curve", at, c.key).Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != c.want {
			t.Errorf("%s: got %q, want %q", c.name, out, c.want)
		}
	}
	// The wrong key came later, and told nothing.
	if got, _, err := o.node.Get("told"); err != nil || got != public {
		t.Errorf("told %q, %v, want %q", got, err, public)
	}
	if n := o.status(); n != 2 {
		t.Errorf("STATUS %d, want 2", n)
	}
}
