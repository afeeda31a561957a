// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// The tests of this file are faults that zbroker has.

// clock returns after at least d of the service's own time: a READ's timeout.
func (h *host) clock(t *testing.T, d time.Duration) {
	t.Helper()
	c := h.dial(t)
	c.ask(input(fmt.Sprintf("clock-%d", serial.Add(1))), inputOK)
	c.ask(readN(1, uint32(d.Milliseconds())), readTimeout)
	c.hangUp()
}

// names is how many names the broker has, the root not counted.
func (h *host) names() int { return h.broker.Usage().Names - 1 }

func TestReadPendingWhenWriterOpens(t *testing.T) {
	h := serve(t, nil)
	r, w := h.dial(t), h.dial(t)
	r.ask(input("p"), inputOK)
	r.send(readN(5, 0))
	r.silent()
	w.ask(output("p"), outputOK)
	w.ask(write("hello", 0), writeOK)
	r.expect(readOK("hello"))

	r.send(readN(5, 0))
	w.ask(closeIt, closeOK)
	r.expect(readEnd)
	r.ask(closeIt, closeOK)
	r.ask(input("q"), inputOK)
	r.send(readN(3, 0))
	r.silent()
	out := h.local(t, "q", &pipe.OpenOp{Write: true})
	defer out.Writer.Close()
	if _, err := out.Writer.Write(t.Context(), []byte("abc")); err != nil {
		t.Fatal(err)
	}
	r.expect(readOK("abc"))
}

func TestReopenWhileOtherCloses(t *testing.T) {
	h := serve(t, nil)
	r, w := h.openPair(t, "p")
	for i := range 50 {
		text := fmt.Sprint("round ", i)
		w.ask(write(text, 0), writeOK)
		// The writer goes and comes back; the reader is still at the old pipe and
		// closes it while the new one has a writer that waits.
		w.ask(closeIt, closeOK)
		w.ask(output("p"), outputOK)
		w.send(write("next", 0))
		r.ask(readN(len(text), 0), readOK(text))
		r.send(closeIt)
		w.silent()
		r.expect(closeOK)
		r.ask(input("p"), inputOK)
		w.expect(writeOK)
		r.ask(readN(4, 0), readOK("next"))
	}
}

func TestOpenAndCloseAloneLeavesNothing(t *testing.T) {
	h := serve(t, nil)
	r, w := h.dial(t), h.dial(t)
	for range 20 {
		r.ask(input("a/p"), inputOK)
		r.ask(closeIt, closeOK)
		w.ask(output("a/p"), outputOK)
		w.ask(closeIt, closeOK)
	}
	if n := h.names(); n != 0 {
		t.Fatalf("%d names are left", n)
	}
	w.ask(output("a/p"), outputOK)
	w.ask(write("x", 20), writeTimeout) // no stale reader takes it
	r.ask(input("a/p"), inputOK)
	w.ask(write("x", 0), writeOK)
	r.ask(readN(1, 0), readOK("x"))
}

func TestReadTimeoutStaysArmed(t *testing.T) {
	for name, disturb := range map[string]func(r, w *dealer){
		"by partial data":    func(_, w *dealer) { w.ask(write("ab", 0), writeOK) },
		"by an empty WRITE":  func(_, w *dealer) { w.ask(write("", 0), writeOK) },
		"by a PING":          func(r, _ *dealer) { r.silent() },
		"by a closed writer": func(_, w *dealer) { w.ask(readN(1, 0), invalid) },
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, nil)
			r, w := h.openPair(t, "p")
			start := time.Now()
			r.send(readN(4, 150))
			disturb(r, w)
			r.expect(readTimeout)
			if d := time.Since(start); d < 150*time.Millisecond {
				t.Fatalf("after %v, before its time", d)
			}
		})
	}
}

func TestPingDuringReadLeavesIt(t *testing.T) {
	h := serve(t, nil)
	r, w := h.openPair(t, "p")
	r.send(readN(4, 0))
	for range 10 {
		r.ask(ping, pingOK)
	}
	w.ask(write("data", 0), writeOK)
	r.expect(readOK("data"))
}

func TestReadOutlastsClientTimeout(t *testing.T) {
	h := serve(t, func(c *Config) { c.ClientTimeout = 400 * time.Millisecond })
	r := h.dial(t)
	r.ask(input("p"), inputOK)
	r.send(readN(5, 0))
	h.clock(t, 1000*time.Millisecond)
	w := h.dial(t)
	w.ask(output("p"), outputOK)
	w.ask(write("hello", 0), writeOK)
	r.expect(readOK("hello"))
	late := h.dial(t)
	late.ask(input("q"), inputOK)
	late.ask(readN(1, 1000), readTimeout) // answered, and the client is still known
	late.ask(closeIt, closeOK)
}

