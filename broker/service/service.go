// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package service is the ZPIPES door to a broker's pipes: it serves the
// protocol of zeromq/zbroker, as package wire/zpipes has it, on a ZeroMQ ROUTER
// socket. See DESIGN.md.
package service

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// Errors of Start, and of Close when called again.
var (
	ErrInUse    = errors.New("another broker serves this endpoint")
	ErrEndpoint = errors.New("not an endpoint")
	ErrClosed   = errors.New("service is closed")
)

// What Config leaves zero.
const (
	DefaultClientTimeout = 10 * time.Second
	DefaultMaxRequests   = 4096
	DefaultMaxQueue      = 128 << 20
	DefaultMaxTotal      = 256 << 20
)

// Config shapes a Service.
type Config struct {
	Broker    *broker.Broker
	Endpoints []string // "ipc://@/abstract", "ipc:///path", "tcp://address:port"; port * is any free one

	ClientTimeout time.Duration // a silent client is dropped after it (server/timeout); 0: DefaultClientTimeout
	MaxChunk      int           // longest chunk in bytes, written or read; 0: zpipes.DefaultMaxChunk
	MaxRequests   int           // requests one client may have unanswered; 0: DefaultMaxRequests
	MaxQueue      int           // bytes of them; 0: DefaultMaxQueue; at least MaxChunk
	MaxTotal      int           // bytes of those of all clients; 0: DefaultMaxTotal; at least MaxChunk

	// AllowUID says which users may connect to ipc endpoints. Nil: root and the
	// broker's own. It runs in the service's goroutine and must not wait.
	AllowUID func(uid int) bool

	Log *slog.Logger // nil: none
}

func (c *Config) fill() {
	if c.ClientTimeout <= 0 {
		c.ClientTimeout = DefaultClientTimeout
	}
	if c.MaxChunk <= 0 {
		c.MaxChunk = zpipes.DefaultMaxChunk
	}
	if c.MaxRequests <= 0 {
		c.MaxRequests = DefaultMaxRequests
	}
	if c.MaxQueue <= 0 {
		c.MaxQueue = DefaultMaxQueue
	}
	if c.MaxTotal <= 0 {
		c.MaxTotal = DefaultMaxTotal
	}
	frame := c.MaxChunk + zpipes.ChunkHeadLen + zpipes.TimeoutLen
	c.MaxQueue, c.MaxTotal = max(c.MaxQueue, frame), max(c.MaxTotal, frame)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// DefaultEndpoint is where the clients of a broker called name look for it, as
// zbroker's do.
func DefaultEndpoint(name string) string { return "ipc://@/zpipes/" + name }

// Service is a running ZPIPES service. Its methods may be called from anywhere.
type Service struct {
	loop      *loop
	endpoints []string
	context   *zmq.Context
	running   sync.WaitGroup
	done      chan struct{} // closed when the loop has ended
	closing   sync.Once
}

// Start binds the endpoints and serves clients until Close. When it fails
// nothing is left bound.
//
// Errors name the endpoint: ErrInUse, ErrEndpoint, or what the system said.
func Start(cfg Config) (*Service, error) {
	if cfg.Broker == nil {
		return nil, errors.New("start ZPIPES service: no broker given")
	}
	if len(cfg.Endpoints) == 0 {
		return nil, fmt.Errorf("start ZPIPES service: %w: none given", ErrEndpoint)
	}
	cfg.fill()
	if err := seedRoutingIDs(); err != nil {
		return nil, fmt.Errorf("start ZPIPES service: %w", err)
	}
	ctx, err := zmq.NewContext()
	if err != nil {
		return nil, fmt.Errorf("start ZPIPES service: make ZeroMQ context: %w", err)
	}
	s := &Service{loop: newLoop(cfg), context: ctx, done: make(chan struct{})}
	ready := make(chan error)
	s.running.Go(func() {
		defer close(s.done)
		s.loop.run(ctx, ready)
	})
	if err := <-ready; err != nil {
		s.running.Wait()
		return nil, errors.Join(fmt.Errorf("start ZPIPES service: %w", err), ctx.Term())
	}
	s.endpoints = s.loop.door.bound()
	return s, nil
}

// Endpoints returns what is bound, in the order of Config: with the port that
// was chosen where it left that open.
func (s *Service) Endpoints() []string { return append([]string(nil), s.endpoints...) }

// Done is closed when the service has ended: by Close, or by itself, and then
// Close returns why.
func (s *Service) Done() <-chan struct{} { return s.done }

// Close drops all clients, closes their ends and waits until no goroutine,
// socket or file of the service is left. ErrClosed if it was closed before.
func (s *Service) Close() error {
	err := ErrClosed
	s.closing.Do(func() {
		s.loop.box.Put(event{kind: stop})
		s.running.Wait()
		err = s.loop.err
		if e := s.context.Term(); e != nil {
			err = errors.Join(err, fmt.Errorf("end ZeroMQ context: %w", e))
		}
	})
	return err
}
