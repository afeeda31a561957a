// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

import (
	"bytes"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecodeSignature(t *testing.T) {
	for bit := range 16 {
		frame := unhex(t, "aaa0 13")
		frame[bit/8] ^= 1 << (bit % 8)
		m, err := Limits{}.Decode(frame)
		got := int64(0xAAA0 ^ [2]int{1 << (bit%8 + 8), 1 << (bit % 8)}[bit/8])
		expectError(t, err, FieldError{Field: "signature", Err: ErrSignature, Got: got})
		expectZero(t, m)
	}
}

func TestUnknownID(t *testing.T) {
	for id := range 256 {
		if 1 <= id && id <= 21 {
			continue
		}
		want := FieldError{Field: "id", Err: ErrID, Got: int64(id)}

		_, err := Limits{}.Decode([]byte{0xAA, 0xA0, byte(id)})
		expectError(t, err, want)

		m := Message{ID: ID(id), Name: "x"}
		frame, err := Limits{}.Append([]byte("before"), m)
		expectError(t, err, want)
		if string(frame) != "before" {
			t.Errorf("ID %d: Append returned %q with an error", id, frame)
		}
		if n := EncodedLen(m); n != 0 {
			t.Errorf("ID %d: EncodedLen is %d", id, n)
		}
		if got, want := ID(id).String(), "ID("+strconv.Itoa(id)+")"; got != want {
			t.Errorf("got name %q, want %q", got, want)
		}
	}
}

func TestNameLimits(t *testing.T) {
	for _, id := range []ID{Input, Output} {
		for _, n := range []int{1, 2, 254, 255} {
			expectRoundTrip(t, Limits{}, Message{ID: id, Name: strings.Repeat("n", n)})
		}
		for _, n := range []int{0, 256, 257, 512, 65536} {
			_, err := Limits{}.Append(nil, Message{ID: id, Name: strings.Repeat("n", n)})
			expectError(t, err, FieldError{ID: id, Field: "pipename", Err: ErrName, Got: int64(n), Want: 255})
		}
		_, err := Limits{}.Decode([]byte{0xAA, 0xA0, byte(id), 0})
		expectError(t, err, FieldError{ID: id, Field: "pipename", Err: ErrName, Got: 0, Want: 255})
	}
}

func TestReasonLimits(t *testing.T) {
	for _, id := range []ID{InputFailed, OutputFailed, ReadFailed, WriteFailed, CloseFailed} {
		for _, n := range []int{0, 1, 254, 255} {
			expectRoundTrip(t, Limits{}, Message{ID: id, Reason: strings.Repeat("r", n)})
		}
		for _, n := range []int{256, 257, 65536} {
			_, err := Limits{}.Append(nil, Message{ID: id, Reason: strings.Repeat("r", n)})
			expectError(t, err, FieldError{ID: id, Field: "reason", Err: ErrReason, Got: int64(n), Want: 255})
		}
	}
}

func TestChunkLimits(t *testing.T) {
	tight := Limits{MaxChunk: 8}
	wide := Limits{MaxChunk: math.MaxInt}
	for _, id := range []ID{ReadOK, Write} {
		for n := range 9 {
			expectRoundTrip(t, tight, Message{ID: id, Chunk: bytes.Repeat([]byte{'c'}, n)})
		}
		beyond := Message{ID: id, Chunk: bytes.Repeat([]byte{'c'}, 9)}
		tooLarge := FieldError{ID: id, Field: "chunk", Err: ErrChunk, Got: 9, Want: 8}
		frame := expectRoundTrip(t, wide, beyond)
		_, err := tight.Decode(frame)
		expectError(t, err, tooLarge)
		got, err := tight.Append([]byte("before"), beyond)
		expectError(t, err, tooLarge)
		if string(got) != "before" {
			t.Errorf("Append returned %q with an error", got)
		}
	}
}

// TestDefaultMaxChunk tells the limits apart by the error: a claim within the
// limit overruns the frame, one beyond it is refused for its size.
func TestDefaultMaxChunk(t *testing.T) {
	const limit = 16 << 20
	for _, l := range []Limits{{}, {MaxChunk: -1}, {MaxChunk: limit}} {
		_, err := l.Decode(unhex(t, "aaa0 0c 01000000 ff"))
		expectError(t, err, FieldError{ID: Write, Field: "chunk", Err: ErrTruncated, Got: 1, Want: limit})
		_, err = l.Decode(unhex(t, "aaa0 0c 01000001 ff"))
		expectError(t, err, FieldError{ID: Write, Field: "chunk", Err: ErrChunk, Got: limit + 1, Want: limit})
		if _, err = l.AppendHead(nil, ReadOK, limit); err != nil {
			t.Error(err)
		}
		_, err = l.AppendHead(nil, ReadOK, limit+1)
		expectError(t, err, FieldError{ID: ReadOK, Field: "chunk", Err: ErrChunk, Got: limit + 1, Want: limit})
	}
	expectRoundTrip(t, Limits{}, Message{ID: ReadOK, Chunk: make([]byte, limit)})
}

func TestWireLimitOfChunk(t *testing.T) {
	wide := Limits{MaxChunk: math.MaxInt}
	_, err := wide.Decode(unhex(t, "aaa0 08 ffffffff ff"))
	want := FieldError{ID: ReadOK, Field: "chunk", Err: ErrTruncated, Got: 1, Want: math.MaxUint32}
	if strconv.IntSize == 32 {
		want.Err, want.Got, want.Want = ErrChunk, math.MaxUint32, math.MaxInt32
	}
	expectError(t, err, want)
	if strconv.IntSize > 32 {
		_, err := wide.AppendHead(nil, Write, math.MaxInt)
		expectError(t, err, FieldError{ID: Write, Field: "chunk", Err: ErrChunk, Got: math.MaxInt, Want: math.MaxUint32})
	}
}

// TestClaimedLengthAllocatesNothing decodes frames that claim far more than
// they hold; only the errors themselves may cost memory.
func TestClaimedLengthAllocatesNothing(t *testing.T) {
	const rounds = 1000
	frames := [][]byte{unhex(t, "aaa0 08 ffffffff"), unhex(t, "aaa0 0c fffffff0 00"), unhex(t, "aaa0 01 ff 61")}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		for _, frame := range frames {
			if _, err := (Limits{MaxChunk: math.MaxInt}).Decode(frame); err == nil {
				t.Fatalf("%x: no error", frame)
			}
		}
	}
	runtime.ReadMemStats(&after)
	perFrame := (after.TotalAlloc - before.TotalAlloc) / uint64(rounds*len(frames))
	if perFrame > 200 {
		t.Errorf("%d octets allocated for a frame that lies, want no more than an error", perFrame)
	}
}

