// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"math"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/cluster/member"
)

// A new pipe and an open cost what they cost, however many brokers there are.
func TestCostDoesNotGrow(t *testing.T) {
	var all []costs
	for _, n := range []int{10, 40} {
		c, err := measure(member.LAN, n, 100, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(c)
		all = append(all, c)
	}
	// With few brokers one is more often its own home and sends no message; background
	// pulls, which are of the clock, come in between.
	if few, many := all[0], all[1]; math.Abs(few.newPipe-many.newPipe) > 3 || math.Abs(few.open-many.open) > 3 {
		t.Errorf("%.2f and %.2f messages with 10 brokers, %.2f and %.2f with 40", few.newPipe, few.open, many.newPipe, many.open)
	}
}
