// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"fmt"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

func TestSilentClientIsDropped(t *testing.T) {
	h := serve(t, func(c *Config) { c.ClientTimeout = 200 * time.Millisecond })
	t.Run("reader", func(t *testing.T) {
		r, w := h.openPair(t, "p")
		eventually(t, "a WRITE fails", func() bool {
			w.send(write("x", 10))
			return w.recv().ID == zpipes.WriteFailed
		})
		r.ask(readN(1, 0), invalid)
		r.ask(input("p"), inputOK) // and may come back
	})
	t.Run("writer", func(t *testing.T) {
		r, w := h.openPair(t, "q")
		w.ask(write("x", 0), writeOK)
		r.ask(readN(2, 0), readOK("x"))
		r.ask(readN(2, 0), readEnd)
		w.ask(write("y", 0), invalid)
	})
	t.Run("PING keeps", func(t *testing.T) {
		h := serve(t, func(c *Config) { c.ClientTimeout = 600 * time.Millisecond })
		r, w := h.openPair(t, "s")
		for start := time.Now(); time.Since(start) < 1500*time.Millisecond; {
			w.silent()
			r.ask(readN(1, 20), readTimeout)
		}
		w.ask(write("x", 0), writeOK)
		r.ask(readN(1, 0), readOK("x"))
	})
	if h.Stats().Expired == 0 {
		t.Error("no expired client was counted")
	}
}

// never is a ClientTimeout that no test waits for.
const never = time.Hour

func TestEndedConnectionIsNoticed(t *testing.T) {
	for _, endpoint := range []string{unique(), "tcp://127.0.0.1:*", "ipc://" + t.TempDir() + "/s"} {
		t.Run(endpoint, func(t *testing.T) {
			h := serve(t, func(c *Config) { c.ClientTimeout, c.Endpoints = never, []string{endpoint} })
			t.Run("of a writer", func(t *testing.T) {
				r, w := h.openPair(t, "p")
				w.ask(write("abc", 0), writeOK)
				r.send(readN(5, 0))
				r.silent()
				w.hangUp()
				r.expect(readOK("abc"))
				r.ask(readN(1, 0), readEnd)
			})
			t.Run("of a reader with a READ pending", func(t *testing.T) {
				r, w := h.openPair(t, "q")
				r.send(readN(5, 0))
				r.silent()
				r.hangUp()
				eventually(t, "a WRITE fails", func() bool {
					w.send(write("x", 10))
					return w.recv().ID == zpipes.WriteFailed
				})
			})
			t.Run("of a writer with a WRITE pending", func(t *testing.T) {
				w := h.dial(t)
				w.ask(output("r"), outputOK)
				w.send(write("lost", 0))
				w.silent()
				w.hangUp()
				next := h.dial(t)
				eventually(t, "the pipe has room for a writer", func() bool {
					next.send(output("r"))
					return next.recv().ID == zpipes.OutputOK
				})
				next.ask(write("x", 20), writeTimeout)
			})
		})
	}
}

// TestLastWordsCount: what a client sent before its connection ended is done.
func TestLastWordsCount(t *testing.T) {
	h := serve(t, nil)
	for i := range 20 {
		name := fmt.Sprint("p", i)
		r, w := h.dial(t), h.dial(t)
		r.ask(input(name), inputOK)
		must(t, w.socket.SetLinger(patience))
		w.send(output(name))
		w.send(write("last ", 0))
		w.send(write("words", 0))
		w.send(closeIt)
		w.hangUp()
		r.ask(readN(100, 0), readOK("last words"))
		r.ask(readN(1, 0), readEnd)
		r.hangUp()
	}
}

func TestNamedClientComesBack(t *testing.T) {
	h := serve(t, func(c *Config) { c.ClientTimeout = never })
	for range 10 {
		d := dialAt(t, h.endpoint, "fred")
		d.ask(input("p"), inputOK) // nothing of the last connection is left
		d.hangUp()
		eventually(t, "its end is closed", func() bool { return h.Stats().Readers == 0 })
	}
}

func TestFloodClosesTheEnd(t *testing.T) {
	for name, request := range map[string]zpipes.Message{
		"by number": readN(1, 0),
		"by bytes":  {ID: zpipes.Write, Chunk: make([]byte, 100<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, func(c *Config) { c.MaxRequests, c.MaxChunk, c.MaxQueue = 50, 200<<10, 1<<20 })
			r, w := h.dial(t), h.dial(t)
			open, fail, opened := input("p"), readFailed("unanswered"), inputOK
			if request.ID == zpipes.Write {
				open, fail, opened = output("p"), writeFailed("unanswered"), outputOK
			}
			r.ask(open, opened)
			sent := 0
			for h.Stats().Flooded == 0 && sent < 1000 {
				r.send(request)
				r.silentOr(fail)
				sent++
			}
			if h.Stats().Flooded == 0 {
				t.Fatalf("%d requests were queued", sent)
			}
			if h.Stats().Readers+h.Stats().Writers != 0 {
				t.Error("its end is open")
			}
			w.ask(open, opened) // others go on
			eventually(t, "the flooding client is welcome again", func() bool {
				r.send(ping)
				for {
					if m := r.recv(); m.ID == zpipes.PingOK {
						break
					}
				}
				r.send(input("other"))
				return r.recv().ID == zpipes.InputOK
			})
		})
	}
}

