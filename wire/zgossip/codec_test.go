// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// The bytes were captured from libczmq 4.2.1 (integration/zgossip compares with the
// live library).
var golden = []struct {
	m   Message
	hex string
}{
	{Message{ID: Hello}, "aaa00101"},
	{Message{ID: Publish, Key: "inproc://alpha-1", Value: "service1"}, "aaa00201" + "10696e70726f633a2f2f616c7068612d31" + "000000087365727669636531" + "00000000"},
	{Message{ID: Publish, Key: "k", Value: "", TTL: 30000}, "aaa00201" + "016b" + "00000000" + "00007530"},
	{Message{ID: Ping}, "aaa00301"},
	{Message{ID: Pong}, "aaa00401"},
	{Message{ID: Invalid}, "aaa00501"},
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		want, err := hex.DecodeString(g.hex)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Limits{}.Append(nil, g.m)
		if err != nil || !bytes.Equal(got, want) || EncodedLen(g.m) != len(want) {
			t.Errorf("%v: % x, %v, want % x", g.m.ID, got, err, want)
		}
		if m, err := (Limits{}).Decode(want); err != nil || m != g.m {
			t.Errorf("%v decodes as %+v, %v", g.m.ID, m, err)
		}
		for n := range want {
			if m, err := (Limits{}).Decode(want[:n]); err == nil {
				t.Errorf("%v cut to %d octets is %+v", g.m.ID, n, m)
			}
		}
		if m, err := (Limits{}).Decode(append(want, 0)); err == nil {
			t.Errorf("%v with an octet more is %+v", g.m.ID, m)
		}
	}
}

func TestLimits(t *testing.T) {
	longest := strings.Repeat("k", MaxKey)
	small := Limits{MaxValue: 10}
	for _, c := range []struct {
		l  Limits
		m  Message
		ok bool
	}{
		{small, Message{ID: Publish, Key: longest, Value: "0123456789"}, true},
		{small, Message{ID: Publish, Key: longest + "k", Value: "v"}, false},
		{small, Message{ID: Publish, Key: "k", Value: "0123456789a"}, false},
		{small, Message{ID: Publish, Key: "k\x00", Value: "v"}, false},
		{small, Message{ID: Publish, Key: "k", Value: "v\x00"}, false},
		{small, Message{ID: 9}, false},
		{Limits{}, Message{ID: Publish, Key: "", Value: strings.Repeat("v", DefaultMaxValue)}, true},
		{Limits{}, Message{ID: Publish, Key: "", Value: strings.Repeat("v", DefaultMaxValue+1)}, false},
	} {
		b, err := c.l.Append(nil, c.m)
		if (err == nil) != c.ok {
			t.Errorf("%v, key of %d, value of %d: %v", c.m.ID, len(c.m.Key), len(c.m.Value), err)
		}
		if err == nil && int64(len(b)) > c.l.MaxFrame() {
			t.Errorf("a frame of %d octets, at most %d", len(b), c.l.MaxFrame())
		}
	}
	long, err := (Limits{MaxValue: 100}).Append(nil, Message{ID: Publish, Key: "k", Value: strings.Repeat("v", 50)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := small.Decode(long); err == nil || !strings.Contains(err.Error(), "value") {
		t.Errorf("a value that is too long: %v", err)
	}
	if _, err := small.Decode([]byte{0xAA, 0xA0, 1, 2}); err == nil || errors.Unwrap(err) == nil {
		t.Errorf("another version: %v", err)
	}
}

func FuzzCodec(f *testing.F) {
	for _, g := range golden {
		b, _ := hex.DecodeString(g.hex)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Limits{}.Decode(b)
		if err != nil {
			return
		}
		again, err := Limits{}.Append(nil, m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("% x is %+v, which is % x, %v", b, m, again, err)
		}
	})
}
