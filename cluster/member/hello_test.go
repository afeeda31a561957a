// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zpipesfs/zpipesfs/cluster/key"
)

// TestHelloLayout guards what brokers of all versions must be able to read.
func TestHelloLayout(t *testing.T) {
	h := hello{version: 3, keys: []key.ID{{1, 2, 3, 4, 5, 6, 7, 8}}}
	if got, want := hex.EncodeToString(h.encode()), hex.EncodeToString([]byte("ZPIPES"))+"03"+"08"+"0102030405060708"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	many := hello{version: 1, keys: make([]key.ID, key.MaxKeys)}
	read, err := readHello(bytes.NewReader(many.encode()))
	if err != nil || len(read.keys) != key.MaxKeys {
		t.Fatalf("got %d keys, %v", len(read.keys), err)
	}
}

func TestReadHello(t *testing.T) {
	for text, want := range map[string]error{
		"":                    io.EOF,
		"ZPIPE":               io.ErrUnexpectedEOF,
		"ZPIPES\x01\x08abc":   io.ErrUnexpectedEOF,
		"SSH-2.0-":            errStranger,
		"GET":                 errStranger,
		"ZPIPES\x02\x03abc":   nil, // another version's
		"ZPIPES\x01\x00extra": nil,
	} {
		r := strings.NewReader(text)
		_, err := readHello(iotest.OneByteReader(r))
		if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
		if rest := "extra"; strings.HasSuffix(text, rest) && r.Len() != len(rest) {
			t.Errorf("%q: %d octets are left", text, r.Len())
		}
	}
}

func FuzzReadHello(f *testing.F) {
	f.Add(hello{version: 1, keys: make([]key.ID, 2)}.encode())
	f.Add([]byte("ZPIPES\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err == nil && h.judge(h) != nil {
			t.Fatalf("%+v refuses itself", h)
		}
	})
}

// TestJudge checks that both sides always come to the same result.
func TestJudge(t *testing.T) {
	a, b, c := key.ID{1}, key.ID{2}, key.ID{3}
	hellos := []hello{{1, nil}, {2, nil}, {1, []key.ID{a}}, {1, []key.ID{b}}, {1, []key.ID{a, b}}, {1, []key.ID{b, a}}, {1, []key.ID{c, a}}, {2, []key.ID{a}}}
	for i, x := range hellos {
		for j, y := range hellos {
			if there, back := x.judge(y), y.judge(x); (there == nil) != (back == nil) {
				t.Errorf("%v of %v: %v; back: %v", x, y, there, back)
			} else if i == j && there != nil {
				t.Errorf("%v of itself: %v", x, there)
			} else if there != nil && !errors.Is(there, errRefused) {
				t.Errorf("%v of %v: %v", x, y, there)
			}
		}
	}
}
