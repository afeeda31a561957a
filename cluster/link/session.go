// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// session is this side of a session with a peer: what was received, what was
// sent, and when something is due. It has no socket, goroutine, lock or clock.
//
// A session is named by a pair of epochs, one chosen by each side, which go up
// within a life. A side that has lost the session takes another epoch; by that
// the other side learns of it, whatever frames were lost before.
type session struct {
	cfg   *Config
	peer  peer.ID
	mine  uint64 // this side's epoch
	yours uint64 // the peer's; 0: not known, so the session does not stand
	floor uint64 // epochs of the peer up to this one belong to sessions that are lost

	began time.Time
	heard time.Time // the last frame of this session, or began
	sent  time.Time // the last frame to the peer
	hello time.Time // when the session is to be offered again

	out sender

	got    uint64    // the number of the last message that came in order
	missed uint32    // the last of the peer's rounds in which messages were missing; 0: none were
	owed   int       // bytes that came and are not acknowledged
	owedAt time.Time // since when
	urgent bool      // a frame is due now

	peerClock   int64 // of the last frame
	peerClockAt time.Time
	rtt         time.Duration // smoothed
}

// newSession begins a session. mine is greater than in any session before.
func newSession(cfg *Config, id peer.ID, mine, floor uint64, now time.Time) *session {
	return &session{
		cfg: cfg, peer: id, mine: mine, floor: floor,
		began: now, heard: now, hello: now,
		out: sender{cfg: cfg, round: 1},
	}
}

func (s *session) standing() bool { return s.yours != 0 }

// receive takes in a frame that is meant for this life, with its messages, which
// it takes over. It returns those that are to be delivered. An error means that
// the session is lost; it wraps the reason.
func (s *session) receive(f *peer.Frame, messages []Message, now time.Time) ([]Message, error) {
	ours, err := s.recognise(f, now)
	if err == nil && ours {
		err = s.follow(f, now)
	}
	if err != nil || !ours || f.Kind != peer.FrameData {
		releaseAll(messages)
		return nil, err
	}
	return s.accept(f, messages, now), nil
}

// recognise tells whether a frame belongs to this session and has more to say
// than that the peer is there.
func (s *session) recognise(f *peer.Frame, now time.Time) (bool, error) {
	switch {
	case f.Mine <= s.floor:
		// A peer that still is in a session that was lost here must learn of it.
		s.offer(now)
		return false, nil
	case f.Kind != peer.FrameHello && f.Yours != s.mine:
		s.offer(now)
		return false, nil
	case f.Mine < s.yours:
		return false, nil
	case s.yours != 0 && f.Mine > s.yours:
		return false, fmt.Errorf("%w: it began another one", ErrReset)
	case f.Kind == peer.FrameReset:
		return false, ErrReset
	case s.yours == 0:
		s.yours = f.Mine
		s.urgent = true
	}
	s.heard = now
	if f.Kind == peer.FrameHello {
		s.urgent = true
		return false, nil
	}
	return true, nil
}

// offer has the epoch told to a peer that seems to know another, but not for
// each of its frames.
func (s *session) offer(now time.Time) {
	soon := s.began.Add(helloEvery / 8)
	if !s.sent.IsZero() {
		soon = s.sent.Add(helloEvery / 8)
	}
	if s.yours == 0 && soon.Before(s.hello) {
		s.hello = soon
	}
	if s.yours != 0 && !now.Before(soon) {
		s.urgent = true
	}
}

// follow learns what the peer has received and what its clock says.
func (s *session) follow(f *peer.Frame, now time.Time) error {
	if err := s.out.acknowledge(f.Ack); err != nil {
		return err
	}
	if f.Lost != 0 {
		s.out.goBack(f.Lost)
	}
	if f.Clock > 0 {
		s.peerClock, s.peerClockAt = f.Clock, now
	}
	if f.Kind == peer.FramePulse && f.Echo > 0 {
		s.measure(time.Duration(s.clock(now) - f.Echo))
	}
	if f.Seq > s.got+1 {
		s.miss(f.Round)
	}
	return nil
}

// miss notes that messages of the peer did not arrive, once in each round.
func (s *session) miss(round uint32) {
	if round > s.missed {
		s.missed = round
		s.urgent = true
	}
}

// accept returns the messages of a frame that have not come before.
func (s *session) accept(f *peer.Frame, messages []Message, now time.Time) []Message {
	if s.owed == 0 {
		s.owedAt = now
	}
	s.owed++
	if f.Seq > s.got+1 {
		releaseAll(messages)
		return nil
	}
	known := min(s.got+1-f.Seq, uint64(len(messages)))
	releaseAll(messages[:known])
	messages = messages[known:]
	if len(messages) == 0 {
		return nil
	}
	s.got += uint64(len(messages))
	for _, m := range messages {
		s.owed += cost(m)
	}
	if s.owed >= min(s.cfg.Window/4, 1<<20) {
		s.urgent = true
	}
	return messages
}

