// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
)

// newPair returns a server that has not begun to serve, and a client of it.
func newPair(t *testing.T) (*Server, *Client) {
	t.Helper()
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)
	s, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	c, err := NewClient(name)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func limited(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestNameHasOneOwner(t *testing.T) {
	s, c := newPair(t)
	_, err := Listen(s.name)
	if !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second Listen: %v, want ErrNameTaken and the process that has it", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Info(t.Context()); !errors.Is(err, ErrNoBroker) {
		t.Errorf("call after Close: %v, want ErrNoBroker", err)
	}
	again, err := Listen(s.name)
	if err != nil {
		t.Fatalf("Listen after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"local": true, "a": true, "A-1_b.c": true, "_x": true, strings.Repeat("n", maxName): true,
		"": false, "-a": false, ".a": false, "a/b": false, "a b": false, "a,b": false, "ä": false, "a\x00": false,
		strings.Repeat("n", maxName+1): false,
	} {
		if err := CheckName(name); good != (err == nil) || err != nil && !errors.Is(err, ErrBrokerName) {
			t.Errorf("CheckName(%q): %v", name, err)
		}
		if _, err := NewClient(name); good != (err == nil) {
			t.Errorf("NewClient(%q): %v", name, err)
		}
	}
}

func TestErrorsCrossTheSocket(t *testing.T) {
	s, c := newPair(t)
	Handle(s, "fail", func(_ context.Context, _ Peer, i int) (string, error) {
		if i < 0 {
			return "", errors.New("of no code")
		}
		return "", fmt.Errorf("number %d: %w", i, codes[i].err)
	})
	s.Serve(Options{})
	for i, want := range codes {
		_, err := Call[string](t.Context(), c, "fail", i)
		if !errors.Is(err, want.err) || !strings.Contains(err.Error(), fmt.Sprintf("number %d: ", i)) {
			t.Errorf("%s: got %v", want.code, err)
		}
	}
	if _, err := Call[string](t.Context(), c, "fail", -1); err == nil || err.Error() != "of no code" {
		t.Errorf("error of no code: got %v", err)
	}
	if _, err := Call[string](t.Context(), c, "fail", "not a number"); !errors.Is(err, ErrRequest) {
		t.Errorf("bad argument: got %v, want ErrRequest", err)
	}
	if _, err := Call[string](t.Context(), c, "fail", strings.Repeat("x", maxBody)); !errors.Is(err, ErrRequest) {
		t.Errorf("huge argument: got %v, want ErrRequest", err)
	}
	if _, err := Call[string](t.Context(), c, "no-such-operation", nil); !errors.Is(err, ErrRequest) {
		t.Errorf("unknown operation: got %v, want ErrRequest", err)
	}
}

func TestCallersWaitForServe(t *testing.T) {
	s, c := newPair(t)
	if _, err := c.Info(limited(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("call before Serve: %v, want to wait", err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := c.Info(limited(t, 10*time.Second))
		answered <- err
	}()
	HandleBroker(s, broker.New(broker.Config{}), Info{})
	s.Serve(Options{})
	if err := <-answered; err != nil {
		t.Errorf("call across Serve: %v", err)
	}
}

func TestCloseWaitsForRequests(t *testing.T) {
	s, c := newPair(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	Handle(s, "wait", func(context.Context, Peer, struct{}) (string, error) {
		close(entered)
		<-leave
		return "done", nil
	})
	s.Serve(Options{})
	type result struct {
		text string
		err  error
	}
	answer, closed := make(chan result, 1), make(chan error, 1)
	go func() {
		text, err := Call[string](limited(t, 10*time.Second), c, "wait", nil)
		answer <- result{text, err}
	}()
	<-entered
	go func() { closed <- s.Close() }()
	select {
	case <-closed:
		t.Error("Close has not waited for a request under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if r := <-answer; r.err != nil || r.text != "done" {
		t.Errorf("request under way at Close: %q, %v", r.text, r.err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A client that connects and says nothing takes a slot, not the broker.
func TestConnectionsAreBounded(t *testing.T) {
	s, c := newPair(t)
	HandleBroker(s, broker.New(broker.Config{}), Info{})
	s.Serve(Options{})
	var idle []net.Conn
	for range maxConns {
		conn, err := net.DialUnix("unix", nil, address(s.name))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	if _, err := c.Info(limited(t, 100*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("call with all slots taken: %v, want to wait", err)
	}
	idle[0].Close()
	if _, err := c.Info(limited(t, 5*time.Second)); err != nil {
		t.Errorf("call with a slot free: %v", err)
	}
}

// Silent strangers, admitted or not, leave room for root and the owner.
func TestStrangersLeaveRoom(t *testing.T) {
	for _, others := range []bool{false, true} {
		s, c := newPair(t)
		HandleBroker(s, broker.New(broker.Config{}), Info{})
		var strangers atomic.Int64
		strangers.Store(2 * maxConns)
		s.listener.peer = func(conn *net.UnixConn) (Peer, error) {
			p, err := peerOf(conn)
			if left := strangers.Add(-1); left >= 0 {
				p.UID = uint32(os.Geteuid()) + 1 + uint32(left)%7
			}
			return p, err
		}
		s.Serve(Options{AllowOther: others})
		for range 2 * maxConns {
			conn, err := net.DialUnix("unix", nil, address(s.name))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		if _, err := c.Info(limited(t, 5*time.Second)); err != nil {
			t.Errorf("others admitted %v: the owner's call: %v", others, err)
		}
		want := maxRefusals
		if others {
			want = maxOthers
		}
		s.listener.mu.Lock()
		if s.listener.sum != want {
			t.Errorf("others admitted %v: strangers have %d connections, want %d", others, s.listener.sum, want)
		}
		s.listener.mu.Unlock()
	}
}

func TestOneStrangerLeavesRoomForOthers(t *testing.T) {
	s, _ := newPair(t)
	s.listener.others = true
	one, two := uint32(os.Geteuid())+1, uint32(os.Geteuid())+2
	for i := range maxEach + 1 {
		if got := s.listener.enter(one); got != (i < maxEach) {
			t.Errorf("connection %d of one user: admitted %v", i, got)
		}
	}
	if !s.listener.enter(two) {
		t.Error("another user is not admitted")
	}
	s.listener.leave(one)
	if !s.listener.enter(one) {
		t.Error("a user that has left is not admitted again")
	}
}

func TestGarbageHarmsNobody(t *testing.T) {
	s, c := newPair(t)
	HandleBroker(s, broker.New(broker.Config{}), Info{})
	s.Serve(Options{})
	for _, junk := range []string{"\x00\xff\xfe", "GET\r\n\r\n", "POST /create HTTP/1.1\r\nHost: z\r\nContent-Length: -5\r\n\r\n",
		"POST /create HTTP/1.1\r\nHost: z\r\nContent-Length: 2\r\n\r\n}{", strings.Repeat("A", 100_000)} {
		conn, err := net.DialUnix("unix", nil, address(s.name))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write([]byte(junk)) // the server may close before it has all
		conn.Close()
		if _, err := c.Info(limited(t, 5*time.Second)); err != nil {
			t.Errorf("after %.20q: %v", junk, err)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	s, _ := newPair(t)
	HandleBroker(s, broker.New(broker.Config{}), Info{})
	for _, x := range []struct {
		uid    uint32
		others bool
		status int
	}{
		{0, false, http.StatusOK},
		{uint32(os.Geteuid()), false, http.StatusOK},
		{uint32(os.Geteuid()) + 1, false, http.StatusForbidden},
		{uint32(os.Geteuid()) + 1, true, http.StatusOK},
	} {
		r, err := http.NewRequestWithContext(context.WithValue(t.Context(), peerKey{}, Peer{UID: x.uid}), http.MethodPost, "/info", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		w := &recorder{header: http.Header{}, status: http.StatusOK}
		s.admit(x.others, s.routes).ServeHTTP(w, r)
		if w.status != x.status {
			t.Errorf("user %d, others allowed %v: status %d, want %d", x.uid, x.others, w.status, x.status)
		}
	}
}

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }

func TestPeerIsTheCaller(t *testing.T) {
	s, c := newPair(t)
	Handle(s, "who", func(_ context.Context, p Peer, _ struct{}) (Peer, error) { return p, nil })
	s.Serve(Options{})
	p, err := Call[Peer](t.Context(), c, "who", nil)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != os.Getpid() || int(p.UID) != os.Geteuid() || int(p.GID) != os.Getegid() || len(p.Groups) != len(groups) {
		t.Errorf("peer is %+v, want process %d, user %d, group %d, %d groups", p, os.Getpid(), os.Geteuid(), os.Getegid(), len(groups))
	}
}

func TestErrorTextOfPermission(t *testing.T) {
	var e error = &wireError{"permission", "no"}
	if !errors.Is(e, fs.ErrPermission) || e.Error() != "no" {
		t.Errorf("got %v", e)
	}
}
