// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
)

// handshakes are what a monitor is asked to tell.
const handshakes = zmq.EVENT_HANDSHAKE_SUCCEEDED | failures

const failures = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL

// monitor learns from libzmq how handshakes on a socket went. It belongs to the
// goroutine that the socket belongs to.
type monitor struct {
	watched, socket *zmq.Socket
	fd              int
}

func (m *monitor) open(ctx *zmq.Context, watched *zmq.Socket, name string) error {
	endpoint := "inproc://" + name
	if err := watched.Monitor(endpoint, handshakes); err != nil {
		return fmt.Errorf("monitor connections: %w", err)
	}
	m.watched = watched
	var err error
	if m.socket, err = mailbox.Socket(ctx, zmq.PAIR); err != nil {
		return err
	}
	// Without a limit libzmq never waits for us, holding the lock that close needs.
	if err := m.socket.SetRcvhwm(0); err != nil {
		return fmt.Errorf("set up monitor: %w", err)
	}
	if err := m.socket.Connect(endpoint); err != nil {
		return fmt.Errorf("connect %s: %w", endpoint, err)
	}
	if m.fd, err = m.socket.GetFd(); err != nil {
		return fmt.Errorf("look up descriptor of monitor: %w", err)
	}
	// Its descriptor tells nothing before it was once found empty.
	m.drain(func(zmq.Event, int) {})
	return nil
}

// close ends the monitoring, which must be before the watched socket is closed.
func (m *monitor) close() {
	if m.watched != nil {
		// An empty address stops it; it fails only if the socket is closed already.
		_ = m.watched.Monitor("", 0)
	}
	if m.socket != nil {
		m.socket.Close()
	}
}

// drain calls on for all that happened.
func (m *monitor) drain(on func(event zmq.Event, detail int)) {
	for {
		event, _, detail, err := m.socket.RecvEvent(zmq.DONTWAIT)
		if err != nil {
			return
		}
		on(event, detail)
	}
}

// mechanismMismatch is ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH of zmq.h: one
// side wants CURVE and the other plain text.
const mechanismMismatch = 0x11000001

// why says what a failed handshake means and what to do.
func why(event zmq.Event, detail int) string {
	switch {
	case event&zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL != 0 && detail == mechanismMismatch:
		return "one host has a cluster key and the other has none; give all the same"
	case event&zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL != 0:
		return "the other end does not speak this protocol, or has another key; check who listens there and the cluster key"
	case event&zmq.EVENT_HANDSHAKE_FAILED_AUTH != 0:
		return "the other end does not let this host in; check the cluster key"
	}
	return "it ended during the handshake, again and again; check the cluster key, and who listens there"
}
