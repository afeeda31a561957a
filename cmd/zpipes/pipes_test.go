// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/control"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// hosts is brokers in one process, joined by a network in memory.
type hosts struct {
	t    *testing.T
	net  *link.Network
	all  []*server
	ends sync.WaitGroup // opens under way

	mu    sync.Mutex // guards below
	asked []string   // questions that were answered
	sizes []int      // of the answers, in bytes
	after func(s *server, question string)
}

func newHosts(t *testing.T, n int) *hosts {
	t.Helper()
	h := &hosts{t: t, net: link.NewNetwork(1)}
	for i := range n {
		s := &server{id: peer.ID{Node: fmt.Sprint("h", i+1), Boot: 1}, log: slog.New(slog.DiscardHandler)}
		s.cluster = cluster.New(cluster.Config{Self: s.id, Tell: func(question string) []byte { return h.tell(s, question) }})
		s.broker = broker.New(broker.Config{Peers: s.cluster})
		var err error
		s.links, err = h.net.Join(link.Config{ID: s.id, Handler: s.cluster, FailureTimeout: 500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		s.cluster.Start(s.links)
		h.all = append(h.all, s)
	}
	t.Cleanup(func() {
		for _, s := range h.all {
			s.broker.Close()
			if err := s.links.Close(); err != nil {
				t.Error(err)
			}
			s.cluster.Close()
		}
	})
	for _, s := range h.all {
		var others []cluster.Member
		for _, o := range h.all {
			if o != s {
				others = append(others, cluster.Member{ID: o.id})
			}
		}
		s.cluster.Members(others)
	}
	return h
}

func (h *hosts) tell(s *server, question string) []byte {
	text := s.tell(question)
	h.mu.Lock()
	h.asked, h.sizes = append(h.asked, question), append(h.sizes, len(text))
	after := h.after
	h.mu.Unlock()
	if after != nil {
		after(s, question)
	}
	return text
}

// mkpipe makes a pipe on all hosts.
func (h *hosts) mkpipe(name string, m pipe.Mode) {
	h.t.Helper()
	for _, s := range h.all {
		if _, err := s.broker.Mkpipe(context.Background(), s.broker.Root(), name, broker.Owner{Perm: 0o644}, m); err != nil {
			h.t.Fatal(err)
		}
	}
}

// open begins to open an end on the host of a number from 1 on.
func (h *hosts) open(host int, name string, set func(*pipe.OpenOp)) *pipe.OpenOp {
	h.t.Helper()
	b := h.all[host-1].broker
	n, err := b.Walk(context.Background(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	h.ends.Add(1)
	op := &pipe.OpenOp{Info: pipe.Info{Door: "go", PID: host}, Done: func(*pipe.OpenOp) { h.ends.Done() }}
	set(op)
	b.Open(n, op)
	return op
}

func reads(op *pipe.OpenOp)  { op.Read = true }
func writes(op *pipe.OpenOp) { op.Write = true }
func alone(op *pipe.OpenOp)  { op.Read, op.NonBlock = true, true }

func (h *hosts) write(op *pipe.OpenOp, n int) {
	h.t.Helper()
	if _, err := op.Writer.Write(h.t.Context(), make([]byte, n)); err != nil {
		h.t.Error(err)
	}
}

func (h *hosts) read(op *pipe.OpenOp, n int) {
	h.t.Helper()
	chunks, err := op.Reader.Read(h.t.Context(), n, n)
	if err != nil {
		h.t.Error(err)
	}
	for _, c := range chunks {
		c.Release()
	}
}

// shows compares what each host shows of a pipe, once nothing is under way.
func (h *hosts) shows(want string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	if err := h.all[0].cluster.Sync(ctx); err != nil {
		h.t.Fatal(err)
	}
	for _, s := range h.all {
		all, err := s.allPipes(ctx, pageSize)
		if err != nil || len(all.Missing) > 0 {
			h.t.Errorf("on %v: %v, missing %v", s.id, err, all.Missing)
		}
		var got []string
		for _, p := range all.Pipes {
			got = append(got, fmt.Sprintf("%s %s %d %d", p.Path, p.Mode, p.Buffered, p.Moved))
		}
		if s := strings.Join(got, ", "); s != want {
			h.t.Errorf("shows %s; want %s", s, want)
		}
	}
}

// However many hosts write and read, each byte counts once.
func TestBytesOfSeveralWriters(t *testing.T) {
	h := newHosts(t, 3)
	h.mkpipe("p", pipe.Fifo)
	h.mkpipe("closed", pipe.Fifo)
	r1, w2, w3 := h.open(1, "p", reads), h.open(2, "p", writes), h.open(3, "p", writes)
	h.ends.Wait()
	h.shows("p fifo 0 0")
	h.write(w2, 5)
	h.write(w3, 70)
	h.shows("p fifo 75 75")
	h.read(r1, 30)
	h.shows("p fifo 45 75")
	w2.Writer.Close() // what it has written counts as before, wherever it is
	h.shows("p fifo 45 75")
	h.read(r1, 45)
	h.shows("p fifo 0 75")
	r2 := h.open(2, "p", reads) // readers on several hosts hand bytes to and fro
	h.ends.Wait()
	h.write(w3, 25)
	h.shows("p fifo 25 100")
	h.read(r2, 10)
	h.shows("p fifo 15 100")
	w3.Writer.Close()
	h.read(r1, 15)
	h.shows("p fifo 0 100")
	r1.Reader.Close()
	r2.Reader.Close()
	h.shows("")
	for _, s := range h.all[1:] {
		n, err := s.broker.Walk(t.Context(), "p")
		if err != nil {
			t.Fatal(err)
		}
		if a := s.broker.Attr(n); s.id.Node == "h3" && (a.Bytes != 95 || a.Own != 95) {
			t.Errorf("a host with writers alone has %d bytes, %d its own", a.Bytes, a.Own)
		}
	}
}

func TestBytesOfOtherModes(t *testing.T) {
	h := newHosts(t, 3)
	h.mkpipe("fan", pipe.Fanout)
	readers := []*pipe.OpenOp{h.open(1, "fan", reads), h.open(2, "fan", reads)}
	writers := []*pipe.OpenOp{h.open(2, "fan", writes), h.open(3, "fan", writes)}
	h.ends.Wait()
	h.write(writers[0], 10)
	h.write(writers[1], 20)
	h.shows("fan fanout 30 30")
	h.read(readers[0], 30)
	h.shows("fan fanout 30 30") // the slowest
	h.read(readers[1], 30)
	h.shows("fan fanout 0 30")
}

func TestBytesOfSessions(t *testing.T) {
	h := newHosts(t, 2)
	h.mkpipe("x", pipe.Exclusive)
	for i := range 3 {
		r, w := h.open(1, "x", reads), h.open(2, "x", writes)
		h.ends.Wait()
		h.write(w, 10)
		h.shows(fmt.Sprintf("x exclusive 10 %d", 10*(i+1)))
		h.read(r, 10)
		r.Reader.Close()
		w.Writer.Close()
		h.shows("")
	}
}

// manyNames has some that need care on their way.
func manyNames() (names []string) {
	for i := range 200 {
		names = append(names, fmt.Sprintf("%s-%03d", []string{"p", "with space", "100%", "\xff\xfe", `quo"te`, "é\n"}[i%6], i))
	}
	return names
}

func TestPages(t *testing.T) {
	h := newHosts(t, 3)
	names := manyNames()
	for i, name := range names {
		h.mkpipe(name, pipe.Fifo)
		for k := range 1 + i%3 {
			h.open(1+(i+k)%3, name, alone)
		}
	}
	h.ends.Wait()
	slices.Sort(names)
	for _, s := range h.all {
		h.asked, h.sizes = nil, nil
		const most = 2000
		all, err := s.allPipes(t.Context(), most)
		if err != nil || len(all.Missing) > 0 {
			t.Fatalf("%v, missing %v", err, all.Missing)
		}
		var got []string
		ends := 0
		for _, p := range all.Pipes {
			got = append(got, string(p.Path))
			ends += len(p.Readers)
		}
		if !slices.Equal(got, names) || ends != 399 {
			t.Errorf("%v: %d pipes of %d, %d ends", s.id, len(got), len(names), ends)
		}
		if pages := len(h.asked); pages < 10 || slices.Max(h.sizes) > most+200 {
			t.Errorf("%d pages, the longest of %d bytes", pages, slices.Max(h.sizes))
		}
	}
	for _, question := range []string{"pipes", "pipes 100", "pipes x p", "names 100 p"} {
		if text := h.all[0].tell(question); text != nil {
			t.Errorf("%q: %q", question, text)
		}
	}
}

// Names of octets that JSON has not are the longest to tell. Who asks for more than a
// page gets no more than others do.
func TestPagesOfFullSize(t *testing.T) {
	h := newHosts(t, 2)
	const pipes = 1500
	for i := range pipes {
		h.mkpipe(fmt.Sprintf("%04d", i)+strings.Repeat("\xff", broker.MaxPath-4), pipe.Fifo)
	}
	for _, child := range h.children(2) {
		h.open(2, child, alone)
	}
	h.ends.Wait()
	for _, most := range []int{pageSize, 1 << 40} {
		h.asked, h.sizes = nil, nil
		all, err := h.all[0].allPipes(t.Context(), most)
		if err != nil || len(all.Missing) > 0 || len(all.Pipes) != pipes {
			t.Errorf("%d pipes, %v, missing %v", len(all.Pipes), err, all.Missing)
		}
		if len(h.asked) != 2 || slices.Max(h.sizes) > pageSize+200 {
			t.Errorf("%d pages, the longest of %d bytes", len(h.asked), slices.Max(h.sizes))
		}
	}
}

// children is the names that a host has.
func (h *hosts) children(host int) (names []string) {
	h.t.Helper()
	b := h.all[host-1].broker
	list, err := b.List(context.Background(), b.Root())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names
}

// What a host has told before it went is shown, and that it went.
func TestHostGoesBetweenPages(t *testing.T) {
	h := newHosts(t, 3)
	for _, name := range manyNames() {
		h.mkpipe(name, pipe.Fifo)
		h.open(2, name, alone)
		h.open(3, name, alone)
	}
	h.ends.Wait()
	asked := 0
	h.after = func(s *server, question string) {
		if s == h.all[1] {
			if asked++; asked == 3 {
				h.net.Cut("h1", "h2", true)
			}
		}
	}
	all, err := h.all[0].allPipes(t.Context(), 2000)
	if err != nil || !slices.Equal(all.Missing, []string{"h2"}) {
		t.Fatalf("%v, missing %v", err, all.Missing)
	}
	of := map[string]int{}
	for _, p := range all.Pipes {
		for _, e := range p.Readers {
			of[e.Host]++
		}
	}
	if len(all.Pipes) != 200 || of["h3"] != 200 || of["h2"] == 0 || of["h2"] == 200 {
		t.Errorf("%d pipes, ends %v", len(all.Pipes), of)
	}
}

// Pages that no broker makes end the questions, and do no harm.
func TestPagesWithoutSense(t *testing.T) {
	for name, pages := range map[string][]string{
		"none, and more":  {`{"pipes":[],"more":true}`},
		"the same again":  {`{"pipes":[{"path":"b","readers":[{}]}],"more":true}`, `{"pipes":[{"path":"b","readers":[{}]}],"more":true}`},
		"in wrong order":  {`{"pipes":[{"path":"b","readers":[{}]}],"more":true}`, `{"pipes":[{"path":"d"},{"path":"c"}]}`},
		"no JSON":         {`{"pipes":[{"path":"b","readers":[{}]}],"more":true}`, `{"pipes":[{"pa`},
		"no such path":    {`{"pipes":[{"path":"b","readers":[{}]}],"more":true}`, `{"pipes":[{"path":"%"}]}`},
		"nothing at last": {`{"pipes":[{"path":"b","readers":[{}]}],"more":true}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			bad := &teller{node: "bad", most: 1, more: true, ask: func(context.Context, string) ([]byte, error) {
				if len(pages) == 0 {
					return nil, errors.New("asked again")
				}
				text := pages[0]
				pages = pages[1:]
				return []byte(text), nil
			}}
			good := &teller{node: "good", most: 1, more: true, ask: func(context.Context, string) ([]byte, error) {
				return []byte(`{"pipes":[{"path":"a","writers":[{}]},{"path":"c","writers":[{}]}]}`), nil
			}}
			want := 2 + len(pages) - 1
			all := gather(t.Context(), []*teller{bad, good})
			if len(pages) > 0 || bad.err == nil || bad.err.Error() == "asked again" || good.err != nil || len(all) != want {
				t.Errorf("%d pipes, want %d; %v and %v, %d pages left", len(all), want, bad.err, good.err, len(pages))
			}
		})
	}
}

func TestPipesOfAHostAlone(t *testing.T) {
	s := &server{broker: broker.New(broker.Config{}), log: slog.New(slog.DiscardHandler)}
	h := &hosts{t: t, all: []*server{s}}
	h.mkpipe("p", pipe.Fifo)
	h.mkpipe("q", pipe.Fifo)
	h.open(1, "p", func(op *pipe.OpenOp) { op.Read, op.Write = true, true })
	all, err := s.pipes(t.Context(), control.Peer{}, struct{}{})
	if err != nil || len(all.Pipes) != 1 || all.Pipes[0].Path != "p" || endList(all.Pipes[0].Readers) != "go:1" {
		t.Errorf("%+v, %v", all, err)
	}
	s.broker.Close()
}