func TestMalformedTouchesNobodyElse(t *testing.T) {
	h := serve(t, func(c *Config) { c.MaxChunk = 1000 })
	r, w := h.openPair(t, "p")
	d := h.dial(t)
	signed := func(rest ...byte) []byte { return append([]byte{0xAA, 0xA0}, rest...) }
	over, err := zpipes.Limits{}.Append(nil, zpipes.Message{ID: zpipes.Write, Chunk: make([]byte, 1001)})
	must(t, err)
	bad := [][][]byte{
		{{}}, {{0}}, {{0xAA}}, {signed()}, {[]byte("hello")},
		{signed(0)}, {signed(22)}, {signed(255)},
		{signed(1)}, {signed(1, 0)}, {signed(1, 5, 'a')}, {signed(1, 1, 'a', 'b')},
		{signed(7)}, {signed(7, 0, 0, 0, 1)}, {signed(7, 0, 0, 0, 1, 0, 0, 0, 0, 0)},
		{signed(12, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)}, {signed(12, 0, 0, 0, 9, 'a')},
		{signed(16, 0)}, {signed(19, 0)}, {over},
		{{}, signed(19)}, {signed(19), {}}, {signed(19), signed(19)}, {{}, {}, {}, {}},
	}
	for i, frames := range bad {
		d.sendFrame(frames...)
		if got := d.recv(); got.ID != zpipes.Invalid {
			t.Errorf("% x: got %s, want INVALID", frames, show(got))
		}
		w.ask(write("ok", 0), writeOK)
		r.ask(readN(2, 0), readOK("ok"))
		if got := h.Stats().Malformed; got != uint64(i+1) {
			t.Errorf("after % x: %d malformed messages counted, want %d", frames, got, i+1)
		}
	}
	d.ask(input("q"), inputOK) // it is still welcome
	// An open end survives its client's nonsense, and a request under way too.
	r.send(readN(3, 0))
	r.sendFrame([]byte("junk"))
	w.ask(write("abc", 0), writeOK)
	r.expect(readOK("abc"))
	r.expect(invalid)
}

func TestOversizedFrameIsCutOff(t *testing.T) {
	h := serve(t, func(c *Config) { c.MaxChunk = 1000 })
	r, w := h.openPair(t, "p")
	d := h.dial(t)
	d.ask(output("q"), outputOK)
	d.sendFrame(make([]byte, 1<<20))
	eventually(t, "its client is dropped", func() bool { return h.Stats().Gone == 1 })
	w.ask(write("ok", 0), writeOK)
	r.ask(readN(2, 0), readOK("ok"))
}

func TestInputOnOpenReaderLeavesNothingDangling(t *testing.T) {
	h := serve(t, nil)
	r, w := h.openPair(t, "p")
	r.ask(input("p"), inputFailed("open"))
	r.ask(input("q"), inputFailed("open"))
	r.ask(output("q"), outputFailed("open"))
	r.ask(closeIt, closeOK)
	w.ask(closeIt, closeOK)
	if n := h.names(); n != 0 {
		t.Fatalf("%d names are left", n)
	}
}

func TestFlowControl(t *testing.T) {
	h := serve(t, nil)
	r, w := h.openPair(t, "p")
	const n, size = 64, 1 << 20
	random := rand.NewChaCha8([32]byte{1})
	var sent []byte
	for range n {
		chunk := make([]byte, size)
		random.Read(chunk)
		sent = append(sent, chunk...)
		w.send(zpipes.Message{ID: zpipes.Write, Chunk: chunk})
	}
	w.expect(writeOK) // the first fits
	w.silent()        // the second does not
	if held := h.broker.Usage().Buffered; held > pipe.DefaultCapacity {
		t.Fatalf("%d bytes are in a pipe of %d", held, pipe.DefaultCapacity)
	}
	for i := 0; i < len(sent); {
		m := min(len(sent)-i, 1_000_000)
		r.send(readN(m, 0))
		got := r.recv()
		if got.ID != zpipes.ReadOK || !bytes.Equal(got.Chunk, sent[i:i+m]) {
			t.Fatalf("at byte %d of %d: got %s", i, len(sent), show(got))
		}
		i += m
	}
	for range n - 1 {
		w.expect(writeOK)
	}
}

// TestReadAcrossChunks: a READ that needs more than one chunk, when the next
// does not fit beside the first.
func TestReadAcrossChunks(t *testing.T) {
	for _, sizes := range [][2]int{{700 << 10, 600 << 10}, {1 << 20, 1<<20 - 1}, {3<<20 + 7, 1 << 20}, {5 << 20, 3 << 20}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			h := serve(t, nil)
			r, w := h.openPair(t, "p")
			want, chunk := sizes[0], make([]byte, sizes[1])
			r.send(readN(want, 0))
			sent := 0
			for sent < want {
				w.send(zpipes.Message{ID: zpipes.Write, Chunk: chunk})
				sent += len(chunk)
			}
			if got := r.recv(); got.ID != zpipes.ReadOK || len(got.Chunk) != want {
				t.Fatalf("got %s, want %d octets", show(got), want)
			}
			r.ask(readN(sent-want, 0), zpipes.Message{ID: zpipes.ReadOK, Chunk: make([]byte, sent-want)})
		})
	}
}
