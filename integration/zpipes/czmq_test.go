// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package zpipes runs programs written on CZMQ, as zbroker's clients are,
// against the ZPIPES service.
package zpipes

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/client"
	"github.com/zpipesfs/zpipesfs/broker/service"
)

// patience bounds every program.
const patience = 60 * time.Second

var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run builds the C program once for all tests.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "zpipes-czmq")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "client")
	out, err := exec.Command("cc", "-std=gnu11", "-Wall", "-Werror", "-O1", "-o", program, "testdata/client.c", "-lczmq", "-lzmq").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build testdata/client.c (wants cc and libczmq-dev): %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// serve starts a service at an abstract, a path and a TCP endpoint.
func serve(t *testing.T) []string {
	t.Helper()
	b := broker.New(broker.Config{})
	s, err := service.Start(service.Config{Broker: b, Endpoints: []string{
		service.DefaultEndpoint(fmt.Sprintf("czmq-test-%d-%s", os.Getpid(), t.Name())),
		"ipc://" + filepath.Join(t.TempDir(), "socket"),
		"tcp://127.0.0.1:*",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		b.Close()
	})
	return s.Endpoints()
}

// c runs the program and returns its standard output.
func c(t *testing.T, stdin io.Reader, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = stdin
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("client %v: %w: %s", args, err, complaint.String())
	}
	return out.Bytes(), nil
}

func TestScript(t *testing.T) {
	for _, endpoint := range serve(t) {
		t.Run(endpoint[:6], func(t *testing.T) {
			if _, err := c(t, nil, endpoint, "script"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{9}).Read(b)
	return b
}

// TestStream has every pair of endpoints meet in one pipe.
func TestStream(t *testing.T) {
	endpoints := serve(t)
	sent := noise(4<<20 + 17)
	for i, from := range endpoints {
		for j, to := range endpoints {
			t.Run(from[:6]+" to "+to[:6], func(t *testing.T) {
				name := fmt.Sprintf("streams/%d-%d", i, j)
				var writing sync.WaitGroup
				writing.Go(func() {
					if _, err := c(t, bytes.NewReader(sent), from, "write", name); err != nil {
						t.Error(err)
					}
				})
				got, err := c(t, nil, to, "read", name)
				writing.Wait()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, sent) {
					t.Fatalf("read %d of %d bytes, or others", len(got), len(sent))
				}
			})
		}
	}
}

// TestWithGoClient has a C program and the Go client share a pipe.
func TestWithGoClient(t *testing.T) {
	endpoint := serve(t)[0]
	sent := noise(1<<20 + 3)
	t.Run("C writes", func(t *testing.T) {
		r, err := client.OpenReader(t.Context(), endpoint, "p")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var writing sync.WaitGroup
		writing.Go(func() {
			if _, err := c(t, bytes.NewReader(sent), endpoint, "write", "p"); err != nil {
				t.Error(err)
			}
		})
		r.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(r)
		writing.Wait()
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("read %d of %d bytes: %v", len(got), len(sent), err)
		}
	})
	t.Run("C reads", func(t *testing.T) {
		w, err := client.OpenWriter(t.Context(), endpoint, "q", client.Window(8))
		if err != nil {
			t.Fatal(err)
		}
		var writing sync.WaitGroup
		writing.Go(func() {
			if _, err := w.Write(sent); err != nil {
				t.Error(err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
		got, err := c(t, nil, endpoint, "read", "q")
		writing.Wait()
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("read %d of %d bytes: %v", len(got), len(sent), err)
		}
	})
}

// TestKilledProgram: the kernel says that a client died, and its partner sees
// the end of the data.
func TestKilledProgram(t *testing.T) {
	endpoint := serve(t)[0]
	r, err := client.OpenReader(t.Context(), endpoint, "p")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	cmd := exec.CommandContext(ctx, program, endpoint, "write", "p")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	block := noise(65536)
	if _, err := in.Write(block); err != nil {
		t.Fatal(err)
	}
	r.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(block))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, block) {
		t.Fatal(err)
	}
	kill()
	cmd.Wait()
	r.SetReadDeadline(time.Now().Add(service.DefaultClientTimeout / 2))
	if n, err := r.Read(got); n != 0 || err != io.EOF {
		t.Fatalf("after the kill: %d bytes, %v", n, err)
	}
}
