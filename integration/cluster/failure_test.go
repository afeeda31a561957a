// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// How a host can fail. Of a broker that is killed its peers' connections tell;
// a host without power, or whose cable is cut, is silent.
var deaths = []struct {
	name string
	die  func(h *lab.Host)
}{
	{"killed", func(h *lab.Host) { h.Kill() }},
	{"cut off", func(h *lab.Host) { h.Cut() }},
	{"stopped", func(h *lab.Host) { _ = syscall.Kill(h.PID(), syscall.SIGSTOP) }},
}

// die lets a host fail and brings back what has to end with the test.
func die(t *testing.T, h *lab.Host, how func(*lab.Host)) (when time.Time) {
	t.Helper()
	pid := h.PID()
	how(h)
	when = time.Now()
	t.Cleanup(func() {
		if h.PID() == pid {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it is ours: the lab's
		}
	})
	return when
}

// within requires that what the failure brings about came in time.
func within(t *testing.T, what string, since time.Time) {
	t.Helper()
	took := time.Since(since)
	t.Logf("%s after %v", what, took.Round(time.Millisecond))
	if limit := failureTimeout() + time.Second; took > limit {
		t.Errorf("%s after %v, want it within %v", what, took.Round(time.Millisecond), limit)
	}
}

// The bytes that arrived, then EIO, once: never a clean end of file.
func TestWritersHostDies(t *testing.T) {
	for _, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			hosts := newFragile(t, 2)
			r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
			r.must(mkfifo("p"))
			rfd, wfd := meet(r, w, "p")
			const size, taken, seed = 300_000, 100_000, 8
			w.must(stream(wfd, size, seed))
			if res := r.must(drain(rfd, taken)); res.Sum != actor.PatternSum(seed, 0, taken) {
				t.Errorf("the first %d bytes are others", taken)
			}
			since := die(t, hosts[1], death.die)
			res := r.begin(drain(rfd, everything)).result(failureTimeout() + soon)
			within(t, fmt.Sprintf("%d more bytes and %s", res.Ret, res.Errno), since)
			if res.Errno != "EIO" || res.Ret > size-taken || res.Sum != actor.PatternSum(seed, taken, res.Ret) {
				t.Errorf("want what had arrived and EIO, got %d bytes, %q", res.Ret, res.Errno)
			}
			if res := r.do(read(rfd, 100)); res.Ret != 0 || res.Errno != "" {
				t.Errorf("after EIO: %d %s", res.Ret, res.Errno)
			}
		})
	}
}

// A reader that waits for bytes learns that none will come.
func TestWritersHostDiesIdle(t *testing.T) {
	for _, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			hosts := newFragile(t, 3)
			r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
			r.must(mkfifo("p"))
			rfd, _ := meet(r, w, "p")
			reading := r.begin(read(rfd, 100))
			reading.blocks()
			since := die(t, hosts[1], death.die)
			if res := reading.result(failureTimeout() + soon); res.Errno != "EIO" {
				t.Errorf("want EIO, got %d %q", res.Ret, res.Errno)
			}
			within(t, "EIO", since)
		})
	}
}

func TestReadersHostDies(t *testing.T) {
	for _, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			hosts := newFragile(t, 2)
			r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
			r.must(mkfifo("p"))
			rfd, wfd := meet(r, w, "p")
			writing := w.begin(stream(wfd, everything, 9))
			r.must(drain(rfd, 1<<20))
			writing.blocks()
			since := die(t, hosts[0], death.die)
			if res := writing.result(failureTimeout() + soon); res.Errno != "EPIPE" {
				t.Errorf("want EPIPE, got %d %q", res.Ret, res.Errno)
			}
			within(t, "EPIPE", since)
			// The name lives, and so does the pipe for who is left.
			next := w.begin(open("p", unix.O_RDONLY))
			w.must(closing(w.eventually("", open("p", unix.O_WRONLY|unix.O_NONBLOCK)).Ret))
			if res := next.result(soon); res.Errno != "" {
				t.Errorf("the pipe's next reader: %s", res.Errno)
			}
		})
	}
}

