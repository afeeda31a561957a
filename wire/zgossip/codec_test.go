// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	octets, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

// goldens are frames of CZMQ 4.2.1, as its actor sent them over TCP; it sends no
// PING and no ttl but ones left over, so those are by its zgossip_msg.xml. The
// spaces are between fields.
var goldens = []struct {
	frame   string
	message Message
}{
	{"aaa0 01 01", Message{ID: Hello}},
	{"aaa0 02 01 036b6579 0000000576616c7565 00000000", Message{ID: Publish, Key: "key", Value: "value"}},
	{"aaa0 02 01 03c3a92f 00000000 00000000", Message{ID: Publish, Key: "é/"}},
	{"aaa0 02 01 00 0000000178 00000000", Message{ID: Publish, Value: "x"}},
	{"aaa0 02 01 016b 0000000176 0000ea60", Message{ID: Publish, Key: "k", Value: "v", TTL: 60000}},
	{"aaa0 02 01 016b 0000000176 ffffffff", Message{ID: Publish, Key: "k", Value: "v", TTL: math.MaxUint32}},
	{"aaa0 03 01", Message{ID: Ping}},
	{"aaa0 04 01", Message{ID: Pong}},
	{"aaa0 05 01", Message{ID: Invalid}},
}

func TestGoldens(t *testing.T) {
	for _, g := range goldens {
		frame := unhex(t, g.frame)
		if m, err := (Limits{}).Decode(frame); err != nil || m != g.message {
			t.Errorf("%s: got %+v, %v", g.frame, m, err)
		}
		if got, err := (Limits{}).Append([]byte("before"), g.message); err != nil || !bytes.Equal(got, append([]byte("before"), frame...)) {
			t.Errorf("%+v: got %x, %v", g.message, got, err)
		}
		if n := EncodedLen(g.message); n != len(frame) {
			t.Errorf("%+v: EncodedLen is %d, want %d", g.message, n, len(frame))
		}
	}
}

