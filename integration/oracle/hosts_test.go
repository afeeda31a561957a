// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"flag"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/zpipesfs/zpipesfs/cluster/member"
	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// TestBetweenHosts runs the scenarios that have two ends with each end on another
// host of a cluster, and compares them with kernel FIFOs on one. A pipe's home, which
// its name decides, is with its writers in one of the first two ways, and with its
// readers in the other.
func TestBetweenHosts(t *testing.T) {
	clusters, common := newClusters(t), commonDir(t)
	ways := []struct {
		name string
		dirs func(c cluster) dirs
	}{
		{"apart", func(c cluster) dirs { return dirs{W: c[1].Dir, R: c[0].Dir, Broker: c[0].Namespace()} }},
		{"swapped", func(c cluster) dirs { return dirs{W: c[0].Dir, R: c[1].Dir, Broker: c[0].Namespace()} }},
		{mixed, func(c cluster) dirs { return dirs{W: c[0].Dir, R: c[1].Dir, Broker: c[0].Namespace(), Mixed: true} }},
	}
	var hung atomic.Int32
	for _, sc := range scenarios() {
		if where, _ := place(sc.name); where != twoHosts {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			fifo := play(sc.name, dirs{W: common, R: common}, scenarioTimeout)
			for _, way := range ways {
				if way.name == mixed && notMixed[sc.name] != "" {
					continue
				}
				t.Run(way.name, func(t *testing.T) {
					c := <-clusters
					defer func() { clusters <- c }()
					compare(t, sc.name, fifo, way.dirs(c), differences(), true, &hung)
				})
			}
		})
	}
}

// cluster is two hosts. A scenario has one for itself, for it waits until nothing is
// under way there.
type cluster = []*lab.Host

// newClusters has one for each scenario that runs at a time.
func newClusters(t *testing.T) chan cluster {
	n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String())
	if err != nil {
		t.Fatal(err)
	}
	// A slow machine is no dead host.
	return lab.Clusters(t, n, 2, lab.HostOptions{Flags: []string{"--profile", string(member.LAN)}})
}

// commonDir is a new directory that users other than root reach, too.
func commonDir(t *testing.T) string {
	dir := lab.Dir(t)
	lab.OpenAbove(t, filepath.Join(dir, "any"))
	return dir
}
