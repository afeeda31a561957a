// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

var goldenNames = []struct {
	m   NamesMessage
	hex string
}{
	{NamesMessage{Kind: Find, Req: 1, Entries: []Entry{{Path: "p"}}}, "01000000" + "01" + "00" + "00" + "01" + "0000" + "0170" + "000000" + "0000000000000000" + "00"},
	{NamesMessage{Kind: Decided, Status: NameExists, Req: 300}, "07010000" + "ac02" + "00" + "00" + "00"},
	{NamesMessage{Kind: Changes, Req: 2, Cursor: 5, More: true, Entries: []Entry{{Path: "d/p", Pipe: true, Mode: 2, Perm: 0o644, UID: 1000, GID: 7, Dead: true, Time: 258, Node: "h"}}},
		"0b000200" + "02" + "05" + "00" + "01" + "0502" + "03642f70" + "a403" + "e807" + "07" + "0000000000000102" + "0168"},
	{NamesMessage{Kind: Pull, Req: 9, Dir: "d", List: true}, "0a000400" + "09" + "00" + "0164" + "00"},
	{NamesMessage{Kind: Make, Replace: true, Fields: 5}, "02000105" + "00" + "00" + "00" + "00"},
}

func TestGoldenNames(t *testing.T) {
	for _, g := range goldenNames {
		want, err := hex.DecodeString(g.hex)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.m.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("kind %d is %x, want %x", g.m.Kind, got, want)
		}
		if got, err := DecodeNames(want); err != nil || !reflect.DeepEqual(got, g.m) {
			t.Errorf("kind %d decodes as %+v, %v", g.m.Kind, got, err)
		}
		for n := range want {
			if _, err := DecodeNames(want[:n]); !errors.Is(err, ErrMessage) {
				t.Errorf("kind %d cut to %d octets: %v", g.m.Kind, n, err)
			}
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, g := range goldenNames {
		f.Add(g.m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeNames(b)
		if err != nil {
			return
		}
		if again, err := DecodeNames(m.Append(nil)); err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
