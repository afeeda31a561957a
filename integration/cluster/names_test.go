// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// What a command does to a name on one host, the next command sees on any.
func TestNames(t *testing.T) {
	hosts := newCluster(t, 3)
	const gone = "No such file or directory"
	steps := []struct{ do, see, want string }{
		{"mkfifo -m 640 $ZP/p", "stat -c %a $ZP/p; ls $ZP", "640\np\n"},
		{"chmod 600 $ZP/p", "stat -c %a $ZP/p", "600\n"},
		{"chown 1:2 $ZP/p", "stat -c %u:%g $ZP/p", "1:2\n"},
		{"setfattr -n user.zpipes.mode -v fanout $ZP/p", "getfattr --only-values -n user.zpipes.mode $ZP/p 2>/dev/null", "fanout"},
		{"mkdir $ZP/d", "ls $ZP; ls $ZP/d", "d\np\n"},
		{"mv $ZP/p $ZP/d/q", "ls $ZP $ZP/d | tr '\\n' ' '; stat $ZP/p 2>&1 | grep -c '" + gone + "'", "/mnt/zp: d  /mnt/zp/d: q 1\n"},
		{"touch $ZP/d/r", "ls $ZP/d", "q\nr\n"},
		{"rm $ZP/d/q", "stat $ZP/d/q 2>&1 | grep -c '" + gone + "'; ls $ZP/d", "1\nr\n"},
		{"rmdir $ZP/d 2>&1 | grep -c 'not empty'", "ls $ZP/d", "r\n"},
		{"rm -r $ZP/d", "ls $ZP; stat $ZP/d/r 2>&1 | grep -c '" + gone + "'", "1\n"},
		{"zpipes create --mode exclusive -p a/b/c", "getfattr --only-values -n user.zpipes.mode $ZP/a/b/c 2>/dev/null", "exclusive"},
		{"zpipes rm a/b/c && rmdir $ZP/a/b $ZP/a", "ls $ZP; zpipes ls", ""},
	}
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	for round := range 5 {
		for _, step := range steps {
			order := rnd.Perm(len(hosts))
			doer := hosts[order[0]]
			if r := doer.Run(soon, step.do); r.Status != "exit 0" || r.Stderr != "" {
				t.Fatalf("round %d: %s on %s: %v", round, step.do, doer.Name, r)
			}
			for _, i := range order[1:] {
				if r := hosts[i].Run(soon, step.see); r.Stdout != step.want {
					t.Fatalf("round %d: after %q on %s, %q on %s: want %q, got %v", round, step.do, doer.Name, step.see, hosts[i].Name, step.want, r)
				}
			}
		}
	}
}

// One of many that make the same name does, and the others are told.
func TestNameIsMadeOnce(t *testing.T) {
	players := newPlayers(t, newCluster(t, 3))
	for round := range 100 {
		var calls []*call
		for _, p := range players {
			calls = append(calls, p.begin(mkfifo(fmt.Sprint("n", round))))
		}
		made := 0
		for _, c := range calls {
			switch res := c.result(soon); res.Errno {
			case "":
				made++
			case "EEXIST":
			default:
				t.Errorf("%s: %s", c, res.Errno)
			}
		}
		if made != 1 {
			t.Errorf("round %d: %d hosts made the name", round, made)
		}
	}
}

// Names outlive brokers, and all of them at once.
func TestNamesOutliveBrokers(t *testing.T) {
	hosts := newFragile(t, 3)
	for _, h := range hosts {
		want(t, h.Run(soon, "mkdir $ZP/"+h.Name+" && mkfifo -m 600 $ZP/"+h.Name+"/p"), "")
	}
	const all = "h1/p 600\nh2/p 600\nh3/p 600\n"
	const see = `cd $ZP && stat -c '%n %a' h1/p h2/p h3/p`
	want(t, hosts[1].Run(soon, "ls -R $ZP >/dev/null; "+see), all)
	hosts[0].Kill()
	want(t, hosts[1].Run(soon, see), all)
	hosts[0].Again()
	want(t, hosts[0].Run(soon, see), all)
	for _, h := range hosts {
		h.Stop()
	}
	for _, h := range hosts {
		h.Again()
	}
	for _, h := range hosts {
		if !lab.Until(failureTimeout()+soon, func() bool { return h.Run(soon, see).Stdout == all }) {
			t.Errorf("%s: after all brokers were stopped: %v", h.Name, h.Run(soon, see))
		}
	}
}

// A partition's halves both make names; afterwards every host has them all.
func TestPartitionHeals(t *testing.T) {
	hosts := newFragile(t, 3)
	c := hosts[2]
	want(t, c.Run(soon, "mkfifo $ZP/before $ZP/removed"), "")
	for _, h := range hosts { // so that all know of them
		want(t, h.Run(soon, "ls $ZP"), "before\nremoved\n")
	}
	c.Cut()
	// Each half does its own as soon as it has given the other up.
	if !lab.Until(failureTimeout()+soon, func() bool { return hosts[0].Run(soon, "mkfifo $ZP/majority").Status == "exit 0" }) {
		t.Fatal("two of three cannot make a name")
	}
	if !lab.Until(failureTimeout()+soon, func() bool { return c.Run(soon, "mkfifo $ZP/minority").Status == "exit 0" }) {
		t.Fatal("one of three cannot make a name")
	}
	want(t, hosts[1].Run(soon, "rm $ZP/removed"), "")
	c.Heal()
	const all = "before\nmajority\nminority\n"
	for _, h := range hosts {
		if !lab.Until(30*time.Second, func() bool { return h.Run(soon, "ls $ZP").Stdout == all }) {
			t.Errorf("%s: want %q, have %v", h.Name, all, h.Run(soon, "ls $ZP"))
		}
	}
	r, w := newPlayer(t, hosts[0]), newPlayer(t, c)
	for _, name := range []string{"before", "majority", "minority"} {
		rfd, wfd := meet(r, w, name)
		w.must(write(wfd, name))
		if res := r.must(read(rfd, 100)); string(res.Data) != name {
			t.Errorf("%s: read %q", name, res.Data)
		}
	}
}
