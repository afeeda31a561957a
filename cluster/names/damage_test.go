// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// disk is a store without a service: what it should have, and ever had.
type disk struct {
	t     testing.TB
	path  string
	store *store
	state // with the next flush
	last  state
	older state // before the last flush
	ever  map[Entry]bool
}

// state is what a file has at one time.
type state struct {
	clock int64
	now   map[string]Entry
}

func (s state) clone() state { return state{s.clock, maps.Clone(s.now)} }

func newDisk(t testing.TB, path string) *disk {
	d := &disk{t: t, path: path, ever: map[Entry]bool{}}
	d.now = map[string]Entry{}
	return d
}

// open opens the file, which must be whole.
func (d *disk) open() {
	d.t.Helper()
	lock, err := lockDir(filepath.Dir(d.path))
	if err != nil {
		d.t.Fatal(err)
	}
	db, had, err := openStore(d.path, d.path+".aside")
	if err != nil {
		d.t.Fatal(err)
	}
	d.check(had)
	db.NoSync, db.NoGrowSync = true, true
	d.store = &store{db: db, lock: lock, snapshot: d.snapshot, dirty: map[string]struct{}{}}
	d.last = d.state.clone()
	d.older = d.last
}

func (d *disk) snapshot(paths []string) ([]*Entry, int64) {
	all := make([]*Entry, len(paths))
	for i, path := range paths {
		if e, ok := d.now[path]; ok {
			all[i] = &e
		}
	}
	return all, d.clock
}

// put gives a name another state; del takes it away.
func (d *disk) put(path string, perm uint32) {
	d.clock++
	e := Entry{Path: path, Perm: perm, Stamp: peer.Stamp{Time: d.clock, Node: "alone"}, Token: uint64(d.clock)}
	d.now[path], d.ever[e] = e, true
	d.store.mark(path)
}

func (d *disk) del(path string) {
	delete(d.now, path)
	d.store.mark(path)
}

func (d *disk) flush() {
	d.t.Helper()
	if err := d.store.flush(); err != nil {
		d.t.Fatal(err)
	}
	d.older, d.last = d.last, d.state.clone()
}

func (d *disk) close() {
	d.t.Helper()
	d.flush()
	if err := d.store.close(); err != nil {
		d.t.Fatal(err)
	}
}

// check tells when a file taken for whole has not all, and nothing but, what it should have.
func (d *disk) check(had saved) {
	d.t.Helper()
	if !d.matches(had) {
		d.t.Errorf("%d names and the clock %d, not those it should have, %d and %d", len(had.entries), had.clock, len(d.now), d.clock)
	}
}

func (s state) matches(had saved) bool {
	got := map[string]Entry{}
	for _, e := range had.entries {
		got[e.Path] = e
	}
	return had.clock == s.clock && maps.Equal(got, s.now) && len(had.entries) == len(s.now)
}

