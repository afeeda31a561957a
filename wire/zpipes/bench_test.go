// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

import "testing"

const benchChunk = 64 << 10

func decodeWrite(tb testing.TB) func() {
	frame, err := Limits{}.Append(nil, Message{ID: Write, Chunk: make([]byte, benchChunk), Timeout: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		if m, err := (Limits{}).Decode(frame); err != nil || len(m.Chunk) != benchChunk {
			tb.Fatal(len(m.Chunk), err)
		}
	}
}

func appendReadOK(tb testing.TB) func() {
	m := Message{ID: ReadOK, Chunk: make([]byte, benchChunk)}
	dst := make([]byte, 0, EncodedLen(m))
	return func() {
		if frame, err := (Limits{}).Append(dst, m); err != nil || len(frame) != cap(dst) {
			tb.Fatal(len(frame), err)
		}
	}
}

func appendHead(tb testing.TB) func() {
	dst := make([]byte, 0, ChunkHeadLen)
	return func() {
		if head, err := (Limits{}).AppendHead(dst, ReadOK, benchChunk); err != nil || len(head) != ChunkHeadLen {
			tb.Fatal(len(head), err)
		}
	}
}

// TestNoAllocation keeps the way of a chunk free of allocations.
func TestNoAllocation(t *testing.T) {
	for name, run := range map[string]func(){
		"decode WRITE":   decodeWrite(t),
		"append READ-OK": appendReadOK(t),
		"append head":    appendHead(t),
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDecodeWrite(b *testing.B)  { measure(b, 0, decodeWrite(b)) }
func BenchmarkAppendReadOK(b *testing.B) { measure(b, benchChunk, appendReadOK(b)) }
func BenchmarkAppendHead(b *testing.B)   { measure(b, 0, appendHead(b)) }

// measure times run, which copies the given number of octets.
func measure(b *testing.B, copied int64, run func()) {
	b.SetBytes(copied)
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}
