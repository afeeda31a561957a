// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	wire "github.com/zpipesfs/zpipesfs/wire/zgossip"
)

// rawSocket makes a socket of a context of its own, which only its test uses.
func rawSocket(t testing.TB, kind zmq.Type) *zmq.Socket {
	t.Helper()
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ctx.NewSocket(kind)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SetLinger(0), s.SetRcvtimeo(patience), s.SetSndtimeo(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), ctx.Term()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func encode(t testing.TB, m wire.Message) []byte {
	t.Helper()
	frame, err := wire.Limits{}.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func sendFrame(t testing.TB, s *zmq.Socket, frame []byte) {
	t.Helper()
	if _, err := s.SendBytes(frame, 0); err != nil {
		t.Fatal(err)
	}
}

func recvMessage(t testing.TB, s *zmq.Socket) wire.Message {
	t.Helper()
	frame, err := s.RecvBytes(0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wire.Limits{}.Decode(frame)
	if err != nil {
		t.Fatalf("%x: %v", frame, err)
	}
	return m
}

// mutate makes something of a good frame, which may be good again.
func mutate(r *rand.Rand, frame []byte) []byte {
	frame = append([]byte(nil), frame...)
	for range 1 + r.IntN(3) {
		switch r.IntN(5) {
		case 0:
			frame = frame[:r.IntN(len(frame)+1)]
		case 1:
			for range r.IntN(20) {
				frame = append(frame, byte(r.Uint32()))
			}
		case 2:
			frame = make([]byte, r.IntN(40))
			for i := range frame {
				frame[i] = byte(r.Uint32())
			}
		default:
			if len(frame) > 0 {
				frame[r.IntN(len(frame))] = byte(r.Uint32())
			}
		}
	}
	return frame
}

// TestGarbage has clients send 100,000 fuzzed frames, alone and several in a
// message, while honest ones are served. Each that is none is answered INVALID.
func TestGarbage(t *testing.T) {
	const frames, senders = 100_000, 4
	server := start(t, Config{})
	must(t, server.Set("server/timeout", "600000"))
	at := bind(t, server, "tcp://127.0.0.1:*")
	honest := [2]*Node{start(t, Config{}), start(t, Config{})}
	for _, n := range honest {
		must(t, n.Set("server/timeout", "600000"))
		must(t, n.Connect(at, ""))
		settle(t, n)
	}
	done := make(chan int, senders)
	for i := range senders {
		s := rawSocket(t, zmq.DEALER)
		must(t, s.Connect(at))
		go func() { done <- sendGarbage(s, uint64(i), frames/senders) }()
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("honest-%d", i)
		must(t, honest[i%2].Publish(key, "tuple", 0))
		eventuallyValue(t, honest[1-i%2], key, "tuple")
		if len(done) == senders {
			break
		}
	}
	malformed := 0
	for range senders {
		n := <-done
		if n < 0 {
			t.Fatal("a sender failed")
		}
		malformed += n
	}
	eventually(t, "all of it has arrived", func() bool {
		stats, err := server.Stats()
		must(t, err)
		return stats.Malformed == uint64(malformed)
	})
	stats, err := server.Stats()
	must(t, err)
	if stats.Invalid < stats.Malformed {
		t.Errorf("%d malformed messages, %d times INVALID", stats.Malformed, stats.Invalid)
	}
	settle(t, honest[0])
	s := rawSocket(t, zmq.DEALER)
	must(t, s.Connect(at))
	sendFrame(t, s, []byte{0xAA, 0xA0})
	if m := recvMessage(t, s); m.ID != wire.Invalid {
		t.Errorf("garbage was answered %v", m.ID)
	}
	t.Logf("%d malformed of %d", malformed, frames)
}

// sendGarbage returns how many messages were malformed, or -1 if it failed.
func sendGarbage(s *zmq.Socket, seed uint64, count int) (malformed int) {
	r := rand.New(rand.NewPCG(seed, 1))
	var good [][]byte
	for _, m := range []wire.Message{
		{ID: wire.Hello}, {ID: wire.Ping}, {ID: wire.Pong}, {ID: wire.Invalid},
		{ID: wire.Publish, Key: "garbage", Value: "value", TTL: 1000}, {ID: wire.Publish, Key: "garbage"},
	} {
		frame, err := wire.Limits{}.Append(nil, m)
		if err != nil {
			return -1
		}
		good = append(good, frame)
	}
	for range count {
		frame := mutate(r, good[r.IntN(len(good))])
		var flag zmq.Flag
		if r.IntN(20) == 0 {
			flag = zmq.SNDMORE
		}
		if _, err := s.SendBytes(frame, flag); err != nil {
			return -1
		}
		if flag == zmq.SNDMORE {
			if _, err := s.SendBytes(frame, 0); err != nil {
				return -1
			}
		}
		if _, err := (wire.Limits{}).Decode(frame); err != nil || flag == zmq.SNDMORE {
			malformed++
		}
		for { // what it is answered is not to pile up
			if _, err := s.RecvBytes(zmq.DONTWAIT); err != nil {
				if zmq.AsErrno(err) != zmq.Errno(unix.EAGAIN) {
					return -1
				}
				break
			}
		}
	}
	return malformed
}

// TestGarbageFromServer: a client takes no harm of a server that sends anything.
func TestGarbageFromServer(t *testing.T) {
	s := rawSocket(t, zmq.ROUTER)
	must(t, s.SetSndhwm(0)) // a ROUTER drops what is beyond
	must(t, s.Bind("tcp://127.0.0.1:*"))
	at, err := s.GetLastEndpoint()
	must(t, err)
	honest := start(t, Config{})
	must(t, honest.Set("server/timeout", "600000"))
	n := start(t, Config{})
	must(t, n.Set("server/timeout", "600000"))
	must(t, n.Connect(at, ""))
	must(t, n.Connect(bind(t, honest, "tcp://127.0.0.1:*"), ""))
	parts, err := s.RecvMessageBytes(0)
	must(t, err)
	r := rand.New(rand.NewPCG(7, 7))
	tuple := encode(t, wire.Message{ID: wire.Publish, Key: "garbage", Value: "value"})
	for range 5000 {
		if _, err := s.SendMessage(parts[0], mutate(r, tuple)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.SendMessage(parts[0], encode(t, wire.Message{ID: wire.Publish, Key: "end", Value: "1"})); err != nil {
		t.Fatal(err)
	}
	eventuallyValue(t, honest, "end", "1")
}
