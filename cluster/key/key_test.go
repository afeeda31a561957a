// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package key

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestDeriveStable guards the protocol: brokers of all releases derive the same.
// The values are HKDF-SHA256 of 32 bytes 0x42 with no salt, by another program.
func TestDeriveStable(t *testing.T) {
	ring := &Ring{[][]byte{bytes.Repeat([]byte{0x42}, Size)}}
	d, err := ring.Derive(Gossip, 32)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(d[0]); got != "899bfd1aac42e79c5477857ff1e8f7af5c6c2516e56c37f752651b811cc38010" {
		t.Errorf("gossip key %s", got)
	}
	ids, err := ring.IDs()
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(ids[0][:]); got != "73307ca52bfd4605" {
		t.Errorf("ID %s", got)
	}
}

func TestDeriveOrder(t *testing.T) {
	a, b := New(), New()
	ring := &Ring{[][]byte{a.keys[0], b.keys[0]}}
	ids, err := ring.IDs()
	if err != nil {
		t.Fatal(err)
	}
	first, _ := a.IDs()
	second, _ := b.IDs()
	if len(ids) != 2 || ids[0] != first[0] || ids[1] != second[0] || ids[0] == ids[1] {
		t.Fatalf("got %v, want %v then %v", ids, first, second)
	}
	if _, err := ring.Derive("x", 1<<20); err == nil {
		t.Fatal("a key of a mebibyte was derived")
	}
}

func TestNilRing(t *testing.T) {
	var ring *Ring
	if ids, err := ring.IDs(); len(ids) != 0 || err != nil || ring.Len() != 0 {
		t.Fatalf("got %v, %v", ids, err)
	}
}
