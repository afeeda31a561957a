// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// golden is a message and its frame in hexadecimal. A space separates the
// parts of the frame: signature, id, and one for each word in fields.
type golden struct {
	name    string
	message Message
	frame   string
	fields  string
}

// Written out by hand from the grammar: every message, and the edges of some.
var goldens = []golden{
	{"INPUT", Message{ID: 1, Name: "jobs"}, "aaa0 01 046a6f6273", "pipename"},
	{"INPUT", Message{ID: 1, Name: "x"}, "aaa0 01 0178", "pipename"},
	{"INPUT-OK", Message{ID: 2}, "aaa0 02", ""},
	{"INPUT-FAILED", Message{ID: 3, Reason: "busy"}, "aaa0 03 0462757379", "reason"},
	{"OUTPUT", Message{ID: 4, Name: "a/\xff"}, "aaa0 04 03612fff", "pipename"},
	{"OUTPUT-OK", Message{ID: 5}, "aaa0 05", ""},
	{"OUTPUT-FAILED", Message{ID: 6, Reason: ""}, "aaa0 06 00", "reason"},
	{"READ", Message{ID: 7, Size: 65536, Timeout: 1500}, "aaa0 07 00010000 000005dc", "size timeout"},
	{"READ", Message{ID: 7, Size: 4294967295, Timeout: 4294967295}, "aaa0 07 ffffffff ffffffff", "size timeout"},
	{"READ", Message{ID: 7}, "aaa0 07 00000000 00000000", "size timeout"},
	{"READ-OK", Message{ID: 8, Chunk: []byte("hello")}, "aaa0 08 0000000568656c6c6f", "chunk"},
	{"READ-OK", Message{ID: 8, Chunk: []byte{}}, "aaa0 08 00000000", "chunk"},
	{"READ-END", Message{ID: 9}, "aaa0 09", ""},
	{"READ-TIMEOUT", Message{ID: 10}, "aaa0 0a", ""},
	{"READ-FAILED", Message{ID: 11, Reason: "gone"}, "aaa0 0b 04676f6e65", "reason"},
	{"WRITE", Message{ID: 12, Chunk: []byte("hello"), Timeout: 16909060}, "aaa0 0c 0000000568656c6c6f 01020304", "chunk timeout"},
	{"WRITE", Message{ID: 12, Chunk: []byte{}}, "aaa0 0c 00000000 00000000", "chunk timeout"},
	{"WRITE-OK", Message{ID: 13}, "aaa0 0d", ""},
	{"WRITE-TIMEOUT", Message{ID: 14}, "aaa0 0e", ""},
	{"WRITE-FAILED", Message{ID: 15, Reason: "no reader"}, "aaa0 0f 096e6f20726561646572", "reason"},
	{"CLOSE", Message{ID: 16}, "aaa0 10", ""},
	{"CLOSE-OK", Message{ID: 17}, "aaa0 11", ""},
	{"CLOSE-FAILED", Message{ID: 18, Reason: "é"}, "aaa0 12 02c3a9", "reason"},
	{"PING", Message{ID: 19}, "aaa0 13", ""},
	{"PING-OK", Message{ID: 20}, "aaa0 14", ""},
	{"INVALID", Message{ID: 21}, "aaa0 15", ""},
}

// octets returns the golden's frame, always in memory of its own.
func (g golden) octets(t testing.TB) []byte {
	t.Helper()
	return unhex(t, g.frame)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	octets, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

func TestGoldensCoverEveryMessage(t *testing.T) {
	seen := map[ID]bool{}
	for _, g := range goldens {
		seen[g.message.ID] = true
		if got := g.message.ID.String(); got != g.name {
			t.Errorf("ID %d is %q, want %q", g.message.ID, got, g.name)
		}
	}
	if len(seen) != 21 || Invalid != 21 {
		t.Errorf("%d messages, the last is %d; want 21", len(seen), Invalid)
	}
}

func TestGoldenDecode(t *testing.T) {
	for _, g := range goldens {
		got, err := Limits{}.Decode(g.octets(t))
		if err != nil {
			t.Errorf("%s: %v", g.frame, err)
		} else if !reflect.DeepEqual(got, g.message) {
			t.Errorf("%s: got %+v, want %+v", g.frame, got, g.message)
		}
	}
}

func TestGoldenAppend(t *testing.T) {
	for _, g := range goldens {
		want := g.octets(t)
		got, err := Limits{}.Append([]byte("before"), g.message)
		if err != nil {
			t.Errorf("%+v: %v", g.message, err)
		} else if !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("%+v: got %x, want %x", g.message, got, want)
		}
		if n := EncodedLen(g.message); n != len(want) {
			t.Errorf("%+v: EncodedLen is %d, want %d", g.message, n, len(want))
		}
	}
}

// TestGoldenTruncated cuts every golden at every octet.
func TestGoldenTruncated(t *testing.T) {
	lengthOctets := map[string]int{"pipename": 1, "reason": 1, "chunk": 4}
	for _, g := range goldens {
		fields := append([]string{"signature", "id"}, strings.Fields(g.fields)...)
		start := 0
		for i, part := range strings.Fields(g.frame) {
			size := len(part) / 2
			for have := range size {
				want := FieldError{Field: fields[i], Err: ErrTruncated, Got: int64(have), Want: int64(size)}
				if i > 1 {
					want.ID = g.message.ID
				}
				// A counted field needs its length first and the rest later.
				if n, counted := lengthOctets[fields[i]]; counted && have < n {
					want.Want = int64(n)
				} else if counted {
					want.Got, want.Want = int64(have-n), int64(size-n)
				}
				m, err := Limits{}.Decode(g.octets(t)[:start+have])
				expectError(t, err, want)
				expectZero(t, m)
			}
			start += size
		}
	}
}

func TestGoldenTrailing(t *testing.T) {
	for _, g := range goldens {
		for _, extra := range []int{1, 300} {
			m, err := Limits{}.Decode(append(g.octets(t), make([]byte, extra)...))
			expectError(t, err, FieldError{ID: g.message.ID, Field: "end", Err: ErrTrailing, Got: int64(extra)})
			expectZero(t, m)
		}
	}
}

// expectError checks that err is a *FieldError equal to want.
func expectError(t *testing.T, err error, want FieldError) {
	t.Helper()
	var got *FieldError
	if !errors.As(err, &got) {
		t.Errorf("got error %v (%T), want %v", err, err, &want)
		return
	}
	if *got != want {
		t.Errorf("got error %+v, want %+v", *got, want)
	}
	if !errors.Is(err, want.Err) {
		t.Errorf("%v does not wrap %v", err, want.Err)
	}
}

func expectZero(t *testing.T, m Message) {
	t.Helper()
	if !reflect.DeepEqual(m, Message{}) {
		t.Errorf("got message %+v with an error, want none", m)
	}
}
