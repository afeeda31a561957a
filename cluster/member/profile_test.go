// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"testing"
	"time"
)

func TestFailureTimeout(t *testing.T) {
	for _, c := range []struct {
		profile Profile
		brokers int
		want    time.Duration
	}{
		{LAN, 0, 11 * time.Second}, {LAN, 2, 11 * time.Second}, {LAN, 10, 11 * time.Second}, {LAN, 100, 19 * time.Second},
		{WAN, 10, 75 * time.Second}, {Local, 10, 2200 * time.Millisecond},
	} {
		if got := c.profile.FailureTimeout(c.brokers); got != c.want {
			t.Errorf("%s, %d brokers: %v, want %v", c.profile, c.brokers, got, c.want)
		}
	}
	for _, name := range []string{"lan", "wan", "local"} {
		if p, err := ParseProfile(name); err != nil || string(p) != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseProfile(""); err == nil {
		t.Error("an empty profile")
	}
}