func TestDecodeAliasesFrame(t *testing.T) {
	frame := unhex(t, "aaa0 0c 0000000568656c6c6f 00000007")
	m, err := Limits{}.Decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	frame[7] = 'j'
	if string(m.Chunk) != "jello" {
		t.Errorf("chunk is %q, a copy", m.Chunk)
	}
	_ = append(m.Chunk, "XXXX"...)
	if again, err := (Limits{}).Decode(frame); err != nil || again.Timeout != 7 {
		t.Errorf("an append to the chunk wrote into the frame: %+v, %v", again, err)
	}
}

func TestAppendUsesCapacity(t *testing.T) {
	m := Message{ID: Write, Chunk: []byte("hello"), Timeout: 7}
	dst := make([]byte, 0, EncodedLen(m))
	frame, err := Limits{}.Append(dst, m)
	if err != nil {
		t.Fatal(err)
	}
	if &frame[0] != &dst[:1][0] {
		t.Error("Append moved a buffer that was large enough")
	}
}

func TestAppendIgnoresForeignFields(t *testing.T) {
	m := Message{ID: Ping, Name: strings.Repeat("n", 300), Reason: "r", Size: 1, Timeout: 2, Chunk: []byte("c")}
	frame, err := Limits{}.Append(nil, m)
	if err != nil || !bytes.Equal(frame, unhex(t, "aaa0 13")) {
		t.Errorf("got %x, %v", frame, err)
	}
}

