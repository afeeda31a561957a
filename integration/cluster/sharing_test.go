// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// a while is what a transfer of some MiB may take on a busy machine.
const aWhile = time.Minute

// TestSharing is who gets a byte when an end is several, on several hosts.
func TestSharing(t *testing.T) {
	hosts := newCluster(t, 3)
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, hosts []*lab.Host)
	}{
		{"writers take turns", writersTakeTurns}, {"readers compete", readersCompete}, {"fanout", fanout},
		{"late reader of a fanout", fanoutLate}, {"slow reader of a fanout", fanoutSlow},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, hosts) })
	}
}

// Writes up to PIPE_BUF from three hosts come whole, in each writer's order.
func writersTakeTurns(t *testing.T, hosts []*lab.Host) {
	const records = 2000
	players := newPlayers(t, hosts)
	r := newPlayer(t, hosts[0])
	r.must(mkfifo("records"))
	var openings []*call
	for _, w := range players {
		openings = append(openings, w.begin(open("records", unix.O_WRONLY)))
	}
	rfd := r.must(open("records", unix.O_RDONLY)).Ret
	var fds []int64
	for _, c := range openings {
		fds = append(fds, c.result(soon).Ret)
	}
	getting := r.begin(actor.Request{Op: "get_records", FD: int(rfd)})
	var putting []*call
	for i, w := range players {
		putting = append(putting, w.begin(actor.Request{Op: "put_records", FD: int(fds[i]), Args: []int64{records, int64(i), 4096}}))
	}
	for i, c := range putting {
		if res := c.result(aWhile); res.Ret != records || res.Errno != "" {
			t.Errorf("%s: %d records, %s", c, res.Ret, res.Errno)
		}
		players[i].must(closing(fds[i]))
	}
	got := getting.result(aWhile)
	if got.Errno != "" || got.Ret != int64(records*len(players)) {
		t.Fatalf("came %d records, %s", got.Ret, got.Errno)
	}
	var next [3]int64
	for _, mark := range got.Values {
		writer, number := mark>>32, mark&(1<<32-1)
		if number != next[writer] {
			t.Fatalf("of writer %d comes record %d, want %d", writer, number, next[writer])
		}
		next[writer]++
	}
}

// Readers on two hosts get each byte once between them.
func readersCompete(t *testing.T, hosts []*lab.Host) {
	const size, seed = 32 << 20, 5
	players := newPlayers(t, hosts)
	w := players[2]
	w.must(mkfifo("compete"))
	var openings []*call
	for _, r := range players[:2] {
		openings = append(openings, r.begin(open("compete", unix.O_RDONLY)))
	}
	wfd := w.must(open("compete", unix.O_WRONLY)).Ret
	var counting []*call
	for i, r := range players[:2] {
		fd := openings[i].result(soon).Ret
		counting = append(counting, r.begin(actor.Request{Op: "count_bytes", FD: int(fd)}))
	}
	if res := w.begin(stream(wfd, size, seed)).result(aWhile); res.Ret != size || res.Errno != "" {
		t.Errorf("wrote %d bytes, %s", res.Ret, res.Errno)
	}
	w.must(closing(wfd))
	var got [256]int
	for _, c := range counting {
		res := c.result(aWhile)
		if res.Errno != "" {
			t.Errorf("%s: %s", c, res.Errno)
		}
		total := addCounts(t, &got, res.Text)
		t.Logf("%s got %d bytes", c.p.host.Name, total)
	}
	if got != countsOf(size, seed) {
		t.Errorf("what came is not what was written: %v", got)
	}
}

// addCounts adds what count_bytes tells, and returns how many bytes that are.
func addCounts(t *testing.T, counts *[256]int, text string) (total int) {
	t.Helper()
	for text != "" {
		quoted, err := strconv.QuotedPrefix(text)
		var char rune
		if err == nil {
			char, _, _, err = strconv.UnquoteChar(quoted[1:], '\'')
		}
		number, rest, _ := strings.Cut(strings.TrimPrefix(text[len(quoted):], ": "), " ")
		n, errN := strconv.Atoi(number)
		if err := errors.Join(err, errN); err != nil {
			t.Fatalf("%.50q: %v", text, err)
		}
		counts[byte(char)] += n
		total += n
		text = rest
	}
	return total
}

