// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// A Window is no more than a broker and libzmq bear.
func TestWindowIsNoFlood(t *testing.T) {
	for _, x := range []struct{ window, chunk, size int }{
		{600, 256 << 10, 150 << 20}, {3000, 1 << 10, 3000 << 10},
		{2, 20 << 20, 32 << 20},
	} {
		t.Run(fmt.Sprintf("%d of %d", x.window, x.chunk), func(t *testing.T) {
			t.Parallel()
			_, endpoint := serve(t, nil)
			w := writer(t, endpoint, "p", Window(x.window), Chunk(x.chunk))
			block := make([]byte, 32<<20)
			for left := x.size; left > 0; {
				n, err := w.Write(block[:min(left, len(block))])
				if err != nil {
					t.Fatalf("%d bytes before the end: %v", left, err)
				}
				left -= n
			}
			r := reader(t, endpoint, "p")
			done := make(chan error, 1)
			go func() { done <- w.Close() }()
			if n, err := io.Copy(io.Discard, r); int(n) != x.size || err != nil {
				t.Errorf("%d bytes of %d have come: %v", n, x.size, err)
			}
			if err := <-done; err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// What libzmq has no room for waits, in its order.
func TestFullSocketIsNoEnd(t *testing.T) {
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	defer ctx.Term()
	l := &link{poller: zmq.NewPoller(), endpoint: unique()}
	if l.socket, err = mailbox.Socket(ctx, zmq.DEALER); err != nil {
		t.Fatal(err)
	}
	defer l.socket.Close()
	if err := errors.Join(l.socket.SetSndhwm(2), l.socket.Connect(l.endpoint)); err != nil {
		t.Fatal(err)
	}
	l.poller.Add(l.socket, zmq.POLLIN)
	const count = 10
	for i := range count {
		if err := l.send(zpipes.Message{ID: zpipes.Read, Size: uint32(i)}); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	if len(l.unsent) == 0 {
		t.Fatal("the socket has taken all: nothing is tested")
	}
	server, err := mailbox.Socket(ctx, zmq.ROUTER)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := errors.Join(server.SetRcvtimeo(patience), server.Bind(l.endpoint)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); len(l.unsent) > 0 && time.Now().Before(end); {
		if _, err := l.poller.Poll(patience); err != nil {
			t.Fatal(err)
		}
		if err := l.resend(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		frames, err := server.RecvMessageBytes(0)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if m, err := (zpipes.Limits{}).Decode(frames[1]); err != nil || m.Size != uint32(i) {
			t.Errorf("frame %d is %+v, %v", i, m, err)
		}
	}
}