// What a program on a dead host had not read goes to the pipe's other readers,
// and nothing comes twice to those that live.
func TestOneOfTwoReadersDies(t *testing.T) {
	const size, seed, taken = 32 << 20, 13, 64 << 10
	hosts := newFragile(t, 3)
	players := newPlayers(t, hosts)
	r, doomed, w := players[0], players[1], players[2]
	w.must(mkfifo("p"))
	rfd, wfd := meet(r, w, "p")
	dfd := doomed.must(open("p", unix.O_RDONLY)).Ret
	writing := w.begin(stream(wfd, size, seed))
	doomed.must(drain(dfd, taken))
	counting := r.begin(actor.Request{Op: "count_bytes", FD: int(rfd)})
	hosts[1].Kill()
	if res := writing.result(failureTimeout() + aWhile); res.Errno != "" {
		t.Errorf("the writer has a reader left, but got %s", res.Errno)
	}
	w.must(closing(wfd))
	res := counting.result(aWhile)
	if res.Errno != "" {
		t.Fatalf("the reader that lives got %s", res.Errno)
	}
	var got [256]int
	if total := addCounts(t, &got, res.Text); total < size-taken || total > size {
		t.Errorf("of %d bytes, %d of which the other had read, came %d", size, taken, total)
	}
	for b, n := range countsOf(size, seed) {
		if got[b] > n {
			t.Errorf("byte %d came %d times and was written %d times", b, got[b], n)
		}
	}
}

// Whichever host pairs a pipe's ends, its death does not touch them: of so
// many names some have their home on each host.
func TestHomeDies(t *testing.T) {
	hosts := newFragile(t, 3)
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	const pipes = 20
	var rfds, wfds [pipes]int64
	for i := range pipes {
		name := fmt.Sprint("p", i)
		r.must(mkfifo(name))
		rfds[i], wfds[i] = meet(r, w, name)
	}
	check := func(when string) {
		t.Helper()
		for i := range pipes {
			w.must(write(wfds[i], when))
			if res := r.must(read(rfds[i], 100)); string(res.Data) != when {
				t.Errorf("pipe %d %s: %q", i, when, res.Data)
			}
		}
	}
	check("before")
	hosts[2].Kill()
	check("at once")
	if !lab.Until(failureTimeout()+soon, func() bool { return w.host.Run(soon, "zpipes status | grep -qw h3").Status != "exit 0" }) {
		t.Error("h3 is not noticed to be dead")
	}
	check("after")
	// The new home knows of the ends: it pairs more with them, and sees their end.
	for i := range pipes {
		more := w.eventually("", open(fmt.Sprint("p", i), unix.O_WRONLY|unix.O_NONBLOCK)).Ret
		w.must(closing(wfds[i]))
		w.must(write(more, "more"))
		if res := r.must(read(rfds[i], 100)); string(res.Data) != "more" {
			t.Errorf("pipe %d: %q of a new writer", i, res.Data)
		}
		w.must(closing(more))
		if res := r.must(read(rfds[i], 100)); res.Ret != 0 {
			t.Errorf("pipe %d: no end of file: %q", i, res.Data)
		}
	}
	hosts[2].Again()
	third := newPlayer(t, hosts[2])
	for i := range pipes {
		fd := third.eventually("", open(fmt.Sprint("p", i), unix.O_WRONLY|unix.O_NONBLOCK)).Ret
		third.must(write(fd, "again"))
		if res := r.eventuallyReads(rfds[i]); res != "again" {
			t.Errorf("pipe %d: %q from the host that is back", i, res)
		}
	}
}

// eventuallyReads reads past the end that an earlier writer left.
func (p *player) eventuallyReads(fd int64) string {
	p.t.Helper()
	var res actor.Result
	lab.Until(soon, func() bool {
		res = p.must(read(fd, 100))
		return res.Ret > 0
	})
	return string(res.Data)
}

// An outage shorter than the failure timeout costs time, not bytes.
func TestOutages(t *testing.T) { outages(t, newFragile(t, 2), 256<<20) }

func TestSoakOutages(t *testing.T) {
	if os.Getenv("ZPIPES_SOAK") == "" {
		t.Skip("TestOutages is the short of it")
	}
	outages(t, newFragile(t, 2), 1<<30)
}

