// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"fmt"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
)

// zapEndpoint is where libzmq asks about clients (RFC 27), once in a context. So
// a node that shares its context has none.
const zapEndpoint = "inproc://zeromq.zap.01"

// openZAP makes the socket on which libzmq asks who may connect. It asks about
// endpoints with CURVE only, as others have no ZAP domain.
func (l *loop) openZAP() error {
	if l.cfg.Context != nil {
		return nil
	}
	var err error
	if l.zap, err = mailbox.Socket(l.context, zmq.REP); err != nil {
		return err
	}
	if err := l.zap.Bind(zapEndpoint); err != nil {
		return fmt.Errorf("bind %s: %w", zapEndpoint, err)
	}
	l.poller.Add(l.zap, zmq.POLLIN)
	return nil
}

// admitPeers answers the questions that are there.
func (l *loop) admitPeers() {
	for {
		request, err := l.zap.RecvMessageBytes(zmq.DONTWAIT)
		if err != nil {
			return // EAGAIN
		}
		code, text := "400", "not allowed"
		if l.allows(request) {
			code, text = "200", "OK"
		}
		id := []byte{}
		if len(request) > 1 {
			id = request[1]
		}
		if _, err := l.zap.SendMessageDontwait("1.0", id, code, text, "", ""); err != nil {
			l.log.Warn("cannot answer a ZAP request", "error", err)
		}
	}
}

// allows judges a request: version, request id, domain, address, routing id,
// mechanism, and for CURVE the client's public key.
func (l *loop) allows(request [][]byte) bool {
	if len(request) != 7 || string(request[5]) != "CURVE" || len(request[6]) != 32 {
		return false
	}
	domain, key := string(request[2]), zmq.Z85encode(string(request[6]))
	if l.cfg.Allow == nil || l.cfg.Allow(domain, key) {
		return true
	}
	l.stats.Unwelcome++
	l.trace("refused a gossip client: its key is not allowed", "domain", domain, "address", string(request[3]), "key", key)
	return false
}
