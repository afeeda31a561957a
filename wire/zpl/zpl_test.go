// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpl

import (
	"errors"
	"strings"
	"testing"
)

const sample = `#   the device's settings
context
    iothreads = 1
    verbose = 1      #   Ask for a trace
main
    type = zmq_queue
    frontend
        option
            hwm = 1000
            swap = 25000000     #   25MB
        bind = 'inproc://addr1'
        bind = "ipc://addr2"
    backend
        bind = "inproc://addr 3"
`

func TestParse(t *testing.T) {
	root, err := Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"context/iothreads": "1", "context/verbose": "1", "main/type": "zmq_queue", "main/frontend/option/swap": "25000000",
		"main/frontend/bind": "inproc://addr1", "main/backend/bind": "inproc://addr 3", "main/nothing": "other", "nothing/at/all": "other",
	} {
		if got := root.Get(path, "other"); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if err := root.Put("main/backend/option/hwm", "5"); err != nil {
		t.Fatal(err)
	}
	text, err := root.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for path, want := range map[string]string{"main/backend/option/hwm": "5", "main/frontend/option/hwm": "1000", "main/backend/bind": "inproc://addr 3"} {
		if got := again.Get(path, ""); got != want {
			t.Errorf("written and read, %s is %q, want %q", path, got, want)
		}
	}
	if n := len(again.Locate("main/frontend").Items); n != 3 {
		t.Errorf("frontend has %d items, want 3: two of them have one name", n)
	}
}

// Errors name the line.
func TestErrors(t *testing.T) {
	for text, line := range map[string]int{
		"a = 1\n  b = 2\n":           2, // not four spaces
		"a = 1\n        b = 2\n":     2, // a level too deep
		"a\n    b = \"open\n":        2,
		"a = 1\n\n#\n= 5\n":          4,
		"a = 1\nb = 'x' more\n":      2,
		"a = 1\nname with space = 2": 2,
	} {
		_, err := Parse([]byte(text))
		var at *LineError
		if !errors.As(err, &at) || at.Line != line {
			t.Errorf("%q: %v, want an error in line %d", text, err, line)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("a = 'b' # c\n    d\n")
	f.Fuzz(func(t *testing.T, text string) {
		root, err := Parse([]byte(text))
		if err != nil {
			return
		}
		written, err := root.Append(nil)
		if err != nil {
			return // a value that ZPL cannot write
		}
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("%q is written as %q, which is not read: %v", text, written, err)
		}
		twice, err := again.Append(nil)
		if err != nil || string(twice) != string(written) {
			t.Fatalf("%q is written as %q, then %q, %v", text, written, twice, err)
		}
		if strings.Count(string(written), "\n") == 0 && len(root.Items) > 0 {
			t.Fatalf("%q is written as %q", text, written)
		}
	})
}
