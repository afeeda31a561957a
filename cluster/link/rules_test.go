// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Each rule of a session by itself.
func TestSessionRules(t *testing.T) {
	quick := rand.New(rand.NewPCG(0, 0))
	stand := func(t *testing.T, shape ...func(*Config)) *rig {
		r := newRig(t, quick, shape...)
		r.pass(50 * time.Millisecond)
		if !r.a.s.standing() || !r.b.s.standing() {
			t.Fatal("the session does not stand")
		}
		return r
	}
	t.Run("nothing is sent before the peer is known", func(t *testing.T) {
		r := newRig(t, quick)
		r.a.send(10)
		f, messages, ok := r.a.s.frame(r.now)
		if !ok || f.Kind != peer.FrameHello || len(messages) > 0 {
			t.Errorf("got %v %v", f, ok)
		}
		r.settled()
	})
	t.Run("small messages share a frame, in order", func(t *testing.T) {
		r := stand(t)
		for range 100 {
			r.a.send(10)
		}
		f, messages, _ := r.a.s.frame(r.now)
		if f.Kind != peer.FrameData || len(messages) != 100 || f.Seq != 1 {
			t.Errorf("got %+v", f)
		}
		r.settled() // the frame was lost
	})
	t.Run("messages go before sources", func(t *testing.T) {
		r := stand(t)
		r.a.source.left = 3
		r.a.s.out.wake(r.a.source)
		r.a.s.out.wake(r.a.source)
		r.a.send(10)
		_, messages, _ := r.a.s.frame(r.now)
		if len(messages) != 4 || messages[0].Len() != 12+10 {
			t.Errorf("got %d messages", len(messages))
		}
		r.settled()
	})
	t.Run("sources have turns", func(t *testing.T) {
		r := stand(t)
		other := &drip{side: r.a, left: 2}
		r.a.source.left = 2
		r.a.s.out.wake(r.a.source)
		r.a.s.out.wake(other)
		if r.a.s.out.gather(1001); r.a.source.left != 1 || other.left != 2 {
			t.Errorf("left are %d and %d", r.a.source.left, other.left)
		}
		if r.a.s.out.gather(1001); r.a.source.left != 1 || other.left != 1 {
			t.Errorf("left are %d and %d", r.a.source.left, other.left)
		}
		r.settled()
	})
	t.Run("the window bounds what sources have on the way", func(t *testing.T) {
		r := stand(t, func(c *Config) { c.Window = 10_000 })
		r.a.source.left = 100
		r.a.s.out.wake(r.a.source)
		r.cut = true
		r.pass(100 * time.Millisecond)
		if n := r.a.s.out.flightBytes; n < 10_000 || n > 10_000+frameSize {
			t.Errorf("%d bytes are on the way", n)
		}
		r.settled()
		if r.a.source.left > 0 {
			t.Error("the source was not asked again")
		}
	})
	t.Run("too much that waits is the end", func(t *testing.T) {
		r := stand(t, func(c *Config) { c.MaxQueue = 10_000; c.Window = 10_000 })
		r.cut = true
		for range 10 {
			r.a.send(3000)
		}
		if len(r.a.lost) != 1 || !errors.Is(r.a.lost[0], ErrOverflow) {
			t.Errorf("a lost %v", r.a.lost)
		}
		r.settled()
		if len(r.b.lost) != 1 || !errors.Is(r.b.lost[0], ErrReset) {
			t.Errorf("b lost %v", r.b.lost)
		}
	})
	t.Run("silence in one direction is the end for both", func(t *testing.T) {
		r := stand(t)
		r.a.mute = true
		r.pass(1100 * time.Millisecond)
		r.a.mute = false
		r.settled()
		if len(r.b.lost) != 1 || !errors.Is(r.b.lost[0], ErrSilent) {
			t.Errorf("b lost %v", r.b.lost)
		}
		if len(r.a.lost) != 1 || !errors.Is(r.a.lost[0], ErrReset) {
			t.Errorf("a lost %v", r.a.lost)
		}
	})
	t.Run("a gap is told at once, and once", func(t *testing.T) {
		r := stand(t)
		r.a.send(10)
		r.a.s.frame(r.now) // lost
		for range 10 {
			r.a.send(10)
			r.a.flush()
		}
		before := r.a.s.out.resent
		for range 3 { // frames that tell it again
			r.b.send(10)
			r.pass(r.delay / 2)
		}
		r.pass(4 * r.delay)
		if got := r.b.came[r.a.s.mine]; got == nil || got.next != 11 {
			t.Errorf("came: %+v", got)
		}
		if n := r.a.s.out.resent - before; n != 11 {
			t.Errorf("%d messages were sent again", n)
		}
		r.settled()
	})
	t.Run("an undisturbed line carries nothing twice", func(t *testing.T) {
		r := stand(t)
		for range 200 {
			r.a.send(10)
			r.b.send(2000)
			r.b.source.left = 5
			r.b.s.out.wake(r.b.source)
			r.pass(2 * time.Millisecond)
		}
		r.settled()
		if a, b := r.a.s.out.resent, r.b.s.out.resent; a+b > 0 {
			t.Errorf("%d and %d messages were sent again", a, b)
		}
	})
	t.Run("a reset is the end", func(t *testing.T) {
		r := stand(t)
		f, ok := r.b.s.reset(r.now)
		if !ok {
			t.Fatal("no reset")
		}
		if _, err := r.a.s.receive(&f, nil, r.now); !errors.Is(err, ErrReset) {
			t.Errorf("got %v", err)
		}
		f.Yours++ // another session's
		if _, err := r.a.s.receive(&f, nil, r.now); err != nil {
			t.Errorf("one for another session: %v", err)
		}
	})
	t.Run("late frames of a session that is lost change nothing", func(t *testing.T) {
		r := newRig(t, quick)
		r.b.mute = true
		r.pass(10 * time.Millisecond) // a has not heard of b's first session
		r.b.lose(errors.New("declared"))
		r.b.mute = false
		r.pass(300 * time.Millisecond)
		yours := r.a.s.yours
		old := peer.Frame{Kind: peer.FrameData, To: r.a.cfg.ID.Boot, Mine: 1, Yours: r.a.s.mine, Seq: r.a.s.got + 1, Count: 1}
		in, err := r.a.s.receive(&old, []Message{{Head: []byte("late")}}, r.now)
		if len(in) > 0 || err != nil || r.a.s.yours != yours {
			t.Errorf("%d messages came: %v", len(in), err)
		}
	})
	t.Run("an idle peer acknowledges", func(t *testing.T) {
		r := stand(t)
		r.a.send(10)
		r.pass(2*r.delay + ackDelay + 5*time.Millisecond)
		if n := r.a.s.out.flight.len(); n != 0 {
			t.Errorf("%d messages are kept", n)
		}
		r.settled()
	})
	t.Run("idle peers send little", func(t *testing.T) {
		r := stand(t)
		r.pass(time.Second)
		before := r.frames
		r.pass(10 * time.Second)
		if n := r.frames - before; n < 140 || n > 180 {
			t.Errorf("%d frames in 10 s, with a heartbeat of %v", n, r.a.cfg.Heartbeat)
		}
		r.settled()
	})
	t.Run("the round-trip time is measured", func(t *testing.T) {
		r := stand(t)
		r.pass(3 * time.Second)
		if rtt := r.a.s.rtt; rtt < 2*r.delay || rtt > 2*r.delay+5*time.Millisecond {
			t.Errorf("%v, with a delay of %v", rtt, r.delay)
		}
		r.settled()
	})
	t.Run("frames are short on a slow link", func(t *testing.T) {
		r := stand(t)
		r.a.s.rtt = r.a.cfg.FailureTimeout / 4
		for range 300 {
			r.a.send(1000)
		}
		if _, messages, _ := r.a.s.frame(r.now); len(messages) > 34 {
			t.Errorf("%d messages are in one", len(messages))
		}
		r.settled()
	})
	t.Run("an acknowledgement of what was not sent is the end", func(t *testing.T) {
		r := stand(t)
		f, _ := r.b.s.reset(r.now)
		f.Kind, f.Ack = peer.FramePulse, 7
		if _, err := r.a.s.receive(&f, nil, r.now); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a message that is too long is the end", func(t *testing.T) {
		r := stand(t)
		big := &drip{side: r.a, left: 1}
		r.a.cfg.MaxMessage = 500
		r.a.s.out.wake(big)
		r.pass(50 * time.Millisecond)
		if len(r.a.lost) != 1 || !errors.Is(r.a.lost[0], ErrTooLong) {
			t.Errorf("a lost %v", r.a.lost)
		}
		r.settled()
	})
}