// frame returns the next frame that is to be sent now, if there is one. The
// messages in it stay the session's; they are good until it is told anything.
func (s *session) frame(now time.Time) (peer.Frame, []*Message, bool) {
	if s.yours == 0 {
		if now.Before(s.hello) {
			return peer.Frame{}, nil, false
		}
		return s.fill(peer.FrameHello, 1, 0, now), nil, true
	}
	seq, messages := s.out.gather(s.limit())
	if len(messages) > 0 {
		return s.fill(peer.FrameData, seq, len(messages), now), messages, true
	}
	if s.urgent || s.owes(now) || !now.Before(s.sent.Add(s.cfg.Heartbeat)) {
		return s.fill(peer.FramePulse, seq, 0, now), nil, true
	}
	return peer.Frame{}, nil, false
}

func (s *session) fill(kind peer.FrameKind, seq uint64, count int, now time.Time) peer.Frame {
	f := peer.Frame{
		Kind: kind, Mine: s.mine, Yours: s.yours,
		To: s.peer.Boot, Round: s.out.round, Lost: s.missed, Seq: seq, Ack: s.got,
		Count: uint16(count), Clock: s.clock(now),
	}
	if s.peerClock > 0 {
		f.Echo = s.peerClock + int64(now.Sub(s.peerClockAt))
	}
	s.sent, s.hello = now, now.Add(helloEvery)
	s.owed, s.urgent = 0, false
	return f
}

// unsend undoes frame: there was no room for it.
func (s *session) unsend(f *peer.Frame) {
	s.out.next -= int(f.Count)
	s.urgent = true
	if f.Kind == peer.FrameHello {
		s.hello = s.sent
	}
}

// limit is how much a frame gathers. On a link that takes long for what is on
// its way, a frame must not take so long that the peer seems silent.
func (s *session) limit() int {
	if s.rtt > s.cfg.FailureTimeout/8 {
		return frameSize / 8
	}
	return frameSize
}

// reset returns the frame that tells the peer that the session is lost, if it
// can understand that.
func (s *session) reset(now time.Time) (peer.Frame, bool) {
	if s.yours == 0 {
		return peer.Frame{}, false
	}
	return s.fill(peer.FrameReset, 1, 0, now), true
}

// owes reports that what came must be acknowledged now.
func (s *session) owes(now time.Time) bool {
	return s.owed > 0 && !now.Before(s.owedAt.Add(ackDelay))
}

// ready reports that frame would return one though nothing was queued since.
func (s *session) ready() bool {
	return s.urgent || s.yours != 0 && s.out.ready()
}

// failed reports that the peer was not heard for the failure timeout, or what
// else makes the session lost on this side.
func (s *session) failed(now time.Time) error {
	if s.out.fault != nil {
		return s.out.fault
	}
	if now.Sub(s.heard) < s.cfg.FailureTimeout {
		return nil
	}
	what := "no frame came"
	if s.yours == 0 {
		what = "it never answered"
	}
	return fmt.Errorf("%w of %v: %s", ErrSilent, s.cfg.FailureTimeout, what)
}

// deadline returns when frame or failed must be asked again, if nothing else
// happens. While the link takes nothing, frames are not due.
func (s *session) deadline(blocked bool) time.Time {
	at := s.heard.Add(s.cfg.FailureTimeout)
	if blocked {
		return at
	}
	next := s.sent.Add(s.cfg.Heartbeat)
	if s.yours == 0 {
		next = s.hello
	} else if s.owed > 0 && s.owedAt.Add(ackDelay).Before(next) {
		next = s.owedAt.Add(ackDelay)
	}
	if next.Before(at) {
		at = next
	}
	return at
}

// release gives up everything that is queued or kept.
func (s *session) release() { s.out.release() }

// clock is never 0.
func (s *session) clock(now time.Time) int64 { return int64(now.Sub(s.began)) + 1 }

func (s *session) measure(rtt time.Duration) {
	if rtt <= 0 || rtt > time.Hour {
		return
	}
	if s.rtt == 0 {
		s.rtt = rtt
		return
	}
	s.rtt += (rtt - s.rtt) / 4
}

// cost is what a message counts where memory is bounded.
func cost(m Message) int { return m.Len() + messageOverhead }

const messageOverhead = 64

func releaseAll(messages []Message) {
	for _, m := range messages {
		m.Release()
	}
}
