// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// scenario is a script of calls whose transcript must be the same on a FIFO
// and on the mount.
type scenario struct {
	name string
	run  func(*script)
}

func scenarios() []scenario {
	return slices.Concat(
		openScenarios(), openFlagScenarios(), nonblockScenarios(), bothWaysScenarios(), eofScenarios(),
		transferScenarios(), atomicScenarios(), readersScenarios(), pollScenarios(), pollWakeScenarios(),
		epollScenarios(), epollEdgeScenarios(), interruptScenarios(), brokenScenarios(), killScenarios(),
		shareScenarios(), nameScenarios(), refusedScenarios(), permissionScenarios(), lockScenarios(),
		threadScenarios(), stressScenarios(), shellScenarios(), limitScenarios(),
	)
}

// find looks up a scenario, or one that tests the suite itself.
func find(name string) (scenario, bool) {
	all := append(scenarios(), selfScenarios()...)
	i := slices.IndexFunc(all, func(sc scenario) bool { return sc.name == name })
	if i < 0 {
		return scenario{}, false
	}
	return all[i], true
}

// Short names for what nearly every scenario uses.
const (
	rdonly = unix.O_RDONLY
	wronly = unix.O_WRONLY
	rdwr   = unix.O_RDWR
	nb     = unix.O_NONBLOCK
)

const (
	now   = time.Duration(0)
	brief = 60 * time.Millisecond // enough for an event that must not come to show
	long  = 10 * time.Second      // more than an event that must come takes
)

// oversize is more than any pipe here holds: a write of it blocks or is short.
const oversize = 4 << 20
