// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// TestSeed has a test for each problem that was reported of zbroker and has to
// do with several brokers. Its clients are ZPIPES clients, as they were there.
func TestSeed(t *testing.T) {
	hosts := newCluster(t, 3)
	for _, tc := range []struct {
		name string // as the report's title
		run  func(t *testing.T, hosts []*lab.Host)
	}{
		{"rapid writer opens asserts", rapidWriterOpens},
		{"zpipes_client_new asserts on rapid open", rapidOpens},
		{"sometimes reader and writer pipes don't connect", alwaysConnect},
		{"segv on multi-broker", noCrash},
		{"zpipe reads block on closed writer", closedWriter},
		{"reader writer issue", largeReadSmallWrite},
		{"zpipes retains data for disconnected pipes", retainsNothing},
		{"pipelining broken", pipelining},
		{"client potentially loses data", smallBuffer},
		{"client API uses chunks, not a stream", chunksAndStreams},
		{"N-to-N pipe semantics undefined", manyToMany},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pids := brokers(hosts)
			tc.run(t, hosts)
			if now := brokers(hosts); !slices.Equal(now, pids) {
				t.Errorf("a broker has died: %v, were %v", now, pids)
			}
		})
	}
}

func brokers(hosts []*lab.Host) (pids []int) {
	for _, h := range hosts {
		pids = append(pids, h.PID())
	}
	return pids
}

func newDealers(t *testing.T, hosts []*lab.Host) (a, b, c *dealer) {
	t.Helper()
	return newDealer(t, hosts[0]), newDealer(t, hosts[1]), newDealer(t, hosts[2])
}

// opens repeats an open that is refused: the others may not know yet that the
// pipe's last end has closed.
func (d *dealer) opens(m zpipes.Message) {
	d.t.Helper()
	var got zpipes.Message
	if !lab.Until(soon, func() bool {
		d.send(m)
		got = d.next()
		return got.ID == m.ID+1 // INPUT-OK, OUTPUT-OK
	}) {
		d.t.Fatalf("%s: %v %s: %v %s", d.host.Name, m.ID, m.Name, got.ID, got.Reason)
	}
}

// A writer, its reader on another host, and a second writer there: the second is
// refused, has nothing, and takes nothing from the first.
func rapidWriterOpens(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	second := newDealer(t, hosts[1])
	for i := range 50 {
		name := fmt.Sprint("rapid-writer-", i)
		a.ask(output(name), zpipes.OutputOK, "")
		b.ask(input(name), zpipes.InputOK, "")
		second.send(output(name), writeChunk("from nobody"))
		second.gets(zpipes.OutputFailed, "")
		second.gets(zpipes.Invalid, "")
		a.ask(writeChunk("hello"), zpipes.WriteOK, "")
		b.ask(readChunk(5), zpipes.ReadOK, "hello")
		a.ask(closeEnd(), zpipes.CloseOK, "")
		b.ask(readChunk(5), zpipes.ReadEnd, "")
		b.ask(closeEnd(), zpipes.CloseOK, "")
	}
}

// The same in quick succession, where nobody waits for an answer: one of the
// writers is the pipe's.
func rapidOpens(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	second := newDealer(t, hosts[0])
	for i := range 100 {
		name := fmt.Sprint("rapid-", i)
		a.send(output(name))
		b.send(input(name))
		second.send(output(name))
		b.gets(zpipes.InputOK, "")
		first, loser := a.next(), second.next()
		writer := a
		if first.ID != zpipes.OutputOK {
			writer, first, loser = second, loser, first
		}
		if first.ID != zpipes.OutputOK || loser.ID != zpipes.OutputFailed {
			t.Fatalf("round %d: the two writers got %v and %v", i, first.ID, loser.ID)
		}
		writer.ask(writeChunk("hello"), zpipes.WriteOK, "")
		b.ask(readChunk(5), zpipes.ReadOK, "hello")
		writer.ask(closeEnd(), zpipes.CloseOK, "")
		b.ask(closeEnd(), zpipes.CloseOK, "")
	}
}

