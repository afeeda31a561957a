// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"fmt"
	"testing"
)

// arrive has a message come while a probe waits, and returns how many requests
// timed out until all of it was read. The broker is instant.
func arrive(p *pacer, message int) (timeouts int) {
	p.waited()
	first := true
	for left := message; left > 0; {
		size := p.next(1 << 30)
		left--
		p.came(1)
		if rest := size - 1; rest > left {
			timeouts++
			p.short()
		} else {
			left -= rest
			p.came(rest)
			p.full(!first)
		}
		first = false
	}
	return timeouts
}

func TestPacerLearnsTheLength(t *testing.T) {
	for _, message := range []int{1, 2, 63, 64, 1000, 4096, 65536, maxBlock} {
		t.Run(fmt.Sprint(message), func(t *testing.T) {
			p := newPacer()
			if n := arrive(&p, message); n > 10 {
				t.Errorf("%d timeouts for the first message", n)
			}
			for i := range 5 {
				if n := arrive(&p, message); n != 0 {
					t.Errorf("%d timeouts for message %d of the same length", n, i+2)
				}
			}
		})
	}
}

func TestPacerIsNeverFarOff(t *testing.T) {
	p := newPacer()
	for _, message := range []int{5, 1 << 20, 3, 70000, 1, 8 << 20, 100, 99, 101, 1 << 16} {
		if n := arrive(&p, message); n > 10 {
			t.Errorf("%d timeouts for a message of %d", n, message)
		}
	}
}

func TestPacerGrowsInAFlow(t *testing.T) {
	p := newPacer()
	arrive(&p, 16<<20)
	if p.burst < 16<<20 {
		t.Fatalf("burst of %d", p.burst)
	}
	p = newPacer()
	for range 40 {
		p.came(p.next(1 << 30))
		p.full(true)
	}
	if p.next(1<<30) != maxBlock || p.ahead() != 2 {
		t.Fatalf("asks for %d, %d ahead", p.next(1<<30), p.ahead())
	}
	p.waited()
	if p.ahead() != 1 {
		t.Fatal("the flow ended, and it still asks twice")
	}
	if got := p.next(10); got != 10 {
		t.Fatalf("asks for %d with room for 10", got)
	}
}
