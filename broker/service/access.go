// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
)

// The ZAP domains (ZeroMQ RFC 27) tell from which kind of endpoint a client comes.
const (
	zapEndpoint = "inproc://zeromq.zap.01"
	zapIPC      = "zpipes.ipc"
	zapTCP      = "zpipes.tcp"
)

// Bounds of what is logged of those that are refused.
const (
	tellEvery = time.Minute
	toldUsers = 64 // whose first refusal is logged at once
)

// porter decides who may connect: libzmq asks it, by ZAP, about each client. The
// loop owns it.
type porter struct {
	socket *zmq.Socket
	allow  func(uid int) bool
	log    *slog.Logger
	stats  *counters

	told     map[int]bool // users whose refusal was logged
	untold   int          // refusals that were not
	lastTold time.Time
}

func (p *porter) open(ctx *zmq.Context, cfg Config, stats *counters) error {
	p.allow, p.log, p.stats, p.told = cfg.AllowUID, cfg.Log, stats, make(map[int]bool)
	if p.allow == nil {
		own := os.Geteuid()
		p.allow = func(uid int) bool { return uid == 0 || uid == own }
	}
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
		code, text := "400", "not allowed"
		// version, request id, domain, address, routing id, mechanism
		if len(request) >= 6 && p.admits(string(request[2]), string(request[3])) {
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

func (p *porter) admits(domain, address string) bool {
	if domain == zapTCP {
		return true
	}
	who, ok := parsePeer(address)
	if ok && p.allow(who.uid) {
		return true
	}
	p.stats.refused.Add(1)
	p.tell(who, time.Now())
	return false
}

// tell logs the first refusal of a user, and of all others one in a while with
// their count: who is refused must not fill the log.
func (p *porter) tell(who peer, now time.Time) {
	first := !p.told[who.uid] && len(p.told) < toldUsers
	if !first && now.Sub(p.lastTold) < tellEvery {
		p.untold++
		return
	}
	if first {
		p.told[who.uid] = true
	}
	p.log.Warn("refused a ZPIPES client: its user may not connect", "uid", who.uid, "pid", who.pid, "unlogged", p.untold)
	p.lastTold, p.untold = now, 0
}

// peer is a process at the other end of an ipc connection.
type peer struct{ uid, gid, pid int }

// parsePeer reads the address libzmq gives an ipc peer: its last three parts are
// what SO_PEERCRED says (unix(7)).
func parsePeer(address string) (peer, bool) {
	parts := strings.Split(address, ":")
	if len(parts) != 4 {
		return peer{uid: -1}, false
	}
	var ids [3]int
	for i, part := range parts[1:] {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return peer{uid: -1}, false
		}
		ids[i] = int(n)
	}
	return peer{uid: ids[0], gid: ids[1], pid: ids[2]}, true
}
