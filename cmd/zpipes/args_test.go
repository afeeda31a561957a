// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestReorder(t *testing.T) {
	for line, want := range map[string]string{
		"":                              "",
		"--help":                        "--help",
		"help mount":                    "help mount",
		"unknown a --b":                 "unknown a --b",
		"version":                       "version",
		"ls":                            "ls",
		"ls a -l":                       "ls -l -- a",
		"ls -l a":                       "ls -l -- a",
		"ls a --name n":                 "ls --name n -- a",
		"ls a --name=n -l":              "ls --name=n -l -- a",
		"ls -name n a":                  "ls -name n -- a",
		"ls a --name":                   "ls --name",
		"mount m --daemon --pid-file":   "mount --daemon --pid-file",
		"ls --name -- a":                "ls --name -- -- a",
		"create -- --mode -p":           "create -- --mode -p",
		"create a -- b --perm":          "create -- a b --perm",
		"create - --mode x":             "create --mode x -- -",
		"create a --unknown b":          "create --unknown -- a b",
		"mount d --endpoint e --daemon": "mount --endpoint e --daemon -- d",
		"mount d --capacity 4K --log-level debug": "mount --capacity 4K --log-level debug -- d",
	} {
		got := reorder(append([]string{"zpipes"}, strings.Fields(line)...))
		if wanted := append([]string{"zpipes"}, strings.Fields(want)...); !slices.Equal(got, wanted) {
			t.Errorf("%q became %q, want %q", line, got, wanted)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "4096": 4096, "64K": 64 << 10, "64KiB": 64 << 10, "1M": 1 << 20, "1MiB": 1 << 20, "1G": 1 << 30, "2147483647": 1<<31 - 1,
		"": -1, "K": -1, "iB": -1, "1iB": -1, "1MB": -1, "1m": -1, "-1": -1, "1.5M": -1, "2G": -1, "2048M": -1, "1T": -1, "1 M": -1, "99999999999999999999": -1,
	} {
		got := size(-1)
		if err := got.Set(text); int(got) != want || (err == nil) != (want >= 0) {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
		if want > 0 {
			if again := size(-1); again.Set(got.String()) != nil || again != got {
				t.Errorf("%d is written %q, which is %d", got, &got, again)
			}
		}
	}
}