// A writer and a reader that open at any distance of time meet.
func alwaysConnect(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		name := fmt.Sprint("connect-", i)
		w, r := a, b
		if rnd.IntN(2) == 0 {
			w, r = b, a
		}
		opens := []func(){
			func() { t.Helper(); w.ask(output(name), zpipes.OutputOK, "") },
			func() { t.Helper(); r.ask(input(name), zpipes.InputOK, "") },
		}
		first := rnd.IntN(2)
		opens[first]()
		pause := time.NewTimer(upTo(rnd, 10*time.Millisecond))
		<-pause.C
		opens[1-first]()
		w.ask(writeChunk(name), zpipes.WriteOK, "")
		r.ask(readChunk(uint32(len(name))), zpipes.ReadOK, name)
		w.ask(closeEnd(), zpipes.CloseOK, "")
		r.ask(closeEnd(), zpipes.CloseOK, "")
	}
}

// Opens in both orders, with a read that waits, kill no broker.
func noCrash(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	for i := range 20 {
		name := fmt.Sprint("crash-", i)
		a.ask(output(name), zpipes.OutputOK, "")
		b.ask(input(name), zpipes.InputOK, "")
		b.send(readChunk(3))
		a.ask(writeChunk("abc"), zpipes.WriteOK, "")
		b.gets(zpipes.ReadOK, "abc")
		a.ask(closeEnd(), zpipes.CloseOK, "")
		b.ask(closeEnd(), zpipes.CloseOK, "")

		name += "-reader-first"
		b.ask(input(name), zpipes.InputOK, "")
		b.send(readChunk(3))
		a.ask(output(name), zpipes.OutputOK, "")
		a.ask(writeChunk("abc"), zpipes.WriteOK, "")
		b.gets(zpipes.ReadOK, "abc")
		b.ask(closeEnd(), zpipes.CloseOK, "")
		a.ask(closeEnd(), zpipes.CloseOK, "")
	}
}

func closedWriter(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	a.ask(output("closed"), zpipes.OutputOK, "")
	b.ask(input("closed"), zpipes.InputOK, "")
	a.ask(writeChunk("bye"), zpipes.WriteOK, "")
	b.ask(readChunk(3), zpipes.ReadOK, "bye")
	b.send(readChunk(1)) // waits
	a.ask(closeEnd(), zpipes.CloseOK, "")
	for range 3 {
		b.gets(zpipes.ReadEnd, "")
		b.send(readChunk(1))
	}
	b.gets(zpipes.ReadEnd, "")
}

// A large read, a small write and a close: the read gets what there is.
func largeReadSmallWrite(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	a.ask(output("large"), zpipes.OutputOK, "")
	b.ask(input("large"), zpipes.InputOK, "")
	b.send(readChunk(1_000_000))
	a.ask(writeChunk("small"), zpipes.WriteOK, "")
	a.ask(closeEnd(), zpipes.CloseOK, "")
	b.gets(zpipes.ReadOK, "small")
	b.ask(readChunk(1_000_000), zpipes.ReadEnd, "")
}

// What nobody has read goes when both ends have closed.
func retainsNothing(t *testing.T, hosts []*lab.Host) {
	a, b, c := newDealers(t, hosts)
	for _, reader := range []*dealer{a, b, c} {
		a.opens(output("retained"))
		b.opens(input("retained"))
		a.ask(writeChunk("old"), zpipes.WriteOK, "")
		b.ask(closeEnd(), zpipes.CloseOK, "")
		a.ask(closeEnd(), zpipes.CloseOK, "")

		reader.opens(input("retained"))
		writer := c
		if reader == c {
			writer = b
		}
		writer.opens(output("retained"))
		reader.send(readChunk(6))
		writer.ask(writeChunk("new"), zpipes.WriteOK, "")
		writer.ask(closeEnd(), zpipes.CloseOK, "")
		reader.gets(zpipes.ReadOK, "new")
		reader.ask(closeEnd(), zpipes.CloseOK, "")
	}
}

