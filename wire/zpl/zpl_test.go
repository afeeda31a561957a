// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpl

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// sample is the example of RFC 4/ZPL, with more.
const sample = `#   Default configuration
context
    iothreads = 1
    verbose = 1      #   Ask for a trace

main
    type = zmq_queue    #  ZMQ_DEVICE type
    frontend
        option
            hwm = 1000
            swap = 25000000
        bind = 'inproc://addr1'
        bind = "ipc://addr2"
    # about the back
    backend
        bind = inproc://addr3
    a/b = "  kept  "
    none =
    words = one two  three
#   The end
`

func parse(t *testing.T, text string) *Item {
	t.Helper()
	root, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestParse(t *testing.T) {
	root := parse(t, sample)
	for path, want := range map[string]string{
		"context/iothreads": "1", "/context/verbose": "1", "main/type": "zmq_queue",
		"main/frontend/option/swap": "25000000", "main/frontend/bind": "inproc://addr1",
		"main/backend/bind": "inproc://addr3", "main/words": "one two  three", "main/none": "", "main": "",
	} {
		if got := root.Get(path, "(none)"); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"", "no", "main/no", "main/type/no", "context/iothreads/"} {
		if got := root.Get(path, "(none)"); got != "(none)" {
			t.Errorf("%q is %q", path, got)
		}
	}
	front := root.Locate("main/frontend")
	if len(front.Items) != 3 || front.Items[2].Value != "ipc://addr2" {
		t.Errorf("frontend has %d items", len(front.Items))
	}
	if got := root.Child("main").Child("a/b"); got == nil || got.Value != "  kept  " {
		t.Errorf("a/b is %+v", got)
	}
	if got := root.Child("context").Comments; !reflect.DeepEqual(got, []string{"   Default configuration"}) {
		t.Errorf("comments %q", got)
	}
	if got := root.Locate("context/verbose").Remark; got != "   Ask for a trace" {
		t.Errorf("remark %q", got)
	}
	if got := root.Comments; !reflect.DeepEqual(got, []string{"   The end"}) {
		t.Errorf("comments at the end %q", got)
	}
}

func TestParseVariants(t *testing.T) {
	for text, want := range map[string]string{
		"a=1":                  "1",
		"a = 1\r\n":            "1",
		"a\t=\t1  ":            "1",
		"a = \"x # y\" # z":    "x # y",
		"a = 'x \" y'":         `x " y`,
		"a = x\"y'z":           `x"y'z`,
		"a = 1#2":              "1",
		"a = x y # z":          "x y",
		"a = # z":              "",
		"a":                    "",
		"a # z":                "",
		"a =":                  "",
		"a = ''":               "",
		"\n\n  \n# x\n\ta = 1": "",
		"   # x\na = 1":        "1",
	} {
		root, err := Parse([]byte(text))
		if strings.Contains(text, "\ta = 1") {
			if !errors.Is(err, ErrSyntax) { // a tab is no indentation
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := root.Get("a", "(none)"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		line int
		err  error
	}{
		{"a\n  b", 2, ErrIndent},
		{"    a", 1, ErrIndent},
		{"a\n        b", 2, ErrIndent},
		{"a\n    b\nc\n        d", 4, ErrIndent},
		{"a\nb = \"x", 2, ErrQuote},
		{"a = 'x\"", 1, ErrQuote},
		{"a = 'x' y", 1, ErrSyntax},
		{"a b", 1, ErrSyntax},
		{"a\n\n= 1", 3, ErrSyntax},
		{"a: 1", 1, ErrSyntax},
		{"/a = 1", 1, ErrName},
		{"a/ = 1", 1, ErrName},
		{"é = 1", 1, ErrSyntax},
		{"a = 1\x00", 1, ErrNUL},
		{"a # \x00", 1, ErrNUL},
	} {
		root, err := Parse([]byte(c.text))
		var line *LineError
		if root != nil || !errors.As(err, &line) || line.Line != c.line || !errors.Is(err, c.err) {
			t.Errorf("%q: got %v, want line %d: %v", c.text, err, c.line, c.err)
		}
	}
	if _, err := Parse([]byte("a\nb = \"x")); err.Error() != "line 2: the closing quote is missing" {
		t.Error(err)
	}
}

// TestRoundTrip: what is written is read as what it was, comments and all.
func TestRoundTrip(t *testing.T) {
	root := parse(t, sample)
	text, err := root.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again := parse(t, string(text)); !reflect.DeepEqual(again, root) {
		t.Errorf("not the same:\n%s", text)
	}
	want := "# about the back\n    backend\n"
	if !strings.Contains(string(text), "    "+want) {
		t.Errorf("want the comment where it was:\n%s", text)
	}
}

func TestPut(t *testing.T) {
	root := parse(t, sample)
	for path, value := range map[string]string{
		"main/type": "changed", "main/frontend/bind": "the first of two", "/new": "1", "main/new/deep/er": "2",
		"both": `a "b" 'c'`, "double": `"`, "single": "'", "hash": "#", "spaces": " x ", "empty": "",
	} {
		if err := root.Put(path, value); err != nil {
			t.Errorf("put %s: %v", path, err)
		}
		if got := root.Get(path, "(none)"); got != value {
			t.Errorf("%s is %q, want %q", path, got, value)
		}
	}
	text, err := root.Append([]byte("# before\n"))
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, string(text))
	again.Child("context").Comments = again.Child("context").Comments[1:]
	if !reflect.DeepEqual(again, root) {
		t.Errorf("not the same:\n%s", text)
	}
	for path, value := range map[string]string{
		"": "x", "/": "x", "a//b": "x", "a/": "x", "a b": "x", "a=b": "x", "é": "x", "a#": "x",
		"line": "a\nb", "nul": "\x00", "both": `"a" 'b'`, "both-2": `'a" `, "both-3": `a'b"c#`, "both-4": ` a'b"c`,
	} {
		before, _ := root.Append(nil)
		err := root.Put(path, value)
		if !errors.Is(err, ErrName) && !errors.Is(err, ErrValue) {
			t.Errorf("put %q = %q: %v", path, value, err)
		}
		if after, _ := root.Append(nil); string(after) != string(before) {
			t.Errorf("put %q has changed something", path)
		}
	}
}

func TestAppendErrors(t *testing.T) {
	for _, c := range []struct {
		item Item
		err  error
	}{
		{Item{Name: ""}, ErrName}, {Item{Name: "a b"}, ErrName}, {Item{Name: "/a"}, ErrName}, {Item{Name: "a/"}, ErrName},
		{Item{Name: "a", Value: "x\ny"}, ErrValue}, {Item{Name: "a", Items: []*Item{{Name: "b", Value: `'"'`}}}, ErrValue},
	} {
		root := &Item{Items: []*Item{{Name: "first"}, &c.item}}
		if got, err := root.Append([]byte("before")); !errors.Is(err, c.err) || string(got) != "before" {
			t.Errorf("%+v: %q, %v", c.item, got, err)
		}
	}
}

// FuzzParse checks that what is read can be written, and reads as the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("a = 'x' # y\n    b\n\tc"))
	f.Add([]byte(`a = x"y'z # "`))
	f.Fuzz(func(t *testing.T, text []byte) {
		root, err := Parse(text)
		if err != nil {
			var line *LineError
			if root != nil || !errors.As(err, &line) || line.Line < 1 || line.Line > 1+strings.Count(string(text), "\n") {
				t.Fatalf("unexpected error %#v", err)
			}
			return
		}
		again, err := root.Append(nil)
		if err != nil {
			t.Fatalf("%q was read but cannot be written: %v", text, err)
		}
		if got, err := Parse(again); err != nil || !reflect.DeepEqual(got, root) {
			t.Fatalf("%q written as %q: %v", text, again, err)
		}
	})
}
