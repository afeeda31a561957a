// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"encoding/hex"
	"errors"
	"testing"
)

var sample = Frame{
	Kind: FrameData, To: 0x0102030405060708, Mine: 3, Yours: 4, Round: 5, Lost: 6,
	Seq: 7, Ack: 8, Count: 2, Clock: 9, Echo: 10,
}

// The octets are the protocol.
func TestFrameIsFixed(t *testing.T) {
	const want = "7a70" + "01" + "02" + "0102030405060708" + "0000000000000003" + "0000000000000004" +
		"00000005" + "00000006" + "0000000000000007" + "0000000000000008" + "0002" +
		"0000000000000009" + "000000000000000a"
	got := hex.EncodeToString(sample.Append(nil))
	if got != want || len(got) != 2*FrameLen {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(Shape{Head: 1, Body: 2}.Append(nil)); got != "0000000100000002" {
		t.Errorf("shape is %s", got)
	}
}

func TestParseFrame(t *testing.T) {
	f, rest, err := ParseFrame(append(sample.Append(nil), "rest"...))
	if err != nil || f != sample || string(rest) != "rest" {
		t.Errorf("got %+v %q %v", f, rest, err)
	}
	change := func(at int, octets ...byte) []byte {
		b := sample.Append(nil)
		copy(b[at:], octets)
		return b
	}
	zeros := make([]byte, 8)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrFrame},
		{"short", change(0)[:FrameLen-1], ErrFrame},
		{"not ours", change(0, 'x'), ErrFrame},
		{"version", change(2, 2), ErrVersion},
		{"version of a short frame", change(2, 2)[:4], ErrVersion},
		{"kind 0", change(3, 0), ErrFrame},
		{"kind 5", change(3, 5), ErrFrame},
		{"no epoch", change(12, zeros...), ErrFrame},
		{"data without the peer's epoch", change(20, zeros...), ErrFrame},
		{"hello with the peer's epoch", change(3, byte(FrameHello)), ErrFrame},
		{"data without messages", change(52, 0, 0), ErrFrame},
		{"pulse with messages", change(3, byte(FramePulse)), ErrFrame},
		{"number 0", change(36, zeros...), ErrFrame},
	} {
		if _, _, err := ParseFrame(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParseShapes(t *testing.T) {
	body := func(shapes ...Shape) (b []byte) {
		for _, s := range shapes {
			b = s.Append(b)
		}
		return b
	}
	good := append(body(Shape{1, 2}, Shape{3, 0}), "abbbcc"...)
	shapes, heads, bodies, err := sample.ParseShapes(nil, good)
	if err != nil || len(shapes) != 2 || string(heads) != "abbb" || string(bodies) != "cc" {
		t.Errorf("got %v %q %q %v", shapes, heads, bodies, err)
	}
	for name, b := range map[string][]byte{
		"nothing":   nil,
		"one shape": body(Shape{1, 2}),
		"too few":   good[:len(good)-1],
		"too many":  append(good[:len(good):len(good)], 'x'),
		"huge":      body(Shape{1<<32 - 1, 1<<32 - 1}, Shape{1<<32 - 1, 1<<32 - 1}),
	} {
		if _, _, _, err := sample.ParseShapes(nil, b); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParseFrame: what can be read is what would be written.
func FuzzParseFrame(f *testing.F) {
	f.Add(append(append(sample.Append(nil), Shape{1, 0}.Append(nil)...), Shape{0, 1}.Append([]byte("x"))...))
	f.Add((&Frame{Kind: FrameHello, Mine: 1, Seq: 1}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, rest, err := ParseFrame(b)
		if err != nil {
			if !errors.Is(err, ErrFrame) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if again := append(frame.Append(nil), rest...); string(again) != string(b) {
			t.Fatalf("%x is written as %x", b, again)
		}
		shapes, heads, bodies, err := frame.ParseShapes(nil, rest)
		if err != nil {
			return
		}
		var n uint64
		for _, s := range shapes {
			n += uint64(s.Head) + uint64(s.Body)
		}
		if n != uint64(len(heads)+len(bodies)) || len(shapes) != int(frame.Count) {
			t.Fatalf("%d shapes of %d octets; there are %d and %d", len(shapes), n, len(heads), len(bodies))
		}
	})
}
