// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/broker/service"
)

// fifo has the broker keep a pipe that any number of ends may open.
func fifo(name string) func(*service.Config) {
	return func(c *service.Config) {
		if _, err := c.Broker.Mkpipe(context.Background(), c.Broker.Root(), name, c.Broker.Attr(c.Broker.Root()).Owner, pipe.Fifo); err != nil {
			panic(err)
		}
	}
}

// soon is a deadline that a test waits for.
const soon = 60 * time.Millisecond

func TestReadDeadline(t *testing.T) {
	_, endpoint := serve(t, nil)
	r, w := reader(t, endpoint, "p"), writer(t, endpoint, "p")
	r.SetReadDeadline(time.Now().Add(soon))
	start := time.Now()
	n, err := r.Read(make([]byte, 10))
	if n != 0 || !errors.Is(err, ErrTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(n, err)
	}
	if d := time.Since(start); d < soon {
		t.Fatalf("after %v", d)
	}
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, ErrTimeout) {
		t.Fatalf("a passed deadline: %v", err)
	}
	r.SetReadDeadline(time.Time{})
	if _, err := w.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "late" {
		t.Fatalf("%q %v", buf, err)
	}
	// A deadline reaches a Read that waits already.
	failed := make(chan error)
	go func() {
		_, err := r.Read(buf)
		failed <- err
	}()
	eventually(t, "the Read ends", func() bool {
		r.SetReadDeadline(time.Now())
		select {
		case err := <-failed:
			return errors.Is(err, ErrTimeout)
		default:
			return false
		}
	})
}

func TestWriteDeadline(t *testing.T) {
	_, endpoint := serve(t, nil)
	w := writer(t, endpoint, "p")
	w.SetWriteDeadline(time.Now().Add(soon))
	if n, err := w.Write([]byte("dropped")); n != 0 || !errors.Is(err, ErrTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(n, err)
	}
	w.SetWriteDeadline(time.Now().Add(patience))
	r := reader(t, endpoint, "p")
	if n, err := w.Write([]byte("taken")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	w.SetWriteDeadline(time.Time{})
	if n, err := w.Write([]byte(" too")); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "taken too" {
		t.Fatalf("%q %v", got, err)
	}
}

// TestWriteDeadlineCountsWhatWentIn: a Write longer than the pipe has room for.
func TestWriteDeadlineCountsWhatWentIn(t *testing.T) {
	_, endpoint := serve(t, nil)
	w := writer(t, endpoint, "p", Chunk(100<<10))
	r := reader(t, endpoint, "p", ReadAhead(0))
	w.SetWriteDeadline(time.Now().Add(5 * soon))
	n, err := w.Write(make([]byte, 4<<20))
	if !errors.Is(err, ErrTimeout) || n == 0 || n > pipe.DefaultCapacity {
		t.Fatal(n, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.Copy(io.Discard, r); got != int64(n) || err != nil {
		t.Fatalf("%d bytes are in the pipe, %d were reported: %v", got, n, err)
	}
}

func TestWindowTellsErrorsLater(t *testing.T) {
	_, endpoint := serve(t, nil)
	w := writer(t, endpoint, "p", Window(4), CloseTimeout(soon))
	if n, err := w.Write([]byte("nobody reads this")); n != 17 || err != nil {
		t.Fatal(n, err)
	}
	err := w.Close()
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "17 bytes") {
		t.Fatalf("close: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	_, endpoint := serve(t, nil)
	r, w := reader(t, endpoint, "p"), writer(t, endpoint, "q")
	failed := make(chan error, 2)
	go func() {
		_, err := r.Read(make([]byte, 1))
		failed <- err
	}()
	go func() {
		_, err := w.Write([]byte("x"))
		failed <- err
	}()
	for _, end := range []io.Closer{r, w, r, w} {
		if err := end.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		select {
		case err := <-failed:
			if !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("it still waits")
		}
	}
	again := reader(t, endpoint, "p")
	again.Close()
}

func TestRefusedOpen(t *testing.T) {
	_, endpoint := serve(t, nil)
	reader(t, endpoint, "p")
	_, err := OpenReader(within(t), endpoint, "p")
	var refused *RefusedError
	if !errors.Is(err, ErrRefused) || !errors.As(err, &refused) || !strings.Contains(err.Error(), "taken") || !strings.Contains(err.Error(), endpoint) {
		t.Fatalf("second reader: %v", err)
	}
	if _, err := OpenWriter(within(t), endpoint, "a//b"); !errors.Is(err, ErrRefused) {
		t.Fatalf("bad name: %v", err)
	}
	if _, err := OpenWriter(within(t), endpoint, ""); err == nil {
		t.Fatal("empty name")
	}
}

func TestNoBroker(t *testing.T) {
	// Somebody who listens and never answers.
	mute, err := net.Listen("unix", "@/zpipes/mute-"+strings.ReplaceAll(t.Name(), "/", "-"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, endpoint := range []string{unique(), "ipc:///nowhere/at/all", "tcp://127.0.0.1:1", "ipc://" + mute.Addr().String()} {
		start := time.Now()
		_, err := OpenReader(within(t), endpoint, "p", ConnectTimeout(soon))
		if !errors.Is(err, ErrBrokerGone) || !strings.Contains(err.Error(), endpoint) || !strings.Contains(err.Error(), "start one") {
			t.Fatalf("%s: %v", endpoint, err)
		}
		if d := time.Since(start); d < soon || d > patience/2 {
			t.Fatalf("%s: after %v", endpoint, d)
		}
		t.Log(err)
	}
	if _, err := OpenReader(within(t), "nonsense", "p"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Fatalf("bad endpoint: %v", err)
	}
}

func TestContextEndsOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := OpenReader(ctx, unique(), "p", ConnectTimeout(patience))
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := OpenReader(ctx, unique(), "p"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestBrokerStartsLate: an open waits for a broker that is about to start.
func TestBrokerStartsLate(t *testing.T) {
	endpoint := unique()
	opened := make(chan error)
	go func() {
		r, err := OpenReader(context.Background(), endpoint, "p", ConnectTimeout(patience))
		if err == nil {
			err = r.Close()
		}
		opened <- err
	}()
	serve(t, func(c *service.Config) { c.Endpoints = []string{endpoint} })
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

func TestBrokerEndsMidway(t *testing.T) {
	s, endpoint := serve(t, nil)
	r, w := reader(t, endpoint, "p"), writer(t, endpoint, "q")
	failed := make(chan error, 2)
	go func() {
		_, err := io.Copy(io.Discard, struct{ io.Reader }{r})
		failed <- err
	}()
	go func() {
		_, err := w.Write([]byte("x"))
		failed <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-failed:
			if !errors.Is(err, ErrBrokerGone) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("it still waits")
		}
	}
	if err := r.Close(); !errors.Is(err, ErrBrokerGone) {
		t.Fatalf("close: %v", err)
	}
}