func TestAppendHeadGathers(t *testing.T) {
	chunk := []byte("hello")
	for _, m := range []Message{{ID: ReadOK, Chunk: chunk}, {ID: Write, Chunk: chunk, Timeout: 0x01020304}} {
		want, err := Limits{}.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Limits{}.AppendHead([]byte("before"), m.ID, len(chunk))
		if err != nil {
			t.Fatal(err)
		}
		got = got[len("before"):]
		if len(got) != ChunkHeadLen {
			t.Errorf("%v: head of %d octets, want %d", m.ID, len(got), ChunkHeadLen)
		}
		got = append(got, chunk...)
		if m.ID == Write {
			n := len(got)
			got = AppendTimeout(got, m.Timeout)
			if len(got)-n != TimeoutLen {
				t.Errorf("timeout of %d octets, want %d", len(got)-n, TimeoutLen)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v: got %x, want %x", m.ID, got, want)
		}
	}
}

func TestAppendHeadErrors(t *testing.T) {
	for id := range 256 {
		if ID(id) == ReadOK || ID(id) == Write {
			continue
		}
		head, err := Limits{}.AppendHead([]byte("before"), ID(id), 5)
		want := FieldError{Field: "id", Err: ErrID, Got: int64(id)}
		if 1 <= id && id <= 21 {
			want.ID = ID(id)
		}
		expectError(t, err, want)
		if string(head) != "before" {
			t.Errorf("ID %d: AppendHead returned %q with an error", id, head)
		}
	}
	head, err := Limits{MaxChunk: 8}.AppendHead([]byte("before"), Write, -1)
	expectError(t, err, FieldError{ID: Write, Field: "chunk", Err: ErrChunk, Got: -1, Want: 8})
	if string(head) != "before" {
		t.Errorf("AppendHead returned %q with an error", head)
	}
}

func TestCutReason(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("a", 255), strings.Repeat("é", 127)} {
		if got := CutReason(s); got != s {
			t.Errorf("cut %q, which fits, to %q", s, got)
		}
	}
	for _, char := range []string{"a", "é", "€", "😀"} {
		for offset := range len(char) {
			s := strings.Repeat("-", offset) + strings.Repeat(char, 300)
			got := CutReason(s)
			if len(got) > 255 || len(got) <= 255-len(char) || !strings.HasPrefix(s, got) || !utf8.ValidString(got) {
				t.Errorf("%q after %d octets: cut to %d octets, %q", char, offset, len(got), got)
			}
			expectRoundTrip(t, Limits{}, Message{ID: ReadFailed, Reason: got})
		}
	}
	if got := CutReason(strings.Repeat("\x80", 300)); len(got) != 255 {
		t.Errorf("cut what is not UTF-8 to %d octets", len(got))
	}
}

func TestErrorText(t *testing.T) {
	decode := func(l Limits, frame string) error {
		_, err := l.Decode(unhex(t, frame))
		return err
	}
	_, foreign := Limits{}.AppendHead(nil, Ping, 5)
	_, reason := Limits{}.Append(nil, Message{ID: CloseFailed, Reason: strings.Repeat("r", 256)})
	for _, c := range []struct {
		err  error
		want string
	}{
		{decode(Limits{}, "aaa0 07 00000001 0000"), "READ: timeout: 2 octets left, 4 needed"},
		{decode(Limits{}, ""), "frame: signature: 0 octets left, 2 needed"},
		{decode(Limits{}, "aaa1 07"), "frame: signature: aaa1, not aaa0"},
		{decode(Limits{}, "0003 07"), "frame: signature: 0003, not aaa0"},
		{decode(Limits{}, "aaa0 16"), "frame: id: 22 names no message"},
		{decode(Limits{}, "aaa0 13 00"), "PING: end: 1 octets too many"},
		{decode(Limits{}, "aaa0 04 00"), "OUTPUT: pipename: 0 octets, 1 to 255 allowed"},
		{decode(Limits{MaxChunk: 8}, "aaa0 08 00000009"), "READ-OK: chunk: 9 octets, 8 allowed"},
		{reason, "CLOSE-FAILED: reason: 256 octets, 255 allowed"},
		{foreign, "PING: id: the message has no chunk"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("got %v, want %s", c.err, c.want)
		}
	}
}

// expectRoundTrip encodes m and decodes that, and returns the frame.
func expectRoundTrip(t *testing.T, l Limits, m Message) []byte {
	t.Helper()
	frame, err := l.Append(nil, m)
	if err != nil {
		t.Fatalf("%v: %v", m.ID, err)
	}
	if len(frame) != EncodedLen(m) {
		t.Errorf("%v: %d octets, EncodedLen is %d", m.ID, len(frame), EncodedLen(m))
	}
	got, err := l.Decode(frame)
	if err != nil {
		t.Fatalf("%v: %v", m.ID, err)
	}
	if !same(got, m) {
		t.Errorf("%v: did not come back as it was sent", m.ID)
	}
	return frame
}

// same takes an absent and an empty chunk for one, as the wire does.
func same(a, b Message) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Reason == b.Reason &&
		a.Size == b.Size && a.Timeout == b.Timeout && bytes.Equal(a.Chunk, b.Chunk)
}
