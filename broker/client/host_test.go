// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/service"
)

// patience bounds every wait of a test.
const patience = 30 * time.Second

var names atomic.Int64

func unique() string {
	return service.DefaultEndpoint(fmt.Sprintf("client-test-%d-%d", os.Getpid(), names.Add(1)))
}

// serve starts a broker with a service that ends with the test.
func serve(t testing.TB, change func(*service.Config)) (*service.Service, string) {
	t.Helper()
	b := broker.New(broker.Config{})
	cfg := service.Config{Broker: b, Endpoints: []string{unique()}}
	if change != nil {
		change(&cfg)
	}
	s, err := service.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && err != service.ErrClosed {
			t.Errorf("close service: %v", err)
		}
		b.Close()
	})
	return s, s.Endpoints()[0]
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func reader(t testing.TB, endpoint, name string, opts ...Option) *Reader {
	t.Helper()
	r, err := OpenReader(within(t), endpoint, name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func writer(t testing.TB, endpoint, name string, opts ...Option) *Writer {
	t.Helper()
	w, err := OpenWriter(within(t), endpoint, name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// eventually polls a condition until it holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// shortPatience has the broker drop clients soon.
func shortPatience(c *service.Config) { c.ClientTimeout = 500 * time.Millisecond }