// outages cuts the cable three times while bytes flow.
func outages(t *testing.T, hosts []*lab.Host, size int64) {
	const seed = 10
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	r.must(mkfifo("p"))
	rfd, wfd := meet(r, w, "p")
	writing := w.begin(stream(wfd, size, seed))
	pattern := actor.Pattern(seed)
	take := func(n int64, c *call) {
		t.Helper()
		res := c.result(aWhile)
		if res.Ret != n || res.Errno != "" {
			t.Fatalf("%s: %d bytes, %s", c, res.Ret, res.Errno)
		}
		if res.Sum != sumOf(pattern, n) {
			t.Fatalf("%s: other bytes than were written", c)
		}
	}
	for range 3 {
		take(size/4, r.begin(drain(rfd, size/4)))
		hosts[0].Cut()
		rest := r.begin(drain(rfd, 8<<20)) // more than can be here
		outage := time.NewTimer(failureTimeout() / 2)
		<-outage.C
		select {
		case res := <-rest.answer:
			t.Fatalf("through a cable that is cut came %d bytes, %s", res.Ret, res.Errno)
		default:
		}
		hosts[0].Heal()
		take(8<<20, rest)
	}
	take(size/4-3*(8<<20), r.begin(drain(rfd, size/4-3*(8<<20))))
	if res := writing.result(aWhile); res.Ret != size || res.Errno != "" {
		t.Errorf("wrote %d bytes, %s", res.Ret, res.Errno)
	}
	w.must(closing(wfd))
	if res := r.must(read(rfd, 100)); res.Ret != 0 {
		t.Errorf("%d bytes too many", res.Ret)
	}
}

