// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestNetworkDelivers(t *testing.T) {
	n := NewNetwork(1)
	a, b := join(t, n, "a"), join(t, n, "b")
	a.Send(b.id, note("nobody is up")) // dropped
	acquaint(a, b)
	var want []string
	for i := range 1000 {
		head := fmt.Sprint("m", i)
		want = append(want, head)
		a.Send(b.id, note(head, "body"))
	}
	b.until(t, "all messages", func() bool { return len(b.got(a.id)) == len(want) })
	if got := b.got(a.id); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	a.until(t, "all is acknowledged", func() bool { return a.stat(b.id).Unacked == 0 })
	a.Down(b.id, errors.New("gone"))
	a.until(t, "a knows", func() bool { return len(a.lost(b.id)) == 1 })
	b.until(t, "b knows", func() bool { return len(b.lost(a.id)) == 1 })
}
