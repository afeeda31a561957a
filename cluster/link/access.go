// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"
	"log/slog"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
)

const (
	// zapEndpoint is where libzmq asks who may connect (ZeroMQ RFC 27), in each
	// context by itself.
	zapEndpoint = "inproc://zeromq.zap.01"
	zapDomain   = "zpipes.peers"
	// tellEvery is how often the same kind of trouble is logged.
	tellEvery = 30 * time.Second
)

// keyPair is for CURVE, in Z85. It lives as long as the broker and is written
// nowhere.
type keyPair struct{ public, secret string }

func newKeyPair() (keyPair, error) {
	public, secret, err := zmq.NewCurveKeypair()
	if err != nil {
		return keyPair{}, fmt.Errorf("make CURVE keys: %w: libzmq must be built with CURVE", err)
	}
	return keyPair{public, secret}, nil
}

// member reports whether a peer that is up has the key.
func (h *hub) member(key string) bool {
	for _, r := range h.all() {
		r.mu.Lock()
		found := !r.down && r.at.Key == key
		r.mu.Unlock()
		if found {
			return true
		}
	}
	return false
}

// porter answers libzmq's question who may connect. The receiving goroutine owns
// it.
type porter struct {
	socket *zmq.Socket
	member func(key string) bool
	log    *slog.Logger
	tries  map[string]int // by key, of those that were refused
	told   throttle
}

func (p *porter) open(ctx *zmq.Context) error {
	var err error
	if p.socket, err = mailbox.Socket(ctx, zmq.REP); err != nil {
		return err
	}
	if err := p.socket.Bind(zapEndpoint); err != nil {
		return fmt.Errorf("bind %s: %w", zapEndpoint, err)
	}
	return nil
}

func (p *porter) close() {
	if p.socket != nil {
		p.socket.Close()
	}
}

// answer handles the requests that are there.
func (p *porter) answer() {
	for {
		request, err := p.socket.RecvMessageBytes(zmq.DONTWAIT)
		if err != nil {
			return
		}
		// Not 300, "try again": libzmq then lets the client wait for its own timeout.
		code, text := "400", "not a member of the cluster"
		if p.admits(request) {
			code, text = "200", "OK"
		}
		id := []byte{}
		if len(request) > 1 {
			id = request[1]
		}
		if _, err := p.socket.SendMessageDontwait("1.0", id, code, text, "", ""); err != nil {
			p.log.Warn("cannot answer a ZAP request", "error", err)
		}
	}
}

// admits looks at version, request id, domain, address, routing id, mechanism
// and the peer's public key.
func (p *porter) admits(request [][]byte) bool {
	if len(request) == 7 && string(request[5]) == "CURVE" && len(request[6]) == 32 &&
		p.member(zmq.Z85encode(string(request[6]))) {
		return true
	}
	p.refuse(request)
	return false
}

// refuse logs those who come again and again: a peer may know of this broker a
// moment before this broker knows of it.
func (p *porter) refuse(request [][]byte) {
	if len(request) < 7 {
		return
	}
	key, address := string(request[6]), string(request[3])
	if p.tries == nil || len(p.tries) > maxNames {
		p.tries = make(map[string]int)
	}
	p.tries[key]++
	if p.tries[key] < quickTries {
		return
	}
	if n, ok := p.told.pass(time.Now()); ok {
		p.log.Warn("refused a connection: its key is not that of a member of the cluster; check the cluster key of that host",
			"address", address, "unlogged", n)
	}
}

// throttle lets one through in a while and counts the others.
type throttle struct {
	last  time.Time
	count int
}

func (t *throttle) pass(now time.Time) (held int, ok bool) {
	if !t.last.IsZero() && now.Sub(t.last) < tellEvery {
		t.count++
		return 0, false
	}
	held, t.count, t.last = t.count, 0, now
	return held, true
}
