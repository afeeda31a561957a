// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// patience bounds every wait of a test.
const patience = 20 * time.Second

var serial atomic.Int64

// unique returns an abstract endpoint that nothing else uses.
func unique() string {
	return DefaultEndpoint(fmt.Sprintf("test-%d-%d", os.Getpid(), serial.Add(1)))
}

// host is a service on a broker of its own.
type host struct {
	*Service
	broker   *broker.Broker
	endpoint string
}

// serve starts a service that ends with the test.
func serve(t testing.TB, change func(*Config)) *host {
	t.Helper()
	b := broker.New(broker.Config{})
	cfg := Config{Broker: b, Endpoints: []string{unique()}, Log: testLog(t)}
	if change != nil {
		change(&cfg)
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && err != ErrClosed {
			t.Errorf("close service: %v", err)
		}
		b.Close()
	})
	return &host{s, b, s.Endpoints()[0]}
}

func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// dealer is a client as zbroker's are: one frame a message.
type dealer struct {
	t      testing.TB
	ctx    *zmq.Context
	socket *zmq.Socket
}

func (h *host) dial(t testing.TB) *dealer { return dialAt(t, h.endpoint, "") }

func dialAt(t testing.TB, endpoint, identity string) *dealer {
	t.Helper()
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ctx.NewSocket(zmq.DEALER)
	if err != nil {
		t.Fatal(err)
	}
	d := &dealer{t, ctx, s}
	t.Cleanup(d.hangUp)
	must(t, s.SetLinger(0))
	must(t, s.SetRcvtimeo(patience))
	must(t, s.SetSndtimeo(patience))
	if identity != "" {
		must(t, s.SetIdentity(identity))
	}
	must(t, s.Connect(endpoint))
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hangUp ends the connection as a process that dies does.
func (d *dealer) hangUp() {
	if d.socket != nil {
		d.socket.Close()
		d.ctx.Term()
		d.socket = nil
	}
}

func (d *dealer) sendFrame(frames ...[]byte) {
	d.t.Helper()
	for i, f := range frames {
		flag := zmq.Flag(0)
		if i < len(frames)-1 {
			flag = zmq.SNDMORE
		}
		if _, err := d.socket.SendBytes(f, flag); err != nil {
			d.t.Fatalf("send: %v", err)
		}
	}
}

func (d *dealer) send(m zpipes.Message) {
	d.t.Helper()
	frame, err := zpipes.Limits{MaxChunk: 1 << 30}.Append(nil, m)
	must(d.t, err)
	d.sendFrame(frame)
}

func (d *dealer) recv() zpipes.Message {
	d.t.Helper()
	frame, err := d.socket.RecvBytes(0)
	if err != nil {
		d.t.Fatalf("no answer: %v", err)
	}
	if more, _ := d.socket.GetRcvmore(); more {
		d.t.Fatalf("answer of several frames: % x", frame)
	}
	m, err := zpipes.Limits{MaxChunk: 1 << 30}.Decode(frame)
	if err != nil {
		d.t.Fatalf("undecodable answer % x: %v", frame, err)
	}
	return m
}

// expect reads the next answer. A wanted reason is a part of the real one, but
// none at all is never accepted from a *-FAILED.
func (d *dealer) expect(want zpipes.Message) zpipes.Message {
	d.t.Helper()
	got := d.recv()
	if got.ID != want.ID {
		d.t.Fatalf("got %s, want %s", show(got), show(want))
	}
	switch got.ID {
	case zpipes.ReadOK:
		if !bytes.Equal(got.Chunk, want.Chunk) {
			d.t.Fatalf("got %s, want %s", show(got), show(want))
		}
	case zpipes.InputFailed, zpipes.OutputFailed, zpipes.ReadFailed, zpipes.WriteFailed, zpipes.CloseFailed:
		if got.Reason == "" || !strings.Contains(got.Reason, want.Reason) {
			d.t.Fatalf("got %s, want %s", show(got), show(want))
		}
	}
	return got
}

func (d *dealer) ask(request, want zpipes.Message) {
	d.t.Helper()
	d.send(request)
	d.expect(want)
}

// silent makes sure that no answer to anything before has come: a PING is
// answered at once, so what comes before its answer had come already.
func (d *dealer) silent() {
	d.t.Helper()
	d.ask(ping, pingOK)
}

func show(m zpipes.Message) string {
	if len(m.Chunk) > 40 {
		return fmt.Sprintf("%v %d octets", m.ID, len(m.Chunk))
	}
	return fmt.Sprintf("%v %q%q", m.ID, m.Reason, m.Chunk)
}

// The messages, short.
var (
	ping     = zpipes.Message{ID: zpipes.Ping}
	pingOK   = zpipes.Message{ID: zpipes.PingOK}
	invalid  = zpipes.Message{ID: zpipes.Invalid}
	inputOK  = zpipes.Message{ID: zpipes.InputOK}
	outputOK = zpipes.Message{ID: zpipes.OutputOK}
	writeOK  = zpipes.Message{ID: zpipes.WriteOK}
	readEnd  = zpipes.Message{ID: zpipes.ReadEnd}
	closeIt  = zpipes.Message{ID: zpipes.Close}
	closeOK  = zpipes.Message{ID: zpipes.CloseOK}

	readTimeout  = zpipes.Message{ID: zpipes.ReadTimeout}
	writeTimeout = zpipes.Message{ID: zpipes.WriteTimeout}
)

func input(name string) zpipes.Message  { return zpipes.Message{ID: zpipes.Input, Name: name} }
func output(name string) zpipes.Message { return zpipes.Message{ID: zpipes.Output, Name: name} }

func readN(n int, timeout uint32) zpipes.Message {
	return zpipes.Message{ID: zpipes.Read, Size: uint32(n), Timeout: timeout}
}

func write(s string, timeout uint32) zpipes.Message {
	return zpipes.Message{ID: zpipes.Write, Chunk: []byte(s), Timeout: timeout}
}

func readOK(s string) zpipes.Message { return zpipes.Message{ID: zpipes.ReadOK, Chunk: []byte(s)} }

func inputFailed(reason string) zpipes.Message {
	return zpipes.Message{ID: zpipes.InputFailed, Reason: reason}
}

func outputFailed(reason string) zpipes.Message {
	return zpipes.Message{ID: zpipes.OutputFailed, Reason: reason}
}

func readFailed(reason string) zpipes.Message {
	return zpipes.Message{ID: zpipes.ReadFailed, Reason: reason}
}

func writeFailed(reason string) zpipes.Message {
	return zpipes.Message{ID: zpipes.WriteFailed, Reason: reason}
}

// eventually polls a condition until it holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// openPair has a reader and a writer open a pipe.
func (h *host) openPair(t testing.TB, name string) (r, w *dealer) {
	t.Helper()
	r, w = h.dial(t), h.dial(t)
	r.ask(input(name), inputOK)
	w.ask(output(name), outputOK)
	return r, w
}

// local opens an end of a pipe from inside the process, as the mount does.
func (h *host) local(t testing.TB, name string, op *pipe.OpenOp) *pipe.OpenOp {
	t.Helper()
	done := make(chan struct{})
	op.Done = func(*pipe.OpenOp) { close(done) }
	h.broker.OpenName(name, op)
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("open %q: not done", name)
	}
	must(t, op.Err)
	return op
}
