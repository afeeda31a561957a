// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"bytes"
	"errors"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

func TestPackAndUnpack(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), 20_000)
	sent := []*Message{
		{},
		{Head: []byte("head")},
		{Body: []pipe.Chunk{pipe.ChunkOf([]byte("a")), {}, pipe.ChunkOf([]byte("b"))}},
		{Head: []byte("x"), Body: []pipe.Chunk{pipe.ChunkOf(long[:1]), pipe.ChunkOf(long[1:70_000]), pipe.ChunkOf(long[70_000:])}},
	}
	f := peer.Frame{Kind: peer.FrameData, Mine: 1, Yours: 1, Seq: 1, Count: uint16(len(sent))}
	b := make([]byte, packedLen(sent))
	pack(b, &f, sent)
	parsed, rest, err := peer.ParseFrame(b)
	must(t, err)
	u := unpacker{pool: new(pipe.Pool), limit: 1 << 20}
	got, err := u.unpack(&parsed, rest)
	must(t, err)
	small := unpacker{pool: new(pipe.Pool), limit: 1000}
	if _, err := small.unpack(&parsed, rest); !errors.Is(err, ErrTooLong) {
		t.Errorf("beyond the limit: %v", err)
	}
	clear(b) // the messages are copies
	if len(got) != len(sent) {
		t.Fatalf("%d messages", len(got))
	}
	for i, m := range got {
		if !bytes.Equal(m.Head, sent[i].Head) || !bytes.Equal(body(m), body(*sent[i])) {
			t.Errorf("message %d is another", i)
		}
		for _, c := range m.Body {
			if c.Len() == 0 || c.Len() > pipe.SegmentSize {
				t.Errorf("message %d has a chunk of %d octets", i, c.Len())
			}
		}
		m.Release()
	}
}

func body(m Message) []byte {
	var b []byte
	for _, c := range m.Body {
		b = append(b, c.Bytes()...)
	}
	return b
}

// FuzzUnpack: whatever a peer sends, its messages are within the limit and say
// what the frame says.
func FuzzUnpack(f *testing.F) {
	m := []*Message{{Head: []byte("h"), Body: []pipe.Chunk{pipe.ChunkOf([]byte("body"))}}}
	frame := peer.Frame{Kind: peer.FrameData, Mine: 1, Yours: 1, Seq: 1, Count: 1}
	seed := make([]byte, packedLen(m))
	pack(seed, &frame, m)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1000
		frame, rest, err := peer.ParseFrame(b)
		if err != nil {
			return
		}
		u := unpacker{pool: new(pipe.Pool), limit: limit}
		messages, err := u.unpack(&frame, rest)
		if err != nil {
			return
		}
		var again []*Message
		for i := range messages {
			if n := messages[i].Len(); n > limit {
				t.Fatalf("a message of %d octets", n)
			}
			again = append(again, &messages[i])
		}
		if len(again) == 0 {
			if len(rest) > 0 {
				t.Fatalf("%d octets were left over", len(rest))
			}
			return
		}
		packed := make([]byte, packedLen(again))
		pack(packed, &frame, again)
		if !bytes.Equal(packed, b) {
			t.Fatalf("%x is packed as %x", b, packed)
		}
	})
}
