// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// TestEnds is what fifo(7) and pipe(7) say of two ends, on two hosts.
func TestEnds(t *testing.T) {
	hosts := newCluster(t, 3)
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, hosts []*lab.Host)
	}{
		{"open waits", openWaits}, {"end of file", endOfFile}, {"broken pipe", brokenPipe}, {"SIGPIPE", sigpipe},
		{"no reader", noReader}, {"poll", pollStates}, {"full pipe", fullPipe}, {"exclusive", exclusive},
		{"unread bytes stay", unreadStay}, {"interrupted", interrupted},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, hosts) })
	}
}

func openWaits(t *testing.T, hosts []*lab.Host) {
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	w.must(mkfifo("waits"))
	for _, order := range [][2]actor.Request{
		{open("waits", unix.O_RDONLY), open("waits", unix.O_WRONLY)},
		{open("waits", unix.O_WRONLY), open("waits", unix.O_RDONLY)},
	} {
		first := r.begin(order[0])
		first.blocks()
		second := w.must(order[1])
		w.must(closing(second.Ret))
		r.must(closing(first.result(soon).Ret))
	}
}

func endOfFile(t *testing.T, hosts []*lab.Host) {
	r, w, other := newPlayer(t, hosts[0]), newPlayer(t, hosts[1]), newPlayer(t, hosts[2])
	w.must(mkfifo("eof"))
	rfd, wfd := meet(r, w, "eof")
	second := other.must(open("eof", unix.O_WRONLY))
	w.must(write(wfd, "one"))
	w.must(closing(wfd))
	if res := r.must(read(rfd, 100)); string(res.Data) != "one" {
		t.Errorf("read %q", res.Data)
	}
	// There still is a writer.
	waits := r.begin(read(rfd, 100))
	waits.blocks()
	other.must(closing(second.Ret))
	if res := waits.result(soon); res.Ret != 0 || res.Errno != "" {
		t.Errorf("after the last writer: %d %s", res.Ret, res.Errno)
	}
	// A reader that stays reads what the next writer writes.
	third := other.must(open("eof", unix.O_WRONLY))
	other.must(write(third.Ret, "two"))
	if res := r.must(read(rfd, 100)); string(res.Data) != "two" {
		t.Errorf("of the next writer: %d %q", res.Ret, res.Data)
	}
}

func brokenPipe(t *testing.T, hosts []*lab.Host) {
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	w.must(mkfifo("epipe"))
	rfd, wfd := meet(r, w, "epipe")
	w.must(write(wfd, "taken"))
	writing := w.begin(stream(wfd, everything, 1))
	writing.blocks()
	r.must(closing(rfd))
	if res := writing.result(soon); res.Errno != "EPIPE" {
		t.Errorf("the blocked write: %d %s", res.Ret, res.Errno)
	}
	w.refused("EPIPE", write(wfd, "late"))
}

// A program that writes dies of SIGPIPE when the reader's process is killed.
func sigpipe(t *testing.T, hosts []*lab.Host) {
	want(t, hosts[0].Run(soon, "mkfifo $ZP/sigpipe"), "")
	reader := hosts[0].Start("exec 3<$ZP/sigpipe; head -c 1000000 <&3 >/dev/null; exec sleep 1000")
	writer := hosts[1].Start("exec yes >$ZP/sigpipe")
	writer.AwaitBlocked(1, lab.Write)
	reader.Kill()
	if !writer.Wait(soon) {
		t.Fatal(writer.Describe())
	}
	if r := writer.Result(); r.Status != "signal: broken pipe" {
		t.Errorf("yes: %v", r)
	}
}

func noReader(t *testing.T, hosts []*lab.Host) {
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	w.must(mkfifo("enxio"))
	w.refused("ENXIO", open("enxio", unix.O_WRONLY|unix.O_NONBLOCK))
	rfd := r.must(open("enxio", unix.O_RDONLY|unix.O_NONBLOCK)).Ret
	if res := r.must(read(rfd, 100)); res.Ret != 0 {
		t.Errorf("read without a writer: %d", res.Ret)
	}
	wfd := w.must(open("enxio", unix.O_WRONLY|unix.O_NONBLOCK)).Ret
	r.eventually("EAGAIN", read(rfd, 100))
	w.must(write(wfd, "hello"))
	if res := r.eventually("", read(rfd, 100)); string(res.Data) != "hello" {
		t.Errorf("read %q", res.Data)
	}
	r.must(closing(rfd))
	w.must(closing(wfd))
	w.eventually("ENXIO", open("enxio", unix.O_WRONLY|unix.O_NONBLOCK))
}

