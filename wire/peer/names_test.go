// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

var sampleEntry = Entry{
	Path: "a/b", Dir: true, Dead: true, Mode: 2, Perm: 0o755, UID: 1000, GID: 300,
	Stamp: Stamp{Time: 1 << 60, Node: "host"}, Token: 0xBEEF,
}

// sampleNames has a message of every kind, and its octets, which are the protocol's.
var sampleNames = []struct {
	m   NamesMessage
	hex string
}{
	{NamesMessage{Kind: NamesAsk, ID: 300, Op: NamesRename, Keep: true, Mask: 5, Token: 7, Entry: sampleEntry, To: "c", Paths: []string{"p"}, Entries: []Entry{sampleEntry}},
		"01ac02060205" + "0000000000000007" + entryHex + "0163" + "010170" + "01" + entryHex},
	{NamesMessage{Kind: NamesAnswer, ID: 1, Code: NamesExist, More: true, Cursor: Cursor{Boot: 9, Seq: 200}, Digests: []Digest{{Part: 1056, Sum: 5}}, Paths: []string{"x"}},
		"02010204" + "0000000000000009c801" + "0104200000000000000005" + "010178" + "00"},
	{NamesMessage{Kind: NamesTell, ID: 2, Entry: Entry{Path: "old"}, To: "new", Entries: []Entry{sampleEntry}}, "0302036f6c64036e657701" + entryHex},
	{NamesMessage{Kind: NamesAck, ID: 3}, "0403"},
	{NamesMessage{Kind: NamesSince, ID: 4, Cursor: Cursor{Boot: 1, Seq: 2}}, "0504000000000000000102"},
	{NamesMessage{Kind: NamesCompare, ID: 5, Force: true, Digests: []Digest{{Sum: 1}}}, "0605010100000000000000000001"},
	{NamesMessage{Kind: NamesPropose, Entries: []Entry{sampleEntry}}, "0701" + entryHex},
	{NamesMessage{Kind: NamesDrop, Entry: Entry{Path: "t"}}, "080174"},
}

const entryHex = "0502ed03e807ac02" + "808080808080808010" + "000000000000beef" + "04686f7374" + "03612f62"

func TestNamesOctets(t *testing.T) {
	for _, s := range sampleNames {
		b := s.m.Append(nil)
		if got := hex.EncodeToString(b); got != s.hex {
			t.Errorf("kind %d: %s, want %s", s.m.Kind, got, s.hex)
		}
		m, err := DecodeNames(b)
		if err != nil || !reflect.DeepEqual(m, s.m) {
			t.Errorf("kind %d: got back %+v, %v", s.m.Kind, m, err)
		}
		for i := range b {
			if _, err := DecodeNames(b[:i]); !errors.Is(err, ErrMessage) {
				t.Errorf("kind %d cut at %d: %v", s.m.Kind, i, err)
			}
		}
		if _, err := DecodeNames(append(b, 0)); !errors.Is(err, ErrMessage) {
			t.Errorf("kind %d with an octet more: %v", s.m.Kind, err)
		}
	}
}

// TestNamesRefused: what no broker sends is an error.
func TestNamesRefused(t *testing.T) {
	late := sampleEntry
	late.Stamp.Time = MaxTime + 1
	long := sampleEntry
	long.Path = string(make([]byte, 256))
	for what, b := range map[string][]byte{
		"kind 0":              {0},
		"kind 9":              {9},
		"unknown flags":       {6, 5, 8, 0},
		"entry's flags":       append([]byte{7, 1, 8}, sampleEntry.Append(nil)[1:]...),
		"permissions too big": append([]byte{7, 1, 0, 0, 255, 255, 255, 255, 255, 1}, make([]byte, 40)...),
		"a late stamp":        (&NamesMessage{Kind: NamesPropose, Entries: []Entry{late}}).Append(nil),
		"a long path":         (&NamesMessage{Kind: NamesPropose, Entries: []Entry{long}}).Append(nil),
		"many entries":        {7, 255, 255, 255, 255, 15, 0},
	} {
		if _, err := DecodeNames(b); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestEntryOrder: stamps decide, and where they cannot the order is still total.
func TestEntryOrder(t *testing.T) {
	base := sampleEntry
	bigger := []func(*Entry){
		func(e *Entry) { e.Stamp.Time++ }, func(e *Entry) { e.Stamp.Node = "hostb" }, func(e *Entry) { e.Transient = true },
		func(e *Entry) { e.Mode++ }, func(e *Entry) { e.Perm++ }, func(e *Entry) { e.UID++ }, func(e *Entry) { e.GID++ },
		func(e *Entry) { e.Token++ },
	}
	for i, change := range bigger {
		e := base
		change(&e)
		if e.Compare(&base) <= 0 || base.Compare(&e) >= 0 || e.Compare(&e) != 0 {
			t.Errorf("change %d: %+v is not after %+v", i, e, base)
		}
		if e.Digest() == base.Digest() {
			t.Errorf("change %d leaves the digest", i)
		}
	}
}

// FuzzNames: what decodes is encoded so that it decodes to the same.
func FuzzNames(f *testing.F) {
	for _, s := range sampleNames {
		f.Add(s.m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeNames(b)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Errorf("error %v", err)
			}
			return
		}
		again := m.Append(nil)
		back, err := DecodeNames(again)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%x decodes to %+v, and that to %+v, %v", b, m, back, err)
		}
		if len(again) > len(b) {
			t.Errorf("%x became longer: %x", b, again)
		}
	})
}