// silentOr waits for a PING-OK; only failures and INVALID may come before it.
func (d *dealer) silentOr(fail zpipes.Message) {
	d.t.Helper()
	d.send(ping)
	for {
		switch m := d.recv(); m.ID {
		case zpipes.PingOK:
			return
		case fail.ID, zpipes.Invalid:
		default:
			d.t.Fatalf("got %s", show(m))
		}
	}
}

// TestClientThatDoesNotRead asks for far more than its connection holds and
// reads no answer; others are served, and in the end it is dropped.
func TestClientThatDoesNotRead(t *testing.T) {
	h := serve(t, func(c *Config) { c.ClientTimeout = 500 * time.Millisecond })
	r, w := h.dial(t), h.dial(t)
	must(t, r.socket.SetRcvhwm(1))
	r.ask(input("p"), inputOK)
	w.ask(output("p"), outputOK)
	const size = 64 << 10
	for range 1000 {
		r.send(readN(size, 0))
	}
	other, another := h.openPair(t, "q")
	failed := 0
	block := make([]byte, size)
	for i := 0; failed == 0 && i < 10000; i++ {
		w.send(zpipes.Message{ID: zpipes.Write, Chunk: block, Timeout: 50})
		if w.recv().ID == zpipes.WriteFailed {
			failed = i
		}
		another.ask(write("ok", 0), writeOK)
		other.ask(readN(2, 0), readOK("ok"))
	}
	if failed == 0 {
		t.Fatal("it was never dropped")
	}
	if got := failed * size; got > (answersHWM+64)*size+8<<20 {
		t.Errorf("%d bytes were taken for it", got)
	}
	if h.Stats().Stuck != 1 {
		t.Errorf("%d stuck clients counted, want 1", h.Stats().Stuck)
	}
}

func TestManyClients(t *testing.T) {
	h := serve(t, nil)
	const pairs = 100
	ctx, err := zmq.NewContext()
	must(t, err)
	var all sync.WaitGroup
	errs := make(chan error, 2*pairs)
	for i := range pairs {
		name := fmt.Sprint("pipe-", i)
		all.Go(func() {
			errs <- converse(ctx, h.endpoint, output(name), func(j int) zpipes.Message { return write(fmt.Sprintf("%s %04d", name, j), 0) }, writeOK)
		})
		all.Go(func() {
			errs <- converse(ctx, h.endpoint, input(name), func(j int) zpipes.Message { return readN(len(name)+5, 0) }, zpipes.Message{ID: zpipes.ReadOK, Chunk: []byte(name)})
		})
	}
	all.Wait()
	must(t, ctx.Term())
	for range 2 * pairs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "all clients are gone", func() bool { return h.Stats().Clients == 0 })
	if n := h.names(); n != 0 {
		t.Errorf("%d names are left", n)
	}
}

// converse opens an end, makes 20 requests and closes it.
func converse(ctx *zmq.Context, endpoint string, open zpipes.Message, request func(int) zpipes.Message, want zpipes.Message) error {
	s, err := ctx.NewSocket(zmq.DEALER)
	if err != nil {
		return err
	}
	defer s.Close()
	s.SetLinger(0)
	s.SetRcvtimeo(patience)
	if err := s.Connect(endpoint); err != nil {
		return err
	}
	ask := func(m zpipes.Message) (zpipes.Message, error) {
		frame, err := zpipes.Limits{}.Append(nil, m)
		if err != nil {
			return m, err
		}
		if _, err := s.SendBytes(frame, 0); err != nil {
			return m, err
		}
		if frame, err = s.RecvBytes(0); err != nil {
			return m, fmt.Errorf("%v: %w", m.ID, err)
		}
		return zpipes.Limits{}.Decode(frame)
	}
	if m, err := ask(open); err != nil || m.ID != open.ID+1 {
		return fmt.Errorf("%v %s: %s %w", open.ID, open.Name, show(m), err)
	}
	for j := range 20 {
		m, err := ask(request(j))
		if err != nil || m.ID != want.ID {
			return fmt.Errorf("request %d: %s %w", j, show(m), err)
		}
		if text := fmt.Sprintf("%s %04d", want.Chunk, j); m.ID == zpipes.ReadOK && string(m.Chunk) != text {
			return fmt.Errorf("read %q, want %q", m.Chunk, text)
		}
	}
	if m, err := ask(closeIt); err != nil || m.ID != zpipes.CloseOK {
		return fmt.Errorf("close: %s %w", show(m), err)
	}
	return nil
}
