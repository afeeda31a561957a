// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"errors"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// mute is a broker that answers opens, and later nothing, with its connections
// up: one that hangs.
func mute(t *testing.T) string {
	endpoint := unique()
	ctx, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	s, err := mailbox.Socket(ctx, zmq.ROUTER)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SetRcvtimeo(20*time.Millisecond), s.Bind(endpoint)); err != nil {
		t.Fatal(err)
	}
	quit := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		defer s.Close()
		for {
			select {
			case <-quit:
				return
			default:
			}
			frames, err := s.RecvMessageBytes(0)
			if err != nil {
				continue
			}
			m, err := zpipes.Limits{}.Decode(frames[1])
			if err == nil && (m.ID == zpipes.Input || m.ID == zpipes.Output) {
				answer, _ := zpipes.Limits{}.Append(nil, zpipes.Message{ID: m.ID + 1})
				s.SendMessage(frames[0], answer)
			}
		}
	})
	t.Cleanup(func() {
		close(quit)
		all.Wait()
		ctx.Term()
	})
	return endpoint
}

func TestBrokerThatHangs(t *testing.T) {
	endpoint := mute(t)
	r := reader(t, endpoint, "p", BrokerTimeout(soon), CloseTimeout(soon))
	w := writer(t, endpoint, "q", BrokerTimeout(soon), CloseTimeout(soon))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrBrokerGone) {
		t.Errorf("read: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, ErrBrokerGone) {
		t.Errorf("write: %v", err)
	}
	slow := reader(t, endpoint, "r", CloseTimeout(soon))
	if err := slow.Close(); !errors.Is(err, ErrBrokerGone) {
		t.Errorf("close: %v", err)
	}
}

// TestIdleEndIsKept: the broker drops clients that are silent, and these are not.
func TestIdleEndIsKept(t *testing.T) {
	_, endpoint := serve(t, shortPatience)
	w := writer(t, endpoint, "p", BrokerTimeout(300*time.Millisecond))
	other := reader(t, endpoint, "clock")
	other.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	r := reader(t, endpoint, "p")
	if _, err := w.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 100)); n == 0 || err != nil {
		t.Fatal(n, err)
	}
}