// sumOf is the sum that the actor gives of the next n bytes of a pattern.
func sumOf(pattern *rand.ChaCha8, n int64) string {
	h := sha256.New()
	for block := make([]byte, 1<<20); n > 0; {
		part := block[:min(n, int64(len(block)))]
		_, _ = pattern.Read(part) // it cannot fail
		h.Write(part)
		n -= int64(len(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// A longer outage is the other host's death to each, and heals.
func TestLongOutage(t *testing.T) {
	hosts := newFragile(t, 2)
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	r.must(mkfifo("p"))
	rfd, wfd := meet(r, w, "p")
	reading, writing := r.begin(drain(rfd, everything)), w.begin(stream(wfd, everything, 11))
	r.must(mkfifo("q"))
	hosts[0].Cut()
	since := time.Now()
	if res := reading.result(failureTimeout() + soon); res.Errno != "EIO" {
		t.Errorf("the reader: %d %q", res.Ret, res.Errno)
	}
	within(t, "EIO", since)
	if res := writing.result(failureTimeout() + soon); res.Errno != "EPIPE" {
		t.Errorf("the writer: %d %q", res.Ret, res.Errno)
	}
	within(t, "EPIPE", since)
	r.must(closing(rfd))
	w.must(closing(wfd))
	hosts[0].Heal()
	opening := r.begin(open("q", unix.O_RDONLY))
	qfd := w.begin(open("q", unix.O_WRONLY)).result(30 * time.Second).Ret
	w.must(write(qfd, "healed"))
	if res := r.must(read(opening.result(soon).Ret, 100)); string(res.Data) != "healed" {
		t.Errorf("afterwards: %q %s", res.Data, res.Errno)
	}
}

// Packets that are lost cost time alone.
func TestPacketLoss(t *testing.T) {
	hosts := newCluster(t, 3)
	hosts[0].Netem("loss 1%")
	players := newPlayers(t, hosts)
	var all sync.WaitGroup
	for i, pair := range [][2]*player{{players[0], players[1]}, {players[1], players[0]}, {players[2], players[0]}} {
		name := fmt.Sprint("lossy", i)
		pair[0].must(mkfifo(name))
		rfd, wfd := meet(pair[0], pair[1], name)
		const size = 8 << 20
		writing, reading := pair[1].begin(stream(wfd, size, 12)), pair[0].begin(drain(rfd, size))
		all.Go(func() {
			for _, c := range []*call{writing, reading} {
				if res, err := c.await(2 * aWhile); err != nil || res.Ret != size || res.Sum != actor.PatternSum(12, 0, size) {
					t.Errorf("%s: %d bytes %s, %v", c, res.Ret, res.Errno, err)
				}
			}
		})
	}
	all.Wait()
}

// A host that leaves in good order takes leave: the others are told at once what they
// would be told of one that died. Its writers have not closed, also if they end because
// their broker does; of those that had, what they left is read, and then the end.
func TestHostLeaves(t *testing.T) {
	hosts := newCluster(t, 2) // this profile would need many seconds to notice a death
	a, b := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	for _, name := range []string{"there", "back", "closed", "full", "program"} {
		a.must(mkfifo(name))
	}
	rfd, wfd := meet(a, b, "there")
	_, back := meet(b, a, "back")
	closedR, closedW := meet(a, b, "closed")
	fullR, fullW := meet(a, b, "full")
	yes := hosts[1].Start("exec yes >$ZP/program")
	program := a.must(open("program", unix.O_RDONLY)).Ret
	yes.AwaitBlocked(1, lab.Write)
	writing := b.begin(stream(fullW, everything, 14))
	writing.blocks()
	b.must(write(closedW, "closed"))
	b.must(closing(closedW))
	b.must(write(wfd, "last"))
	leaving := make(chan struct{})
	go func() {
		defer close(leaving)
		hosts[1].Stop()
	}()
	if res := a.must(read(closedR, 100)); string(res.Data) != "closed" {
		t.Errorf("what a closed writer has left: %q", res.Data)
	}
	<-leaving
	left := time.Now()
	if res := a.do(read(closedR, 100)); res.Ret != 0 || res.Errno != "" {
		t.Errorf("after a closed writer: %q %s", res.Data, res.Errno)
	}
	if res := a.must(read(rfd, 100)); string(res.Data) != "last" {
		t.Errorf("what an open writer has written: %q", res.Data)
	}
	for name, fd := range map[string]int64{"an open writer": rfd, "a blocked writer": fullR, "a program that ended of it": program} {
		if res := a.do(drain(fd, everything)); res.Errno != "EIO" {
			t.Errorf("%s: %d bytes and %q, want EIO", name, res.Ret, res.Errno)
		}
		if res := a.do(read(fd, 100)); res.Ret != 0 || res.Errno != "" {
			t.Errorf("%s, after EIO: %q %s", name, res.Data, res.Errno)
		}
	}
	a.refused("EPIPE", write(back, "x"))
	if took := time.Since(left); took > 2*time.Second {
		t.Errorf("others learned of the leave after %v", took)
	}
	if res := writing.result(soon); res.Errno == "" { // which one tells whether it wrote again when the mount had gone
		t.Error("the blocked writer goes on")
	}
	if !yes.Wait(soon) {
		t.Error(yes.Describe())
	}
	hosts[1].Again()
	want(t, hosts[1].Run(soon, "ls $ZP"), "back\nclosed\nfull\nprogram\nthere\n")
}

// Hosts with another key, or none, stay outside.
func TestWrongKey(t *testing.T) {
	hosts := newFragile(t, 2)
	b := hosts[1]
	b.Stop()
	other := lab.Dir(t) + "/key"
	want(t, b.Run(soon, "zpipes keygen "+other+" >/dev/null"), "")
	b.Again("--key", other)
	want(t, hosts[0].Run(soon, "mkfifo $ZP/secret"), "")
	outside := time.NewTimer(failureTimeout())
	<-outside.C
	want(t, b.Run(soon, "ls $ZP"), "")
	for _, h := range hosts {
		if !lab.Until(soon, func() bool { return warnsOf(h, "key") }) {
			t.Errorf("the log of %s does not tell of a wrong key", h.Name)
		}
	}
	b.Stop()
	b.Again()
	if !lab.Until(soon, func() bool { return b.Run(soon, "ls $ZP").Stdout == "secret\n" }) {
		t.Error("with the right key it does not get in again")
	}
}

// warnsOf tells whether the broker has logged a warning or an error with the word.
func warnsOf(h *lab.Host, word string) bool {
	for line := range strings.Lines(h.Log()) {
		if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && strings.Contains(line, word) {
			return true
		}
	}
	return false
}