// TestCut cuts every golden at every octet, and makes it longer.
func TestCut(t *testing.T) {
	for _, g := range goldens {
		frame := unhex(t, g.frame)
		for n := range frame {
			m, err := Limits{}.Decode(frame[:n])
			if !errors.Is(err, ErrTruncated) || m != (Message{}) {
				t.Errorf("%x: %+v, %v", frame[:n], m, err)
			}
		}
		if _, err := (Limits{}).Decode(append(frame, 0)); !errors.Is(err, ErrTrailing) {
			t.Errorf("%x and an octet more: %v", frame, err)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	tight := Limits{MaxValue: 4}
	for _, c := range []struct {
		limits      Limits
		frame, want string
		err         error
	}{
		{Limits{}, "", "frame: signature: 0 octets left, 2 needed", ErrTruncated},
		{Limits{}, "aaa1 01 01", "frame: signature: aaa1, not aaa0", ErrSignature},
		{Limits{}, "aaa0 00 01", "frame: id: 0 names no message", ErrID},
		{Limits{}, "aaa0 06 01", "frame: id: 6 names no message", ErrID},
		{Limits{}, "aaa0 01 02", "HELLO: version: 2, not 1", ErrVersion},
		{Limits{}, "aaa0 02 01 026b", "PUBLISH: key: 1 octets left, 2 needed", ErrTruncated},
		{Limits{}, "aaa0 02 01 016b 0000000276", "PUBLISH: value: 1 octets left, 2 needed", ErrTruncated},
		{Limits{}, "aaa0 02 01 016b 00100001 76", "PUBLISH: value: 1048577 octets, 1048576 allowed", ErrValue},
		{Limits{}, "aaa0 02 01 016b ffffffff 76", "PUBLISH: value: 4294967295 octets, 1048576 allowed", ErrValue},
		{tight, "aaa0 02 01 016b 000000057676767676 00000000", "PUBLISH: value: 5 octets, 4 allowed", ErrValue},
		{Limits{}, "aaa0 02 01 016b 0000000176 0000", "PUBLISH: ttl: 2 octets left, 4 needed", ErrTruncated},
		{Limits{}, "aaa0 02 01 026b00 0000000176 00000000", "PUBLISH: key: octet 1 is NUL, which ends a text", ErrNUL},
		{Limits{}, "aaa0 02 01 016b 0000000100 00000000", "PUBLISH: value: octet 0 is NUL, which ends a text", ErrNUL},
		{Limits{}, "aaa0 03 01 00", "PING: end: 1 octets too many", ErrTrailing},
	} {
		m, err := c.limits.Decode(unhex(t, c.frame))
		var field *FieldError
		if m != (Message{}) || !errors.Is(err, c.err) || !errors.As(err, &field) || err.Error() != c.want {
			t.Errorf("%s: got %+v, %v, want %s", c.frame, m, err, c.want)
		}
	}
}

func TestAppendErrors(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		m      Message
		err    error
	}{
		{Limits{}, Message{}, ErrID},
		{Limits{}, Message{ID: 6}, ErrID},
		{Limits{}, Message{ID: Publish, Key: strings.Repeat("k", 256)}, ErrKey},
		{Limits{}, Message{ID: Publish, Value: strings.Repeat("v", DefaultMaxValue+1)}, ErrValue},
		{Limits{MaxValue: 4}, Message{ID: Publish, Value: "12345"}, ErrValue},
		{Limits{}, Message{ID: Publish, Key: "a\x00"}, ErrNUL},
		{Limits{}, Message{ID: Publish, Value: "\x00"}, ErrNUL},
	} {
		got, err := c.limits.Append([]byte("before"), c.m)
		if !errors.Is(err, c.err) || string(got) != "before" {
			t.Errorf("%v with key of %d, value of %d octets: %q, %v", c.m.ID, len(c.m.Key), len(c.m.Value), got, err)
		}
	}
}

func TestLongest(t *testing.T) {
	for _, l := range []Limits{{}, {MaxValue: 100}, {MaxValue: DefaultMaxValue + 1}} {
		m := Message{ID: Publish, Key: strings.Repeat("k", MaxKey), Value: strings.Repeat("v", int(l.maxValue())), TTL: 1}
		frame, err := l.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(frame)) != l.MaxFrame() || EncodedLen(m) != len(frame) {
			t.Errorf("%d octets, MaxFrame is %d, EncodedLen %d", len(frame), l.MaxFrame(), EncodedLen(m))
		}
		if got, err := l.Decode(frame); err != nil || got != m {
			t.Error("did not come back as it was sent:", err)
		}
	}
}

func TestNames(t *testing.T) {
	for id, want := range map[ID]string{Hello: "HELLO", Publish: "PUBLISH", Ping: "PING", Pong: "PONG", Invalid: "INVALID", 0: "ID(0)", 6: "ID(6)"} {
		if got := id.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzDecode checks that whatever decodes encodes to the same octets, that
// whatever does not gives an error of this package, and that neither panics.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens {
		f.Add(unhex(f, g.frame), 0)
		f.Add(unhex(f, g.frame), 1)
	}
	f.Add(unhex(f, "aaa0 02 01 016b ffffffff 76"), math.MaxInt)
	sentinels := []error{ErrSignature, ErrID, ErrVersion, ErrTruncated, ErrTrailing, ErrKey, ErrValue, ErrNUL}

	f.Fuzz(func(t *testing.T, frame []byte, maxValue int) {
		l := Limits{MaxValue: maxValue}
		original := bytes.Clone(frame)
		m, err := l.Decode(frame)
		if !bytes.Equal(frame, original) {
			t.Fatal("Decode wrote into the frame")
		}
		if err != nil {
			var field *FieldError
			if !errors.As(err, &field) || !slices.Contains(sentinels, field.Err) || err.Error() == "" || m != (Message{}) {
				t.Fatalf("unexpected error %#v with %+v", err, m)
			}
			return
		}
		again, err := l.Append(nil, m)
		if err != nil {
			t.Fatalf("%+v decoded but does not encode: %v", m, err)
		}
		if !bytes.Equal(again, frame) || EncodedLen(m) != len(frame) {
			t.Fatalf("%x encodes as %x", frame, again)
		}
	})
}