func pollStates(t *testing.T, hosts []*lab.Host) {
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	w.must(mkfifo("poll"))
	rfd := r.must(open("poll", unix.O_RDONLY|unix.O_NONBLOCK)).Ret
	polls := func(p *player, fd int64, wait time.Duration, want int64) {
		t.Helper()
		res := p.must(actor.Request{Op: "poll", FD: int(fd), Args: []int64{unix.POLLIN | unix.POLLOUT, wait.Milliseconds()}})
		if res.Values[0] != want {
			t.Errorf("%s polls %#x, want %#x", p.host.Name, res.Values[0], want)
		}
	}
	polls(r, rfd, 0, 0)
	wfd := w.must(open("poll", unix.O_WRONLY)).Ret
	polls(w, wfd, soon/2, unix.POLLOUT)
	polls(r, rfd, 100*time.Millisecond, 0)
	woken := r.begin(actor.Request{Op: "poll", FD: int(rfd), Args: []int64{unix.POLLIN, soon.Milliseconds()}})
	w.must(write(wfd, "x"))
	if res := woken.result(soon); res.Values[0] != unix.POLLIN {
		t.Errorf("the poll that waits for bytes: %#x", res.Values)
	}
	r.must(read(rfd, 1))
	w.must(closing(wfd))
	polls(r, rfd, soon/2, unix.POLLHUP)
	wfd = w.must(open("poll", unix.O_WRONLY)).Ret
	broken := w.begin(actor.Request{Op: "poll", FD: int(wfd), Args: []int64{0, soon.Milliseconds()}})
	r.must(closing(rfd))
	if res := broken.result(soon); res.Values[0] != unix.POLLERR {
		t.Errorf("the writer's poll when the reader closes: %#x", res.Values)
	}
}

// A pipe that nobody reads takes a bounded number of bytes, wherever its ends are.
func fullPipe(t *testing.T, hosts []*lab.Host) {
	r, w := newPlayer(t, hosts[0]), newPlayer(t, hosts[1])
	w.must(mkfifo("full"))
	rfd, wfd := meet(r, w, "full")
	w.must(actor.Request{Op: "nonblock", FD: int(wfd), Args: []int64{1}})
	var total int64
	lab.Until(2*time.Second, func() bool { // room may come when bytes have travelled
		res := w.do(actor.Request{Op: "fill", FD: int(wfd), Args: []int64{65536, 1}})
		total += res.Ret
		return false
	})
	if total < 65536 || total > 4<<20 {
		t.Errorf("a pipe with a capacity of 1 MiB has taken %d bytes", total)
	}
	reading := r.begin(drain(rfd, total))
	if res := reading.result(soon); res.Ret != total || res.Errno != "" {
		t.Errorf("of %d bytes came %d %s", total, res.Ret, res.Errno)
	}
	if res := w.must(actor.Request{Op: "poll", FD: int(wfd), Args: []int64{unix.POLLOUT, soon.Milliseconds() / 2}}); res.Values[0] != unix.POLLOUT {
		t.Errorf("no room after all was read: %#x", res.Values)
	}
}

func exclusive(t *testing.T, hosts []*lab.Host) {
	want(t, hosts[2].Run(soon, "zpipes create --mode exclusive mine"), "")
	r, w, other := newPlayer(t, hosts[0]), newPlayer(t, hosts[1]), newPlayer(t, hosts[2])
	rfd, wfd := meet(r, w, "mine")
	for _, p := range []*player{r, w, other} {
		p.refused("EBUSY", open("mine", unix.O_RDONLY))
		p.refused("EBUSY", open("mine", unix.O_WRONLY))
	}
	r.must(closing(rfd))
	w.must(closing(wfd))
	other.eventually("", open("mine", unix.O_RDONLY|unix.O_NONBLOCK))
	r.refused("EBUSY", open("mine", unix.O_RDONLY|unix.O_NONBLOCK))
	r.must(open("mine", unix.O_WRONLY))
}

// eventually repeats a call until it ends so: for what a close on another host
// brings about, which close(2) does not wait for.
func (p *player) eventually(errno string, r actor.Request) actor.Result {
	p.t.Helper()
	var res actor.Result
	if !lab.Until(soon, func() bool {
		res = p.do(r)
		return res.Errno == errno
	}) {
		p.t.Fatalf("%s: %s %s%v: want %q, got %d %s", p.host.Name, r.Op, r.Path, r.Args, errno, res.Ret, res.Errno)
	}
	return res
}

// What a reader leaves unread is another's, also when it is on another host.
func unreadStay(t *testing.T, hosts []*lab.Host) {
	players := newPlayers(t, hosts)
	first, second, w := players[0], players[1], players[2]
	w.must(mkfifo("stays"))
	rfd, wfd := meet(first, w, "stays")
	w.must(write(wfd, "abcdef"))
	if res := first.must(read(rfd, 2)); string(res.Data) != "ab" {
		t.Errorf("read %q", res.Data)
	}
	rfd2 := second.must(open("stays", unix.O_RDONLY)).Ret
	first.must(closing(rfd))
	var got string
	for len(got) < 4 {
		res := second.must(read(rfd2, 100))
		if res.Ret == 0 {
			break
		}
		got += string(res.Data)
	}
	if got != "cdef" {
		t.Errorf("the other reader got %q", got)
	}
}

// A process that waits for another host can be killed at once.
func interrupted(t *testing.T, hosts []*lab.Host) {
	want(t, hosts[0].Run(soon, "mkfifo $ZP/kill"), "")
	opener := hosts[1].Start("exec cat $ZP/kill")
	opener.AwaitBlocked(1, lab.Open)
	opener.Kill() // and the test fails if that does not end it
	// The reader that was killed is one no longer.
	w := newPlayer(t, hosts[2])
	w.eventually("ENXIO", open("kill", unix.O_WRONLY|unix.O_NONBLOCK))
}
