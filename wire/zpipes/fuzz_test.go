// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// FuzzDecode checks that whatever decodes encodes to the same octets, that
// whatever does not gives an error of this package, and that neither panics.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens {
		f.Add(g.octets(f), 0)
		f.Add(g.octets(f), 4)
	}
	f.Add(unhex(f, "aaa0 08 ffffffff"), -1)
	f.Add(unhex(f, "aaa0 01 00"), 0)
	sentinels := []error{ErrSignature, ErrID, ErrTruncated, ErrTrailing, ErrName, ErrReason, ErrChunk}

	f.Fuzz(func(t *testing.T, frame []byte, maxChunk int) {
		l := Limits{MaxChunk: maxChunk}
		original := bytes.Clone(frame)
		m, err := l.Decode(frame)
		if !bytes.Equal(frame, original) {
			t.Fatal("Decode wrote into the frame")
		}
		if err != nil {
			var field *FieldError
			if !errors.As(err, &field) || !slices.Contains(sentinels, field.Err) || err.Error() == "" {
				t.Fatalf("unexpected error %#v", err)
			}
			expectZero(t, m)
			return
		}
		if maxChunk > 0 && len(m.Chunk) > maxChunk {
			t.Fatalf("chunk of %d octets, %d allowed", len(m.Chunk), maxChunk)
		}
		again, err := l.Append(nil, m)
		if err != nil {
			t.Fatalf("%+v decoded but does not encode: %v", m, err)
		}
		if !bytes.Equal(again, frame) {
			t.Fatalf("%x encodes as %x", frame, again)
		}
		if n := EncodedLen(m); n != len(frame) {
			t.Fatalf("EncodedLen is %d for %d octets", n, len(frame))
		}
	})
}