// Requests that are sent ahead are served in order.
func pipelining(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	b.send(input("ahead"), readChunk(3), readChunk(3), readChunk(3))
	b.gets(zpipes.InputOK, "")
	a.send(output("ahead"), writeChunk("a"), writeChunk("bcd"), writeChunk("efghi"), writeChunk("j"))
	a.gets(zpipes.OutputOK, "")
	for range 4 {
		a.gets(zpipes.WriteOK, "")
	}
	b.gets(zpipes.ReadOK, "abc")
	b.gets(zpipes.ReadOK, "def")
	b.gets(zpipes.ReadOK, "ghi")
	b.send(readChunk(3), closeEnd(), readChunk(3)) // one byte is there
	b.gets(zpipes.ReadFailed, "")
	b.gets(zpipes.CloseOK, "")
	b.gets(zpipes.Invalid, "")
	if !lab.Until(soon, func() bool { // news of a close takes a moment
		a.send(writeChunk("late"))
		return a.next().ID == zpipes.WriteFailed
	}) {
		t.Error("the writer does not learn that its reader has closed")
	}
}

// A chunk larger than what a read asks for loses nothing.
func smallBuffer(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "%05d ", i)
	}
	all := text.String()
	a.ask(output("buffer"), zpipes.OutputOK, "")
	b.ask(input("buffer"), zpipes.InputOK, "")
	a.ask(writeChunk(all), zpipes.WriteOK, "")
	a.ask(closeEnd(), zpipes.CloseOK, "")
	for rest := all; rest != ""; {
		n := min(999, len(rest))
		b.ask(readChunk(uint32(n)), zpipes.ReadOK, rest[:n])
		rest = rest[n:]
	}
	b.ask(readChunk(1), zpipes.ReadEnd, "")
}

// The sizes of writes and reads have nothing to do with each other.
func chunksAndStreams(t *testing.T, hosts []*lab.Host) {
	a, b, _ := newDealers(t, hosts)
	rnd := rand.New(rand.NewPCG(3, 4))
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(rnd.Uint32())
	}
	a.ask(output("stream"), zpipes.OutputOK, "")
	b.ask(input("stream"), zpipes.InputOK, "")
	for unsent, unread := string(block), string(block); unread != ""; {
		if ahead := len(unread) - len(unsent); unsent != "" && (ahead == 0 || ahead < 500_000 && rnd.IntN(2) == 0) {
			n := min(1+rnd.IntN(100_000), len(unsent))
			a.ask(writeChunk(unsent[:n]), zpipes.WriteOK, "")
			unsent = unsent[n:]
			continue
		}
		n := min(1+rnd.IntN(100_000), len(unread)-len(unsent))
		b.ask(readChunk(uint32(n)), zpipes.ReadOK, unread[:n])
		unread = unread[n:]
	}
}

// The semantics that the report proposes: a writer waits for a reader, each
// reader gets all that is written, and all of a writer or nothing.
func manyToMany(t *testing.T, hosts []*lab.Host) {
	a, b, c := newDealers(t, hosts)
	w, w2, late := newDealer(t, hosts[0]), newDealer(t, hosts[1]), newDealer(t, hosts[2])
	want(t, hosts[2].Run(soon, "zpipes create --mode fanout many"), "")
	w.ask(output("many"), zpipes.OutputOK, "")
	w.send(zpipes.Message{ID: zpipes.Write, Chunk: []byte("too early"), Timeout: 200})
	w.gets(zpipes.WriteTimeout, "")
	for _, r := range []*dealer{a, b, c} {
		r.ask(input("many"), zpipes.InputOK, "")
	}
	w.ask(writeChunk("one"), zpipes.WriteOK, "")
	for _, r := range []*dealer{a, b, c} {
		r.ask(readChunk(3), zpipes.ReadOK, "one")
	}
	late.ask(input("many"), zpipes.InputOK, "")
	w.ask(writeChunk("two"), zpipes.WriteOK, "")
	for _, r := range []*dealer{a, b, c} {
		r.ask(readChunk(3), zpipes.ReadOK, "two")
	}
	w2.ask(output("many"), zpipes.OutputOK, "")
	w2.ask(writeChunk("TWO"), zpipes.WriteOK, "")
	for _, r := range []*dealer{a, b, c, late} {
		r.ask(readChunk(3), zpipes.ReadOK, "TWO")
	}
}

