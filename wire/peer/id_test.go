// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package peer

import (
	"fmt"
	"slices"
	"testing"
)

func TestIDString(t *testing.T) {
	if got := (ID{Node: "a", Boot: 0xBEEF}).String(); got != "a/beef" {
		t.Errorf("got %q", got)
	}
}

// The values, from another implementation of XXH64, are part of the protocol: hosts of different versions must agree.
func TestHomeIsFixed(t *testing.T) {
	nodes := []string{"alpha", "beta", "gamma", "delta"}
	for key, want := range map[string]string{"": "gamma", "jobs": "beta", "a/b/c": "gamma", "x": "beta"} {
		if got := Home(key, nodes); got != want {
			t.Errorf("home of %q is %q, want %q", key, got, want)
		}
	}
	if got, want := weight("alpha", "jobs"), uint64(0x815b85bcb6417f5f); got != want {
		t.Errorf("weight is %#x, want %#x", got, want)
	}
}

func TestHomeOfNothing(t *testing.T) {
	if got := Home("p", nil); got != "" {
		t.Errorf("got %q", got)
	}
	if got := Home("p", []string{"only"}); got != "only" {
		t.Errorf("got %q", got)
	}
}

func TestHomeIgnoresOrder(t *testing.T) {
	nodes := []string{"a", "b", "c", "d", "e"}
	back := slices.Clone(nodes)
	slices.Reverse(back)
	for i := range 1000 {
		key := fmt.Sprint("pipe-", i)
		if one, other := Home(key, nodes), Home(key, back); one != other {
			t.Fatalf("home of %q is %q or %q", key, one, other)
		}
	}
}

func TestHomeMovesOnlyWhatItMust(t *testing.T) {
	const keys = 20000
	nodes := make([]string, 10)
	for i := range nodes {
		nodes[i] = fmt.Sprint("host-", i)
	}
	count := make(map[string]int)
	for i := range keys {
		key := fmt.Sprint("pipe-", i)
		before := Home(key, nodes)
		count[before]++
		if after := Home(key, nodes[:9]); before != "host-9" && after != before {
			t.Fatalf("home of %q moved from %q to %q, and neither left", key, before, after)
		}
	}
	for _, node := range nodes {
		if n := count[node]; n < keys/10*8/10 || n > keys/10*12/10 {
			t.Errorf("%s is home of %d keys of %d", node, n, keys)
		}
	}
}
