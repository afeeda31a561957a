// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"fmt"
	"io"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/service"
)

func sizeName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

// BenchmarkStream is a Writer that writes size bytes at a time and a Reader that
// reads what comes, both with their own sockets.
func BenchmarkStream(b *testing.B) {
	for _, transport := range []string{"ipc", "tcp"} {
		for _, window := range []int{0, 64} {
			for _, size := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("%s/window=%d/%s", transport, window, sizeName(size)), func(b *testing.B) {
					benchmarkStream(b, transport, window, size)
				})
			}
		}
	}
}

func benchmarkStream(b *testing.B, transport string, window, size int) {
	_, endpoint := serve(b, func(c *service.Config) {
		if transport == "tcp" {
			c.Endpoints = []string{"tcp://127.0.0.1:*"}
		}
	})
	r := reader(b, endpoint, "p")
	w := writer(b, endpoint, "p", Window(window))
	done := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, struct{ io.Reader }{r})
		done <- n
	}()
	block := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := w.Write(block); err != nil {
			b.Fatal(err)
		}
		n += size
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if got := <-done; got != int64(n) {
		b.Fatalf("read %d of %d bytes", got, n)
	}
}

// BenchmarkPingPong sends a block through one pipe and back through another.
func BenchmarkPingPong(b *testing.B) {
	for _, size := range []int{1, 64, 4 << 10, 64 << 10} {
		b.Run(sizeName(size), func(b *testing.B) {
			_, endpoint := serve(b, nil)
			r1, w1 := reader(b, endpoint, "there"), writer(b, endpoint, "there")
			r2, w2 := reader(b, endpoint, "back"), writer(b, endpoint, "back")
			go func() {
				block := make([]byte, size)
				for {
					if _, err := io.ReadFull(r1, block); err != nil {
						return
					}
					if _, err := w2.Write(block); err != nil {
						return
					}
				}
			}()
			block := make([]byte, size)
			b.SetBytes(int64(2 * size))
			for b.Loop() {
				if _, err := w1.Write(block); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(r2, block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