func countsOf(size int, seed int64) (counts [256]int) {
	block := make([]byte, size)
	_, _ = actor.Pattern(seed).Read(block) // it cannot fail
	for _, b := range block {
		counts[b]++
	}
	return counts
}

// openFanout opens a fanout pipe on every player, and for writing on the last;
// all readers are there before the writer.
func openFanout(t *testing.T, players []*player, name string) (rfds []int64, wfd int64) {
	t.Helper()
	want(t, players[0].host.Run(soon, "zpipes create --mode fanout "+name), "")
	for _, p := range players {
		rfds = append(rfds, p.must(open(name, unix.O_RDONLY|unix.O_NONBLOCK)).Ret)
	}
	wfd = players[len(players)-1].must(open(name, unix.O_WRONLY)).Ret
	for i, p := range players { // until it knows of the writer a read says end of file
		p.eventually("EAGAIN", read(rfds[i], 1))
		p.must(actor.Request{Op: "nonblock", FD: int(rfds[i]), Args: []int64{0}})
	}
	return rfds, wfd
}

// Every reader gets all of a writer's bytes.
func fanout(t *testing.T, hosts []*lab.Host) {
	const size, seed = 16 << 20, 6
	players := newPlayers(t, hosts)
	rfds, wfd := openFanout(t, players, "news")
	var reading []*call
	for i, p := range players {
		reading = append(reading, p.begin(drain(rfds[i], everything)))
	}
	w := players[2]
	sent := w.begin(stream(wfd, size, seed)).result(aWhile)
	w.must(closing(wfd))
	for _, c := range reading {
		if res := c.result(aWhile); res.Ret != size || res.Sum != sent.Sum || res.Errno != "" {
			t.Errorf("%s: %d bytes %s %s, want %d bytes %s", c, res.Ret, res.Sum, res.Errno, sent.Ret, sent.Sum)
		}
	}
}

// A reader that comes late gets nothing of a writer that has begun, and all of
// the next.
func fanoutLate(t *testing.T, hosts []*lab.Host) {
	players := newPlayers(t, hosts)
	r, late, w := players[0], players[1], players[2]
	rfds, wfd := openFanout(t, []*player{r, w}, "late")
	w.must(closing(rfds[1]))
	w.must(write(wfd, "first"))
	if res := r.must(read(rfds[0], 100)); string(res.Data) != "first" {
		t.Errorf("read %q", res.Data)
	}
	lateFD := late.must(open("late", unix.O_RDONLY|unix.O_NONBLOCK)).Ret
	second := w.must(open("late", unix.O_WRONLY)).Ret
	w.must(write(wfd, "FIRST"))
	w.must(write(second, "second"))
	w.must(closing(wfd))
	w.must(closing(second))
	all := func(p *player, fd int64) (text string) {
		t.Helper()
		p.must(actor.Request{Op: "poll", FD: int(fd), Args: []int64{unix.POLLIN, soon.Milliseconds()}})
		p.must(actor.Request{Op: "nonblock", FD: int(fd), Args: []int64{0}})
		for {
			res := p.must(read(fd, 100))
			if res.Ret == 0 {
				return text
			}
			text += string(res.Data)
		}
	}
	if got := all(r, rfds[0]); got != "FIRSTsecond" && got != "secondFIRST" {
		t.Errorf("the reader of both got %q", got)
	}
	if got := all(late, lateFD); got != "second" {
		t.Errorf("the late reader got %q", got)
	}
}

// The slowest reader sets the pace; memory does not grow with it.
func fanoutSlow(t *testing.T, hosts []*lab.Host) {
	players := newPlayers(t, hosts)
	rfds, wfd := openFanout(t, players, "slow")
	fast, w := players[0], players[2]
	w.must(closing(rfds[2]))
	const size = 16 << 20
	writing := w.begin(stream(wfd, size, 7))
	reading := fast.begin(drain(rfds[0], size))
	writing.blocks()
	reading.blocks()
	slow := players[1].begin(drain(rfds[1], size))
	sent := writing.result(aWhile)
	for _, c := range []*call{reading, slow} {
		if res := c.result(aWhile); res.Ret != size || res.Sum != sent.Sum {
			t.Errorf("%s: %d bytes %s %s, want %s", c, res.Ret, res.Sum, res.Errno, sent.Sum)
		}
	}
}