// "No detection for unexpected disconnections": a client that is gone without a
// CLOSE has closed.
func TestSeedDisconnection(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.HostOptions{Flags: []string{"--client-timeout", "5s"}})
	b := newDealer(t, hosts[1])
	b.ask(input("gone"), zpipes.InputOK, "")
	writer := hosts[0].Start("{ echo hello; sleep 1000; } | zpipes write gone")
	b.ask(readChunk(6), zpipes.ReadOK, "hello\n")
	b.send(zpipes.Message{ID: zpipes.Read, Size: 1, Timeout: 15_000})
	writer.Kill()
	select {
	case m := <-b.frames:
		if m.ID != zpipes.ReadEnd && m.ID != zpipes.ReadFailed {
			t.Errorf("the reader got %v", m.ID)
		}
	case <-time.After(20 * time.Second):
		t.Error("the reader was told nothing")
	}
	b.ask(closeEnd(), zpipes.CloseOK, "")
	// The pipe is another's at once.
	a := newDealer(t, hosts[0])
	a.opens(output("gone"))
	b.opens(input("gone"))
	a.ask(writeChunk("again"), zpipes.WriteOK, "")
	b.ask(readChunk(5), zpipes.ReadOK, "again")
}

// "zpipes_client_read returns ambiguous results": no bytes yet, no bytes any
// more, and a writer that died are three answers.
func TestSeedAmbiguousReads(t *testing.T) {
	hosts := newFragile(t, 2)
	a, b := newDealer(t, hosts[0]), newDealer(t, hosts[1])
	a.ask(output("ambiguous"), zpipes.OutputOK, "")
	b.ask(input("ambiguous"), zpipes.InputOK, "")
	a.ask(writeChunk("ab"), zpipes.WriteOK, "")
	b.ask(zpipes.Message{ID: zpipes.Read, Size: 3, Timeout: 200}, zpipes.ReadTimeout, "")
	b.ask(readChunk(2), zpipes.ReadOK, "ab")
	b.send(readChunk(1))
	hosts[0].Kill()
	b.gets(zpipes.ReadFailed, "")
	b.ask(closeEnd(), zpipes.CloseOK, "")

	hosts[0].Again()
	again := newDealer(t, hosts[0])
	again.opens(output("ambiguous"))
	b.opens(input("ambiguous"))
	again.ask(closeEnd(), zpipes.CloseOK, "")
	b.ask(readChunk(1), zpipes.ReadEnd, "")
}

// "Lack full cluster test case": N hosts do some work.
func TestSeedFullCluster(t *testing.T) {
	const n = 6
	hosts := newCluster(t, n)
	players := newPlayers(t, hosts)
	t.Run("rounds", func(t *testing.T) {
		judge := func(r round, w, rd side, rescued bool) error { return r.perfect(w, rd, rescued) }
		rounds(t, players, judge, func(played int64) bool { return played < 200 })
	})
	t.Run("ring", func(t *testing.T) { ring(t, players) })
}

// ring has each host pass on to the next what it gets from the one before, while
// bytes go round.
func ring(t *testing.T, players []*player) {
	n := len(players)
	const laps, size = 20, 5000
	var in, out = make([]int64, n), make([]int64, n)
	for i, p := range players {
		p.must(mkfifo(fmt.Sprint("ring", i)))
	}
	for i, p := range players {
		next := players[(i+1)%n]
		in[(i+1)%n], out[i] = meet(next, p, fmt.Sprint("ring", i))
	}
	message := strings.Repeat("round", size/5)
	begin := time.Now()
	players[0].must(write(out[0], message))
	for hop := 1; hop <= laps*n; hop++ {
		p := players[hop%n]
		got := ""
		for len(got) < size { // a read shows little of what it got
			res := p.must(read(in[hop%n], 100))
			got += string(res.Data)
			if res.Ret == 0 {
				t.Fatalf("hop %d: end of file", hop)
			}
		}
		if got != message {
			t.Fatalf("hop %d: other bytes", hop)
		}
		p.must(write(out[hop%n], got))
	}
	t.Logf("%d hops of %d bytes, %v each", laps*n, size, time.Since(begin)/(laps*time.Duration(n)))
	for i, p := range players {
		p.must(closing(out[i]))
		p.must(unlinking(fmt.Sprint("ring", i)))
	}
	players[1].refused("ENOENT", open("ring0", unix.O_RDONLY))
}
