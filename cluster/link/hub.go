// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// loss is an end of a session that Handler is to be told.
type loss struct {
	id  peer.ID
	err error
}

// hub is what all Links do, whatever carries their frames. Two sides use it: one
// receives and is the only one to call the Handler; one sends. They may be one
// goroutine.
type hub struct {
	cfg   Config
	poke  func(*remote) // has the sending side look at a peer
	rouse func()        // has the receiving side call tell
	epoch atomic.Uint64

	mu     sync.RWMutex // guards below; nothing is taken under it: a Source may wait for it
	peers  map[peer.ID]*remote
	closed bool

	untold  atomic.Int32 // losses
	lossMu  sync.Mutex   // guards losses; nothing is taken under it
	losses  []loss
	queue   []Message // the sending side's; their memory is used again
	sources []Source
}

// turn is how many frames are sent to one peer before the others have theirs.
const turn = 8

func newHub(cfg Config) *hub {
	return &hub{cfg: cfg, peers: make(map[peer.ID]*remote)}
}

func (h *hub) find(id peer.ID) *remote {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.peers[id]
}

// all returns the peers that are up.
func (h *hub) all() []*remote {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.AppendSeq(make([]*remote, 0, len(h.peers)), maps.Values(h.peers))
}

// Up is described at Links.
func (h *hub) Up(p Peer) {
	if p.ID == h.cfg.ID {
		return
	}
	r, former := h.enter(p.ID)
	for _, f := range former {
		h.drop(f, fmt.Errorf("%w: it is %v now", ErrRestarted, p.ID))
	}
	if r == nil {
		return
	}
	r.mu.Lock()
	r.at = p
	r.mu.Unlock()
	// A session that was lost is told before the next begins.
	if !h.toBeTold(p.ID) {
		h.begin(r)
	}
	r.look(h.poke)
}

// enter finds or adds a peer, and takes out other lives of its node.
func (h *hub) enter(id peer.ID) (r *remote, former []*remote) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil
	}
	for other, r := range h.peers {
		if other.Node == id.Node && other != id {
			delete(h.peers, other)
			former = append(former, r)
		}
	}
	r = h.peers[id]
	if r == nil {
		r = &remote{id: id}
		h.peers[id] = r
	}
	return r, former
}

// Down is described at Links.
func (h *hub) Down(id peer.ID, err error) {
	h.mu.Lock()
	r := h.peers[id]
	delete(h.peers, id)
	h.mu.Unlock()
	if r != nil {
		h.drop(r, err)
	}
}

// drop ends a peer that was taken out.
func (h *hub) drop(r *remote, err error) {
	r.mu.Lock()
	r.down = true
	h.lose(r, err)
	r.mu.Unlock()
	r.look(h.poke)
}

// Send is described at Links.
func (h *hub) Send(to peer.ID, m Message) {
	r := h.find(to)
	if r == nil {
		m.Release()
		return
	}
	if !r.in.put(m, &h.cfg) {
		m.Release()
	}
	r.look(h.poke)
}

// Wake is described at Links.
func (h *hub) Wake(to peer.ID, s Source) {
	if r := h.find(to); r != nil && r.in.wake(s) {
		r.look(h.poke)
	}
}

// PublicKey is described at Links.
func (h *hub) PublicKey() string { return "" }

// Stats is described at Links.
func (h *hub) Stats() []PeerStat {
	remotes := h.all()
	stats := make([]PeerStat, 0, len(remotes))
	for _, r := range remotes {
		stats = append(stats, r.stats())
	}
	slices.SortFunc(stats, func(a, b PeerStat) int { return compareIDs(a.ID, b.ID) })
	return stats
}

// begin starts a session.
func (h *hub) begin(r *remote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down || r.s != nil {
		return
	}
	r.s = newSession(&h.cfg, r.id, h.epoch.Add(1), r.floor, time.Now())
	r.in.set(true)
}

// lose ends the session, if there is one, and notes that Handler is to be told.
// r.mu is held.
func (h *hub) lose(r *remote, err error) {
	s := r.s
	if s == nil {
		return
	}
	r.s = nil
	r.in.set(false)
	r.floor = max(r.floor, s.yours)
	r.stat.Lost++
	r.stat.Resent += s.out.resent
	if f, ok := s.reset(time.Now()); ok {
		r.bye = &f
	}
	s.release()
	h.lossMu.Lock()
	h.losses = append(h.losses, loss{id: r.id, err: err})
	h.lossMu.Unlock()
	h.untold.Add(1)
	h.cfg.Log.Log(context.Background(), r.lossLevel(s, err), "the session with a peer is lost", "peer", r.id, "error", err, "stood", s.standing())
	h.rouse()
}

// lossLevel is for whom the loss of a session is news.
func (r *remote) lossLevel(s *session, err error) slog.Level {
	switch {
	case r.down:
		return slog.LevelDebug // membership has said why
	case !s.standing() && r.stat.Lost > 1:
		return slog.LevelDebug // a peer that does not answer was told of
	case errors.Is(err, ErrReset):
		return slog.LevelInfo // the peer has said why, or this host is leaving
	}
	return slog.LevelWarn
}

// fail ends a session; the receiving side calls it.
func (h *hub) fail(r *remote, err error) {
	r.mu.Lock()
	h.lose(r, err)
	r.mu.Unlock()
	r.look(h.poke)
}

