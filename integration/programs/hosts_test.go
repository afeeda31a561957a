// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

import (
	"flag"
	"regexp"
	"strconv"
	"testing"

	"github.com/zpipesfs/zpipesfs/cluster/member"
	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// alone says which programs do not run with their ends on two hosts, and why.
var alone = map[string]string{
	"copying-truncate-alone":              "opens no end",
	"copying-sync":                        "one descriptor for both ends",
	"shell-read-count":                    "one descriptor for both ends",
	"shell-unread-bytes-vanish":           "one descriptor for both ends",
	"shell-descriptor-of-another-process": "one descriptor for both ends",
	"shell-flock":                         "a lock holds on the host of the process that has it",
	"python-sendfile":                     "one descriptor for both ends",
	"python-not-seekable":                 "one descriptor for both ends",
	"python-vectors":                      "one descriptor for both ends",
	"python-nonblocking-atomicity":        "one descriptor for both ends",
	"python-interrupted-read":             "one descriptor for both ends",
	"python-two-threads-one-descriptor":   "one descriptor for both ends",
	"python-poll-states":                  "looks at one end in the moment after it has used the other",
	"perl-node-perl-read-write":           "one descriptor for both ends",
	"perl-node-perl-alarm":                "opens one end",
	"go-deadline":                         "one descriptor for both ends",
	"go-close-unblocks":                   "one descriptor for both ends",
}

var (
	reads  = regexp.MustCompile(`[^W][PQ]\b|\$D\b`)
	writes = regexp.MustCompile(`\bW[PQD]\b|\bfeed\b`)
)

// TestBetweenHosts requires that a program whose readers are on one host and whose
// writers are on another does the same as on kernel FIFOs.
func TestBetweenHosts(t *testing.T) {
	if !lab.Mounted() {
		t.Skip("needs a cluster")
	}
	b, fifos := newBench(t), onHost(lab.Dir(t))
	n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String())
	if err != nil {
		t.Fatal(err)
	}
	// A program has a cluster for itself: its end waits until nothing is under way there.
	clusters := lab.Clusters(t, n, 2, lab.HostOptions{Flags: []string{"--profile", string(member.LAN)}})
	for _, p := range all() {
		if alone[p.name] != "" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			c := <-clusters
			defer func() { clusters <- c }()
			b.compare(t, fifos, place{writers: c[1].Dir, readers: c[0].Dir, namespace: c[0].Namespace()}, p)
		})
	}
}

// TestEnds finds programs that cannot have their ends on two hosts and are not listed,
// and those that are and are none.
func TestEnds(t *testing.T) {
	left := make(map[string]bool)
	for name := range alone {
		left[name] = true
	}
	for _, p := range all() {
		if alone[p.name] == "" && !(reads.MatchString(p.script) && writes.MatchString(p.script)) {
			t.Errorf("%s: uses one end only", p.name)
		}
		delete(left, p.name)
	}
	for name := range left {
		t.Errorf("no program is called %s", name)
	}
}
