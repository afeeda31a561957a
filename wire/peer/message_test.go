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

// The bytes are the protocol: brokers of one version must agree on them.
var golden = []struct {
	m   Message
	hex string
}{
	{
		Message{Kind: Register, Req: 1, Name: "jobs", Reg: 300, Ends: Reads, Mode: 2, First: true, Regs: []Reg{{ID{"h", 1}, 7, Writes}}},
		"01 01 04 6a6f6273 ac02 01 02 01 01 01 68 0000000000000001 07 02",
	},
	{Message{Kind: Registered, Req: 1, Status: Busy, Mode: 1, Regs: []Reg{{ID{"h", 0x0102030405060708}, 7, Writes}}}, "02 01 01 01 01 01 68 0102030405060708 07 02"},
	{Message{Kind: Offer, Req: 9, Reg: 1, To: 2, Writer: 3}, "03 09 01 02 03"},
	{Message{Kind: Offered, Req: 9}, "04 09"},
	{Message{Kind: Subscribe, Req: 3, Stream: 4, Reg: 5, To: 6, Writer: 7, Limit: 65536}, "05 03 04 05 06 07 808004"},
	{Message{Kind: Subscribed, Req: 3, Status: Unknown}, "06 03 03"},
	{Message{Kind: Data, Stream: 4}, "07 04"},
	{Message{Kind: End, Stream: 4}, "08 04"},
	{Message{Kind: Credit, Stream: 4, Count: 1, Limit: 2, Need: 3, First: true}, "09 04 01 02 03 01"},
	{Message{Kind: Unsubscribe, Stream: 4, Count: 128}, "0a 04 8001"},
	{Message{Kind: Contend, Stream: 4, First: true}, "0b 04 01"},
	{Message{Kind: Starved, Stream: 4, Need: 9}, "0c 04 09"},
	{Message{Kind: Recall, Stream: 4}, "0d 04"},
	{Message{Kind: Returned, Stream: 4, Count: 5}, "0e 04 05"},
	{Message{Kind: Names, Text: []byte{1, 2}}, "0f 0102"},
	{Message{Kind: Ask, Req: 1, Text: []byte("pipes")}, "10 01 7069706573"},
	{Message{Kind: Told, Req: 1, Status: OK, Text: []byte("{}")}, "11 01 00 7b7d"},
	{Message{Kind: Want, Req: 1, Reg: 2, To: 3}, "12 01 02 03"},
	{Message{Kind: Wanted, Req: 1}, "13 01"},
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		want, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(g.hex), []byte(" "), nil)))
		if err != nil {
			t.Fatal(err)
		}
		if got := g.m.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("kind %d is % x, want % x", g.m.Kind, got, want)
		}
		if got, err := Decode(want); err != nil || !reflect.DeepEqual(got, g.m) {
			t.Errorf("kind %d decodes as %+v, %v", g.m.Kind, got, err)
		}
		for n := range want {
			if _, err := Decode(want[:n]); err != nil && !errors.Is(err, ErrMessage) {
				t.Errorf("kind %d cut to %d octets: %v", g.m.Kind, n, err)
			} else if err == nil && g.m.Text == nil {
				t.Errorf("kind %d cut to %d octets was taken", g.m.Kind, n)
			}
		}
	}
	if len(golden) != int(Wanted) {
		t.Errorf("%d kinds of %d have their bytes here", len(golden), Wanted)
	}
}

func FuzzMessage(f *testing.F) {
	for _, g := range golden {
		f.Add(g.m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(m.Append(nil))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
