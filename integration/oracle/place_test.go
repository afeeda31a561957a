// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"maps"
	"strings"
	"testing"
)

// where says on how many hosts the processes of a scenario are.
type where int

const (
	unknown  where = iota
	twoHosts       // also
	oneHost        // only
)

// families classifies scenarios by the part of their names before the slash.
var families = map[string]where{
	"open": twoHosts, "flags": twoHosts, "nonblock": twoHosts, "both ways": twoHosts, "eof": twoHosts, "left": twoHosts,
	"transfer": twoHosts, "atomic": twoHosts, "readers": twoHosts, "poll": twoHosts, "poll wakes": twoHosts,
	"epoll": twoHosts, "edge": twoHosts, "signal": twoHosts, "stop": twoHosts, "sigpipe": twoHosts, "kill": twoHosts,
	"share": twoHosts, "at once": twoHosts, "names": twoHosts, "permissions": twoHosts, "threads": twoHosts,
	"stress": twoHosts, "programs": twoHosts,

	"flock": oneHost, "record lock": oneHost, "locks": oneHost, "refused": oneHost, "limits": oneHost,
}

// reasons says of families, and of single scenarios of other families, why they are
// not repeated on two hosts.
var reasons = map[string]string{
	"flock":       "a lock holds on the host of the process that has it",
	"record lock": "a lock holds on the host of the process that has it",
	"locks":       "a lock holds on the host of the process that has it",
	"refused":     "the kernel, or the mount for itself, refuses; no other host is asked",
	"limits":      "what the kernel believes of a regular file; no other host is asked",
}

// mixed is the way of running on two hosts in which both have readers and writers.
const mixed = "mixed"

// notMixed says which scenarios are about one buffer and one order, and what there is
// instead where several hosts write.
var notMixed = map[string]string{
	"atomic/blocked small writes stay whole": "each host with writers has a buffer of its own",
	"open/three writers wait for one reader": "what writers on two hosts write has no common order",
}

// place tells where a scenario runs, and why if that is on one host only.
func place(name string) (where, string) {
	if reason, ok := reasons[name]; ok {
		return oneHost, reason
	}
	family, _, _ := strings.Cut(name, "/")
	return families[family], reasons[family]
}

// TestPlaces finds scenarios that are not classified, and entries without one.
func TestPlaces(t *testing.T) {
	unused := maps.Clone(reasons)
	idle := maps.Clone(families)
	for name := range notMixed {
		if where, _ := place(name); where != twoHosts {
			t.Errorf("%q cannot be mixed", name)
		}
		if _, ok := find(name); !ok {
			t.Errorf("no scenario is called %q", name)
		}
	}
	for _, sc := range scenarios() {
		where, reason := place(sc.name)
		if where == unknown || (where == oneHost) != (reason != "") {
			t.Errorf("%q: on %v hosts, because %q", sc.name, where, reason)
		}
		family, _, _ := strings.Cut(sc.name, "/")
		delete(unused, sc.name)
		delete(unused, family)
		delete(idle, family)
	}
	for name := range unused {
		t.Errorf("a reason without a scenario: %q", name)
	}
	for name := range idle {
		t.Errorf("a family without a scenario: %q", name)
	}
}