// copyOf is the same disk at another path, with other octets in its file.
func (d *disk) copyOf(path string, octets []byte) *disk {
	d.t.Helper()
	if err := os.WriteFile(path, octets, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return &disk{t: d.t, path: path, state: d.state.clone(), last: d.last, older: d.older, ever: maps.Clone(d.ever)}
}

var long = strings.Repeat("x", 200)

// example makes a file of n names, n0 and so on, the same one each time, in which there are
// free pages, too.
func example(t testing.TB, n int) (*disk, []byte) {
	t.Helper()
	d := newDisk(t, filepath.Join(t.TempDir(), storeName))
	d.open()
	for i := range n {
		d.put(fmt.Sprint("n", i), uint32(i))
		d.put(fmt.Sprint("gone", i), uint32(i))
	}
	d.flush()
	for i := range n {
		d.del(fmt.Sprint("gone", i))
	}
	d.flush()
	for i := 0; i < n; i += 7 {
		d.put(fmt.Sprint("n", i), 0o600)
	}
	d.close()
	octets, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	return d, octets
}

// TestSingleDamage: whatever single thing is wrong in a file, it is not taken for whole, or it
// has all it should have. Where bbolt's own pages tell which transaction was the last, it may also be what it was before
// that. And it goes on having all when more is written.
func TestSingleDamage(t *testing.T) {
	const seed, rounds = 1, 400
	rng := rand.New(rand.NewPCG(seed, 0))
	d, octets := example(t, 100)
	path := filepath.Join(t.TempDir(), storeName)
	found, back := 0, 0
	for i := range rounds {
		harmed := bytes.Clone(octets)
		at, what := harm(rng, harmed)
		_ = os.Remove(path) // truncated and written again it would be synced
		c := d.copyOf(path, harmed)
		had, err := openAgain(c)
		switch {
		case errors.Is(err, errDamaged):
			found++
			c.rescued(had)
		case err != nil:
			t.Error(err)
		case at < 2*os.Getpagesize() && c.older.matches(had):
			back++
			c.state = c.older.clone()
		default:
			c.check(had)
		}
		c.more(rng)
		if t.Failed() {
			t.Fatalf("seed %d, damage %d: %s: error %v", seed, i, what, err)
		}
	}
	t.Logf("seed %d: of %d damages %d were found, %d led back, in a file of %d octets", seed, rounds, found, back, len(octets))
	if found < rounds/10 || back == 0 || found+back > rounds*9/10 {
		t.Error("the damages are not where they should be")
	}
}

// openAgain opens a file and closes it.
func openAgain(d *disk) (had saved, err error) {
	db, had, err := openStore(d.path, d.path+".aside")
	if db != nil {
		err = errors.Join(err, db.Close())
	}
	_ = os.Remove(d.path + ".aside")
	return had, err
}

// harm damages a file in one place: anywhere, where there is something, or at the
// beginning of a page. It returns where that begins.
func harm(rng *rand.Rand, octets []byte) (at int, what string) {
	before := bytes.Clone(octets)
	for bytes.Equal(before, octets) {
		at = rng.IntN(len(octets))
		switch rng.IntN(4) {
		case 0:
		case 1:
			at = at/os.Getpagesize()*os.Getpagesize() + rng.IntN(80)
		default:
			for octets[at] == 0 {
				at = rng.IntN(len(octets))
			}
		}
		switch rng.IntN(3) {
		case 0:
			octets[at] ^= 1 << rng.IntN(8)
			what = fmt.Sprintf("octet %d: %#x, was %#x", at, octets[at], before[at])
		case 1:
			octets[at] = byte(rng.IntN(256))
			what = fmt.Sprintf("octet %d: %#x, was %#x", at, octets[at], before[at])
		default:
			to := min(at+1+rng.IntN(600), len(octets))
			clear(octets[at:to])
			what = fmt.Sprintf("zeros from %d to %d", at, to)
		}
	}
	return at, what
}

// rescued makes what was read of a damaged file what it should have; it tells when that was
// never in it.
func (d *disk) rescued(had saved) {
	d.t.Helper()
	if had.clock != 0 && had.clock != d.last.clock && had.clock != d.older.clock {
		d.t.Errorf("the clock is %d, not %d", had.clock, d.clock)
	}
	d.state = state{had.clock, map[string]Entry{}}
	for _, e := range had.entries {
		if !d.ever[e] {
			d.t.Errorf("the file never had %+v", e)
		}
		d.now[e.Path] = e
	}
}

// more changes names until all free pages are in use, and looks again.
func (d *disk) more(rng *rand.Rand) {
	d.t.Helper()
	d.open()
	for i := range 20 {
		d.put(fmt.Sprint("more", rng.IntN(1000), long[:100]), uint32(i))
		d.put(fmt.Sprint("n", rng.IntN(100)), uint32(i))
	}
	d.flush()
	d.close()
	had, err := openAgain(d)
	if err != nil {
		d.t.Error(err)
	}
	d.check(had)
}

// TestChurn: a file that is whole is taken for whole, whatever was written to it.
func TestChurn(t *testing.T) {
	const seed = 1
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	d := newDisk(t, filepath.Join(t.TempDir(), storeName))
	for _, size := range []int{1, 5, 30, 8000, 300, 0, 40, 0} {
		for range 3 {
			d.open()
			for range 2 {
				names := slices.Sorted(maps.Keys(d.now))
				for _, i := range rng.Perm(len(names)) {
					if rng.IntN(3) == 0 || i >= size {
						d.del(names[i])
					}
				}
				for len(d.now) < size {
					d.put(fmt.Sprint(rng.IntN(3*size), long[:rng.IntN(len(long))]), rng.Uint32())
				}
				d.flush()
			}
			d.close()
		}
	}
	d.open()
	d.close()
}

// TestDamaged: a file that cannot be read is set aside, untouched; the broker starts
// with what could be read of it.
func TestDamaged(t *testing.T) {
	const all, some = 300, -1
	d, whole := example(t, all)
	unit := os.Getpagesize()
	seals := func(b []byte, change func(seal []byte)) []byte { // each copy there is
		for at := 0; ; at += sealSize {
			i := bytes.Index(b[at:], sealKey)
			if i < 0 {
				return b
			}
			at += i + len(sealKey)
			change(b[at : at+sealSize])
		}
	}
	for _, c := range []struct {
		what, says string
		names      int // that are rescued
		harm       func(b []byte) []byte
	}{
		{"no database", "invalid database", 0, func([]byte) []byte { return []byte(strings.Repeat("not a database. ", 1000)) }},
		{"a few octets", "invalid database", 0, func([]byte) []byte { return []byte("x") }},
		{"nothing", "it is empty", 0, func([]byte) []byte { return nil }},
		{"cut short", "cut off", some, func(b []byte) []byte { return b[:len(b)-unit] }},
		{"cut to two pages", "cut off", 0, func(b []byte) []byte { return b[:2*unit] }},
		{"a name changed", fmt.Sprint(all-1, " whole names"), all - 1, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("n77"), []byte("m77")) }},
		{"both meta pages", "checksum error", 0, func(b []byte) []byte { b[60]++; b[unit+60]++; return b }},
		{"zeros", "Page expected", 0, func(b []byte) []byte { clear(b[2*unit:]); return b }},
		{"no meta bucket", "no seal", all, func(b []byte) []byte { return bytes.ReplaceAll(b, metaBucket, []byte("mega")) }},
		{"no bucket of names", "no bucket of names", 0, func(b []byte) []byte { return bytes.ReplaceAll(b, namesBucket, []byte("nbmes")) }},
		{"the clock", "seal has a wrong checksum", all, func(b []byte) []byte {
			return seals(b, func(s []byte) { s[12] ^= 0x40 })
		}},
		{"a later version", "its version is 3", all, func(b []byte) []byte {
			return seals(b, func(s []byte) {
				binary.BigEndian.PutUint32(s[8:], 3)
				binary.BigEndian.PutUint64(s, xxhash.Sum64(s[8:]))
			})
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), storeName)
			testDamaged(t, d.copyOf(path, c.harm(bytes.Clone(whole))), c.says, c.names)
		})
	}
}

