// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service"
)

// TestStreamEquality moves 64 MiB of noise, written and read in pieces of any
// size, in every way there is.
func TestStreamEquality(t *testing.T) {
	for name, opts := range map[string][]Option{
		"as opened":     nil,
		"pipelined":     {Window(16)},
		"small chunks":  {Window(64), Chunk(5000)},
		"no read-ahead": {ReadAhead(0), Window(16)},
	} {
		t.Run(name, func(t *testing.T) {
			_, endpoint := serve(t, nil)
			r, w := reader(t, endpoint, "p", opts...), writer(t, endpoint, "p", opts...)
			const total = 64 << 20
			var sent [32]byte
			var side sync.WaitGroup
			side.Go(func() {
				random := rand.New(rand.NewPCG(1, 2))
				sum := sha256.New()
				source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{7}), total), sum)
				for {
					n, err := io.CopyN(w, source, 1+random.Int64N(400_000))
					if n == 0 {
						break
					}
					if err != nil && err != io.EOF {
						t.Error(err)
						break
					}
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				sum.Sum(sent[:0])
			})
			random := rand.New(rand.NewPCG(3, 4))
			sum := sha256.New()
			buf := make([]byte, 300_000)
			n := 0
			for {
				m, err := r.Read(buf[:1+random.IntN(len(buf))])
				sum.Write(buf[:m])
				n += m
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			side.Wait()
			if n != total || !bytes.Equal(sum.Sum(nil), sent[:]) {
				t.Fatalf("read %d of %d bytes, or others", n, total)
			}
			if m, err := r.Read(buf); m != 0 || err != io.EOF {
				t.Fatalf("after the end: %d bytes, %v", m, err)
			}
		})
	}
}

// TestMessagesArriveWithoutMoreToFollow: what was written is read though nothing
// comes behind it.
func TestMessagesArriveWithoutMoreToFollow(t *testing.T) {
	_, endpoint := serve(t, nil)
	r, w := reader(t, endpoint, "p"), writer(t, endpoint, "p")
	random := rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		message := make([]byte, 1+random.IntN(1<<random.IntN(19)))
		for j := range message {
			message[j] = byte(random.Uint32())
		}
		if n, err := w.Write(message); n != len(message) || err != nil {
			t.Fatal(n, err)
		}
		got := make([]byte, len(message))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("message %d of %d bytes: %v", i, len(message), err)
		}
	}
}

func TestShortBufferLosesNothing(t *testing.T) {
	_, endpoint := serve(t, nil)
	r, w := reader(t, endpoint, "p"), writer(t, endpoint, "p")
	text := bytes.Repeat([]byte("0123456789"), 500)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Fatalf("empty Read: %d %v", n, err)
	}
	got, err := io.ReadAll(iotest.OneByteReader(r))
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("read %d of %d bytes: %v", len(got), len(text), err)
	}
}

// TestNoReadAheadLeavesTheRest: bytes that no Read wanted are there for the next
// reader of a fifo.
func TestNoReadAheadLeavesTheRest(t *testing.T) {
	_, endpoint := serve(t, fifo("p"))
	w := writer(t, endpoint, "p")
	first, second := reader(t, endpoint, "p", ReadAhead(0)), reader(t, endpoint, "p", ReadAhead(0))
	if _, err := w.Write([]byte("onetwo")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 3)
	if _, err := io.ReadFull(first, buf); err != nil || string(buf) != "one" {
		t.Fatalf("%q %v", buf, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(second, buf); err != nil || string(buf) != "two" {
		t.Fatalf("%q %v", buf, err)
	}
}

func TestSharedContext(t *testing.T) {
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	_, endpoint := serve(t, nil)
	var all sync.WaitGroup
	for i := range 20 {
		name := fmt.Sprint("p", i)
		r, w := reader(t, endpoint, name, Context(ctx)), writer(t, endpoint, name, Context(ctx))
		all.Go(func() {
			for j := range 20 {
				if _, err := fmt.Fprintf(w, "%s line %d\n", name, j); err != nil {
					t.Error(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			lines := bufio.NewScanner(r)
			for j := range 20 {
				if want := fmt.Sprintf("%s line %d", name, j); !lines.Scan() || lines.Text() != want {
					t.Errorf("got %q, want %q: %v", lines.Text(), want, lines.Err())
				}
			}
			if lines.Scan() {
				t.Errorf("more: %q", lines.Text())
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := ctx.Term(); err != nil {
		t.Fatal(err)
	}
}

func TestTCP(t *testing.T) {
	_, endpoint := serve(t, func(c *service.Config) { c.Endpoints = []string{"tcp://127.0.0.1:*"} })
	r, w := reader(t, endpoint, "p"), writer(t, endpoint, "p", Window(8))
	go func() {
		defer w.Close()
		if _, err := w.Write(make([]byte, 10<<20)); err != nil {
			t.Error(err)
		}
	}()
	if n, err := io.Copy(io.Discard, r); n != 10<<20 || err != nil {
		t.Fatal(n, err)
	}
}

func TestReaderGone(t *testing.T) {
	for _, window := range []int{0, 4} {
		t.Run(fmt.Sprint("window=", window), func(t *testing.T) {
			_, endpoint := serve(t, nil)
			r, w := reader(t, endpoint, "p"), writer(t, endpoint, "p", Window(window))
			if _, err := w.Write([]byte("abc")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			var err error
			eventually(t, "a Write fails", func() bool {
				_, err = w.Write([]byte("x"))
				return err != nil
			})
			var refused *RefusedError
			if !errors.Is(err, ErrRefused) || !errors.As(err, &refused) || refused.Reason == "" {
				t.Fatalf("got %v", err)
			}
			if _, again := w.Write([]byte("x")); !errors.Is(again, ErrRefused) {
				t.Fatalf("then %v", again)
			}
		})
	}
}