func (h *hub) toBeTold(id peer.ID) bool {
	h.lossMu.Lock()
	defer h.lossMu.Unlock()
	return slices.ContainsFunc(h.losses, func(l loss) bool { return l.id == id })
}

// tell calls Handler.Lost for what was lost, and begins the next sessions. The
// receiving side calls it before anything is delivered.
func (h *hub) tell() {
	for h.untold.Load() > 0 {
		h.lossMu.Lock()
		l := h.losses[0]
		h.losses = h.losses[1:]
		h.lossMu.Unlock()
		h.untold.Add(-1)
		r := h.find(l.id)
		if r != nil {
			h.begin(r)
		}
		h.cfg.Handler.Lost(l.id, l.err)
		if r != nil {
			r.look(h.poke)
		}
	}
}

// arrive takes in a frame of a peer with its messages, which it takes over. The
// receiving side calls it. It returns true if what came must be acknowledged
// soon, though there is no need to do so now.
func (h *hub) arrive(r *remote, f *peer.Frame, messages []Message) bool {
	h.tell()
	messages, owes, err := h.receive(r, f, messages)
	for _, m := range messages {
		h.cfg.Handler.Receive(r.id, m)
	}
	if err != nil {
		h.tell()
		if f.Kind == peer.FrameHello {
			_, _, _ = h.receive(r, f, nil) // it begins the session that was begun just now
		}
	}
	h.nudge(r)
	return owes
}

func (h *hub) receive(r *remote, f *peer.Frame, messages []Message) (_ []Message, owes bool, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s == nil {
		releaseAll(messages)
		return nil, false, nil
	}
	stood := r.s.standing()
	messages, err := r.s.receive(f, messages, time.Now())
	if err != nil {
		h.lose(r, err)
		return nil, false, err
	}
	if !stood && r.s.standing() {
		h.cfg.Log.Info("the session with a peer stands", "peer", r.id)
	}
	for _, m := range messages {
		r.stat.MessagesIn++
		r.stat.BytesIn += uint64(m.Len())
	}
	return messages, r.s.owed > 0 && !r.s.urgent, nil
}

// nudge has the sending side look at a peer if it has something to send.
func (h *hub) nudge(r *remote) {
	r.mu.Lock()
	ready := r.s != nil && !r.blocked.Load() && r.s.ready()
	r.mu.Unlock()
	if ready {
		r.look(h.poke)
	}
}

// acknowledge has what came from a peer acknowledged now, if it has not been.
func (h *hub) acknowledge(r *remote) {
	r.mu.Lock()
	if r.s != nil && r.s.owed > 0 {
		r.s.urgent = true
	}
	r.mu.Unlock()
	h.nudge(r)
}

// flush sends what is due to a peer, unless the link is blocked, until transmit,
// which is given one frame to pack, returns false: the link takes nothing more now.
// The sending side calls it. It returns when to call it again if nothing happens before.
func (h *hub) flush(r *remote, blocked bool, transmit func(f *peer.Frame, messages []*Message) bool) time.Time {
	r.poked.Store(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	if bye := r.bye; bye != nil && !blocked {
		transmit(bye, nil)
	}
	r.bye = nil
	h.drain(r)
	h.check(r)
	for n := 0; r.s != nil && !blocked; n++ {
		if n == turn {
			r.look(h.poke)
			break
		}
		now := time.Now()
		f, messages, ok := r.s.frame(now)
		if !ok {
			break
		}
		if blocked = !transmit(&f, messages); blocked {
			r.s.unsend(&f)
			break
		}
		for _, m := range messages {
			r.stat.MessagesOut++
			r.stat.BytesOut += uint64(m.Len())
		}
		h.check(r)
	}
	r.blocked.Store(blocked)
	if r.s == nil {
		return time.Time{}
	}
	return r.s.deadline(blocked)
}

// check ends the session if it has failed; r.mu is held.
func (h *hub) check(r *remote) {
	if r.s == nil {
		return
	}
	if err := r.s.failed(time.Now()); err != nil {
		h.lose(r, err)
	}
}

// drain moves what was given to be sent into the session.
func (h *hub) drain(r *remote) {
	var fault error
	h.queue, h.sources, fault = r.in.take(h.queue, h.sources)
	if r.s == nil {
		releaseAll(h.queue)
		return
	}
	err := cmp.Or(fault, r.s.out.put(h.queue))
	for _, s := range h.sources {
		r.s.out.wake(s)
	}
	if err != nil {
		h.lose(r, err)
	}
}

// shut lets no peer in any more. It returns false if that was so before.
func (h *hub) shut() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.closed
	h.closed = true
	return !was
}

// forget gives up everything, when no goroutine of the link is left.
func (h *hub) forget() {
	h.mu.Lock()
	peers := h.peers
	h.peers = nil
	h.mu.Unlock()
	for _, r := range peers {
		r.mu.Lock()
		r.down = true
		if r.s != nil {
			r.s.release()
			r.s = nil
		}
		r.in.set(false)
		r.mu.Unlock()
	}
}

func compareIDs(a, b peer.ID) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot))
}

// again has the sending side look at a peer whose link takes something again.
func (h *hub) again(r *remote) {
	r.blocked.Store(false)
	r.look(h.poke)
}

// announce has a frame sent to a peer, which tells it what was sent and
// what came.
func (h *hub) announce(r *remote) {
	r.mu.Lock()
	if r.s != nil {
		r.s.urgent = true
		r.s.hello = time.Time{}
	}
	r.mu.Unlock()
	r.look(h.poke)
}
