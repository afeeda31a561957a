// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/cluster/member"
	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// failureTimeout is in which the brokers of a fragile cluster notice that one has
// died. One that is out of reach for half of it must not be taken for dead.
func failureTimeout() time.Duration { return member.Local.FailureTimeout(3) }

// newCluster is for tests in which no host fails: a machine that is busy for a
// while must not pass for one that died.
func newCluster(t testing.TB, n int) []*lab.Host {
	t.Helper()
	return lab.Hosts(t, n, lab.HostOptions{Key: true, Flags: []string{"--profile", string(member.LAN), "--allow-other"}})
}

// newFragile is for tests in which hosts fail.
func newFragile(t testing.TB, n int) []*lab.Host {
	t.Helper()
	return lab.Hosts(t, n, lab.HostOptions{Key: true, Flags: []string{"--profile", string(member.Local)}})
}

// The first thing the README shows.
func TestMainJob(t *testing.T) {
	for name, options := range map[string]lab.HostOptions{
		"in plain text": {},
		"encrypted":     {Key: true},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := lab.Hosts(t, 2, options)
			a, b := hosts[0], hosts[1]
			want(t, a.Run(soon, "mkfifo /mnt/zp/jobs"), "")
			cat := a.Start("exec cat /mnt/zp/jobs")
			cat.AwaitBlocked(1, lab.Open)
			want(t, b.Run(soon, "echo hello > /mnt/zp/jobs"), "")
			if !cat.Wait(soon) {
				t.Fatal(cat.Describe())
			}
			want(t, cat.Result(), "hello\n")

			// The writer first, and back.
			echo := a.Start("echo world > /mnt/zp/jobs")
			want(t, b.Run(soon, "cat /mnt/zp/jobs"), "world\n")
			if !echo.Wait(soon) {
				t.Fatal(echo.Describe())
			}
			want(t, echo.Result(), "")
		})
	}
}

// ZPIPES clients and programs meet across hosts, as they do on one.
func TestDoors(t *testing.T) {
	hosts := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	for _, pair := range []struct{ name, reader, writer string }{
		{"program-client", "cat $ZP/p", "echo hello | zpipes write p"},
		{"client-program", "zpipes read p", "echo hello > $ZP/p"},
		{"client-client", "zpipes read p", "echo hello | zpipes write p"},
	} {
		t.Run(pair.name, func(t *testing.T) {
			want(t, a.Run(soon, "mkfifo $ZP/p"), "")
			reader := a.Start(pair.reader)
			want(t, b.Run(soon, pair.writer), "")
			if !reader.Wait(soon) {
				t.Fatal(reader.Describe())
			}
			want(t, reader.Result(), "hello\n")
			want(t, b.Run(soon, "rm $ZP/p"), "")
		})
	}
}

// A stream each way at once.
func TestStreams(t *testing.T) {
	hosts := newCluster(t, 2)
	const script = `
		mkfifo $ZP/$1 2>/dev/null
		head -c 64M /dev/urandom | tee >(sha256sum >$3/$1) >$ZP/$1 &
		sha256sum <$ZP/$2 >$3/$2.got
		wait`
	dir := lab.Dir(t)
	want(t, hosts[0].Run(soon, "mkfifo $ZP/there $ZP/back"), "")
	there := hosts[0].Start("set -- there back " + dir + script)
	back := hosts[1].Start("set -- back there " + dir + script)
	for _, p := range []*lab.Process{there, back} {
		if !p.Wait(time.Minute) {
			t.Fatal(p.Describe())
		}
		want(t, p.Result(), "")
	}
	want(t, lab.Run(t, soon, lab.Shell("sh", `cd `+dir+` && cmp there there.got && cmp back back.got && ls | wc -l`)), "4\n")
}

func TestStatusNamesAllHosts(t *testing.T) {
	hosts := newCluster(t, 3)
	for _, h := range hosts {
		for _, other := range hosts {
			want(t, h.Run(soon, "zpipes status | grep -qw "+other.Name), "")
		}
	}
	r, w, other := newPlayer(t, hosts[0]), newPlayer(t, hosts[1]), newPlayer(t, hosts[2])
	w.must(mkfifo("seen"))
	rfd, wfd := meet(r, w, "seen")
	ofd := other.must(open("seen", unix.O_WRONLY)).Ret
	for _, h := range hosts {
		want(t, h.Run(soon, `zpipes pipes | grep -w seen | grep -w h1 | grep -w h2 | grep -w h3 | wc -l`), "1\n")
	}
	w.must(write(wfd, "hello"))
	other.must(write(ofd, "goodbye"))
	r.must(read(rfd, 4))
	for _, h := range hosts {
		if !lab.Until(soon, func() bool {
			return h.Run(soon, `zpipes pipes | awk '$1 == "seen" { print $3, $4 }'`).Stdout == "8 12\n"
		}) {
			t.Errorf("%s does not tell of 8 bytes that are left of 12: %v", h.Name, h.Run(soon, "zpipes pipes"))
		}
	}
}
