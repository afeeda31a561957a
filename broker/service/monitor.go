// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"fmt"
	"strconv"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker/service/mailbox"
)

const eagain = unix.EAGAIN

// What libzmq tells of the connection a message came by (zmq_msg_gets(3)).
// __fd is what ZMQ_SRCFD is made of.
const (
	propertyFD   = "__fd"
	propertyPeer = "Peer-Address"

	monitorEndpoint = "inproc://zpipes.monitor"
)

// monitor learns from libzmq that a client's connection has ended: a ROUTER
// socket itself does not tell. The loop owns it.
type monitor struct {
	socket *zmq.Socket
	byFD   map[string]*client // clients by their connection's descriptor
	left   []*client          // their connection has ended
}

func (m *monitor) open(ctx *zmq.Context, watched *zmq.Socket) error {
	m.byFD = make(map[string]*client)
	if err := watched.Monitor(monitorEndpoint, zmq.EVENT_ACCEPTED|zmq.EVENT_DISCONNECTED); err != nil {
		return fmt.Errorf("monitor connections: %w", err)
	}
	var err error
	if m.socket, err = mailbox.Socket(ctx, zmq.PAIR); err != nil {
		return err
	}
	// Without a limit libzmq never waits for us, holding the lock that close needs.
	if err := m.socket.SetRcvhwm(0); err != nil {
		return fmt.Errorf("set up monitor: %w", err)
	}
	if err := m.socket.Connect(monitorEndpoint); err != nil {
		return fmt.Errorf("connect %s: %w", monitorEndpoint, err)
	}
	return nil
}

// close ends the monitoring, which must be before the watched socket is closed.
func (m *monitor) close(watched *zmq.Socket) {
	if m.socket == nil {
		return
	}
	// An empty address stops it; it fails only if the socket is closed already.
	_ = watched.Monitor("", 0)
	m.socket.Close()
	m.socket = nil
}

func (m *monitor) watch(c *client) {
	if c.fd != "" {
		m.byFD[c.fd] = c
	}
}

func (m *monitor) forget(c *client) {
	if m.byFD[c.fd] == c {
		delete(m.byFD, c.fd)
	}
}

// drain notes the connections that have ended. libzmq tells before it closes the
// descriptor, so its number still means the old client.
func (m *monitor) drain() {
	for {
		kind, _, fd, err := m.socket.RecvEvent(zmq.DONTWAIT)
		if err != nil {
			return
		}
		name := strconv.Itoa(fd)
		if kind == zmq.EVENT_ACCEPTED {
			m.reused(name)
		} else if c := m.byFD[name]; c != nil {
			delete(m.byFD, name)
			m.left = append(m.left, c)
		}
	}
}

// reused notes that a new connection has the descriptor of ones that have ended.
func (m *monitor) reused(fd string) {
	for _, c := range m.left {
		if c.fd == fd {
			c.reused = true
		}
	}
}

// pending reports that clients wait to be dropped.
func (m *monitor) pending() bool { return len(m.left) > 0 }

// gone returns the clients whose connection has ended, once.
func (m *monitor) gone() []*client {
	left := m.left
	m.left = nil
	return left
}