func testDamaged(t *testing.T, d *disk, says string, names int) {
	harmed, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(d.path)
	s, tree, lines := start(t, dir, 2)
	if got := lines.String(); !strings.Contains(got, "cannot be read") || !strings.Contains(got, says) {
		t.Errorf("log: %s", got)
	}
	aside, _ := filepath.Glob(d.path + ".damaged-*")
	if len(aside) != 1 {
		t.Fatalf("set aside: %v", aside)
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, harmed) {
		t.Errorf("what was set aside has changed (%v)", err)
	}
	rescued := tree.list("")
	if n := len(rescued); n != names && (names >= 0 || n == 0) {
		t.Errorf("%d names were saved, not %d", n, names)
	}
	s.mu.Lock()
	for _, path := range rescued {
		if e := s.names.get(path); !d.ever[*e] {
			t.Errorf("there was no %+v", e)
		}
	}
	if latest := d.clock + int64(storeMargin); s.clock.last > latest {
		t.Errorf("the clock is at %d, past %d", s.clock.last, latest)
	}
	s.mu.Unlock()
	if err := s.Make(t.Context(), broker.Entry{Path: "fresh", Kind: broker.Dir}); err != nil {
		t.Fatal(err)
	}
	want := tree.String()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, tree, lines := start(t, dir, 3); tree.String() != want || lines.Len() > 0 {
		t.Errorf("after another restart (log %s):\n%s\nwant:\n%s", lines, tree, want)
	}
}
