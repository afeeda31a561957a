// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package cluster tests pipes whose ends are on several hosts: network
// namespaces that scripts/lab makes, each with a broker and a mount of its own.
// Programs on the hosts do what is tested; the test process touches no mount.
//
// ZPIPES_SOAK, a duration, makes the tests named TestSoak... longer.
package cluster

import (
	"fmt"
	"os"
	"testing"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// roleSetting makes a copy of the test binary something else than the test.
const roleSetting = "ZPIPES_CLUSTER_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleSetting) {
	case "":
		os.Exit(run(m))
	case "actor":
		end(actor.Main(os.Stdin, os.Stdout))
	case "dealer":
		end(relay())
	case "orphan":
		end(orphan())
	default:
		end(fmt.Errorf("no role %q", os.Getenv(roleSetting)))
	}
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "hosts are network namespaces, which take root")
		return 1
	}
	return lab.Main(m, "bash", "cat", "ip", "nft", "socat", "sha256sum", "mkfifo", "stat", "getfattr", "setfattr")
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
