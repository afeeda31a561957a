// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// tap is a Source of segments that are full of whatever was in them.
type tap struct {
	mu   sync.Mutex // guards below
	pool *pipe.Pool
	left int // bytes
	size int // of a message, at most
}

func (s *tap) Next(limit int) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return Message{}, false
	}
	n := min(s.left, s.size, limit)
	m := Message{Head: make([]byte, 24)}
	for at := 0; at < n; at += pipe.SegmentSize {
		buf := s.pool.Segment()
		m.Body = append(m.Body, buf.Chunk(0, min(pipe.SegmentSize, n-at)))
		buf.Release()
	}
	s.left -= n
	return m, true
}

// BenchmarkThroughput moves bytes over loopback, from one process's memory to
// its own: by links, and by a plain TCP connection as the measure of it.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 256 << 10, 1 << 20} {
		for _, curve := range []bool{false, true} {
			b.Run(fmt.Sprintf("link/curve=%v/%dKiB", curve, size>>10), func(b *testing.B) { benchLink(b, size, curve) })
		}
		b.Run(fmt.Sprintf("tcp/%dKiB", size>>10), func(b *testing.B) { benchTCP(b, size) })
	}
}

func benchLink(b *testing.B, size int, curve bool) {
	x := listenAs(b, "x", quiet, func(c *Config) { c.Curve = curve })
	y := listenAs(b, "y", quiet, func(c *Config) { c.Curve = curve })
	done := make(chan struct{})
	left := b.N * size
	y.on = func(_ peer.ID, m Message) {
		left -= m.Len() - len(m.Head)
		m.Release()
		if left == 0 {
			close(done)
		}
	}
	acquaint(x, y)
	x.stands(b, y)
	b.SetBytes(int64(size))
	b.ResetTimer()
	x.Wake(y.id, &tap{pool: new(pipe.Pool), left: b.N * size, size: size})
	<-done
}

func benchTCP(b *testing.B, size int) {
	out, in := dialPair(b)
	b.SetBytes(int64(size))
	b.ResetTimer()
	go func() {
		buf := make([]byte, size)
		for range b.N {
			if _, err := out.Write(buf); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	buf := make([]byte, min(size, 128<<10))
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(in, int64(b.N*size)), buf); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRoundTrip sends one byte there and back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, curve := range []bool{false, true} {
		b.Run(fmt.Sprintf("link/curve=%v", curve), func(b *testing.B) {
			x := listenAs(b, "x", quiet, func(c *Config) { c.Curve = curve })
			y := listenAs(b, "y", quiet, func(c *Config) { c.Curve = curve })
			back := make(chan struct{})
			y.on = func(_ peer.ID, m Message) { y.Send(x.id, m) }
			x.on = func(_ peer.ID, m Message) { m.Release(); back <- struct{}{} }
			acquaint(x, y)
			x.stands(b, y)
			y.stands(b, x)
			b.ResetTimer()
			for range b.N {
				x.Send(y.id, note("h", "b"))
				<-back
			}
		})
	}
	b.Run("tcp", func(b *testing.B) {
		out, in := dialPair(b)
		go io.Copy(struct{ io.Writer }{in}, struct{ io.Reader }{in})
		buf := make([]byte, 1)
		b.ResetTimer()
		for range b.N {
			if _, err := out.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(out, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRoundTripBehindBulk sends one byte there and back while there is all
// the time something from a Source before it.
func BenchmarkRoundTripBehindBulk(b *testing.B) {
	x, y := listenAs(b, "x", quiet), listenAs(b, "y", quiet)
	back := make(chan struct{})
	y.on = func(_ peer.ID, m Message) {
		if m.Len() == 2 {
			y.Send(x.id, m)
			return
		}
		m.Release()
	}
	x.on = func(_ peer.ID, m Message) { m.Release(); back <- struct{}{} }
	acquaint(x, y)
	x.stands(b, y)
	y.stands(b, x)
	x.Wake(y.id, &tap{pool: new(pipe.Pool), left: 1 << 50, size: frameSize})
	b.ResetTimer()
	for range b.N {
		x.Send(y.id, note("h", "b"))
		<-back
	}
}

func quiet(c *Config) { c.Log = nil; c.FailureTimeout = 30 * time.Second }

// dialPair makes the two ends of a TCP connection over loopback.
func dialPair(b *testing.B) (out, in net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	defer l.Close()
	out, err = net.Dial("tcp", l.Addr().String())
	must(b, err)
	in, err = l.Accept()
	must(b, err)
	b.Cleanup(func() { out.Close(); in.Close() })
	return out, in
}
