// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker"
)

// TestRecordLocksModel sets and unsets random ranges for a few owners and compares
// with a table that has an entry for each byte.
func TestRecordLocksModel(t *testing.T) {
	const bytes, owners = 24, 3
	type held struct{ taken, write bool }
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var table lockTable
		node, f := new(broker.Node), new(file)
		var model [owners][bytes]held
		for step := range 40 {
			start := rnd.Uint64N(bytes)
			l := lock{owner: rnd.Uint64N(owners), write: rnd.IntN(2) == 0, start: start, end: start + rnd.Uint64N(bytes-start)}
			unlock := rnd.IntN(3) == 0
			blocked := false
			for o := range uint64(owners) {
				for b := l.start; b <= l.end && o != l.owner; b++ {
					blocked = blocked || model[o][b].taken && (l.write || model[o][b].write)
				}
			}
			_, conflict := table.conflict(node, l)
			if conflict != blocked {
				t.Fatalf("round %d step %d: %+v conflicts %v, want %v", round, step, l, conflict, blocked)
			}
			if blocked && !unlock {
				continue
			}
			if unlock {
				table.unset(node, l)
			} else {
				table.set(node, f, l)
			}
			for b := l.start; b <= l.end; b++ {
				model[l.owner][b] = held{!unlock, l.write}
			}
		}
	}
}

// TestFlockAndRecordLocksApart: flock(2) and fcntl(2) do not see each other, as on
// any local file since Linux 2.0.
func TestFlockAndRecordLocksApart(t *testing.T) {
	var table lockTable
	node, f := new(broker.Node), new(file)
	whole := lock{write: true, owner: 1, end: ^uint64(0)}
	table.set(node, f, whole)
	other := whole
	other.owner, other.flock = 2, true
	if l, taken := table.conflict(node, other); taken {
		t.Fatalf("flock conflicts with the record lock %+v", l)
	}
	other.flock = false
	if _, taken := table.conflict(node, other); !taken {
		t.Fatal("two processes have the same record")
	}
}

// TestDeadlock: a ring of waiting processes is EDEADLK for the one that would
// close it, whatever its length; a chain is not.
func TestDeadlock(t *testing.T) {
	for _, size := range []uint64{2, 3, 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var table lockTable
			node, f := new(broker.Node), new(file)
			record := func(owner, at uint64) lock { return lock{write: true, owner: owner, start: at, end: at} }
			for i := range size {
				table.set(node, f, record(i, i))
			}
			for i := range size - 1 {
				want := record(i, i+1)
				if table.deadlock(node, want) {
					t.Fatalf("process %d waiting for %d is no deadlock yet", i, i+1)
				}
				table.waiting = append(table.waiting, &lockCall{node: node, file: f, want: want})
			}
			if !table.deadlock(node, record(size-1, 0)) {
				t.Fatal("the ring is not seen")
			}
		})
	}
}

// TestDeadlockLater: the ring need not go through the first holder in the way,
// and may close only when a lock changes hands.
func TestDeadlockLater(t *testing.T) {
	var table lockTable
	node, f := new(broker.Node), new(file)
	record := func(owner, from, to uint64) lock { return lock{write: true, owner: owner, start: from, end: to} }
	wait := func(want lock) *lockCall {
		c := &lockCall{node: node, file: f, want: want}
		table.waiting = append(table.waiting, c)
		return c
	}
	const a, b, c = 1, 2, 3
	table.set(node, f, record(a, 0, 0)) // waits for nobody
	table.set(node, f, record(b, 1, 1))
	table.set(node, f, record(c, 2, 2))
	wait(record(b, 2, 2))
	if !table.deadlock(node, record(c, 0, 1)) {
		t.Error("the ring behind the second holder is not seen")
	}

	table = lockTable{}
	table.set(node, f, record(a, 0, 0))
	table.set(node, f, record(b, 1, 1))
	first, second := wait(record(b, 0, 0)), wait(record(c, 0, 0))
	table.unset(node, record(a, 0, 0))
	if granted := table.grant(); len(granted) != 1 || granted[0] != first {
		t.Fatalf("granted %v", granted)
	}
	if out := table.doomed(); len(out) != 0 {
		t.Fatalf("%d calls are taken for a ring that is none", len(out))
	}
	table.set(node, f, record(c, 5, 5))
	wait(record(b, 5, 5))
	if out := table.doomed(); len(out) != 1 || out[0] != second {
		t.Fatalf("%d calls end for the ring, want the one that waits longest", len(out))
	}
}
