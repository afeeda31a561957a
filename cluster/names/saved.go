// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// storeVersion is that of what a file has.
const storeVersion = 2

var (
	namesBucket = []byte("names") // path -> checksum, entry
	metaBucket  = []byte("meta")
	sealKey     = []byte("seal")

	errDamaged = errors.New("damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// saved is what a file had.
type saved struct {
	entries []Entry
	clock   int64 // 0: not known
}

// readSaved reads a file of size octets, and reports whether nothing was ever written to
// it. With errDamaged it returns what of it can be believed.
func readSaved(file io.ReaderAt, size int64) (h saved, fresh bool, err error) {
	var f faults
	var found seal
	var sealed []byte
	fresh = readPages(file, size, namesBucket, &f, func(bucket, key, value []byte) {
		if string(bucket) == string(metaBucket) {
			if string(key) == string(sealKey) {
				sealed = value
			}
			return
		}
		e, err := decodeSaved(value)
		if err != nil || e.Path != string(key) || string(bucket) != string(namesBucket) {
			f.fault("the name %q in %q: wrong checksum, or not in its place", key, bucket)
		}
		if err == nil {
			h.entries = append(h.entries, e)
			found.add(value)
		}
	})
	if fresh {
		return h, true, nil
	}
	s, err := decodeSeal(sealed)
	if err == nil {
		h.clock = s.clock
		if found.count != s.count || found.sum != s.sum {
			err = fmt.Errorf("it has %d names with the checksum %x, not %d with %x", found.count, found.sum, s.count, s.sum)
		}
	}
	if err != nil { // the whole before its parts
		f.first = slices.Insert(f.first, 0, err.Error())
	}
	return h, false, f.err()
}

// seal says what a file should have. It is written with each change.
type seal struct {
	clock int64
	count uint64 // of names
	sum   uint64 // of the hashes of their values, modulo 2^64
}

const sealSize = 8 + 4 + 3*8

// encode returns a hash of the rest, the version, and what s has.
func (s *seal) encode() []byte {
	b := make([]byte, 8, sealSize)
	b = binary.BigEndian.AppendUint32(b, storeVersion)
	for _, n := range [...]uint64{uint64(s.clock), s.count, s.sum} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	binary.BigEndian.PutUint64(b, xxhash.Sum64(b[8:]))
	return b
}

func decodeSeal(b []byte) (s seal, err error) {
	switch {
	case b == nil:
		return s, errors.New("it has no seal")
	case len(b) < sealSize || binary.BigEndian.Uint64(b) != xxhash.Sum64(b[8:]):
		return s, errors.New("its seal has a wrong checksum")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != storeVersion {
		return s, fmt.Errorf("its version is %d, this program's is %d", v, storeVersion)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[12+8*i:]) }
	return seal{clock: int64(n(0)), count: n(1), sum: n(2)}, nil
}

// change writes the entry of a path, or that there is none.
func (s *seal) change(names *bbolt.Bucket, path []byte, e *Entry) error {
	if old := names.Get(path); old != nil {
		s.count--
		s.sum -= xxhash.Sum64(old)
	}
	if e == nil {
		return names.Delete(path)
	}
	v := encodeSaved(e)
	s.add(v)
	return names.Put(path, v)
}

func (s *seal) add(value []byte) {
	s.count++
	s.sum += xxhash.Sum64(value)
}

func decodeSaved(v []byte) (Entry, error) {
	if len(v) < 4 || binary.BigEndian.Uint32(v) != crc32.Checksum(v[4:], castagnoli) {
		return Entry{}, errDamaged
	}
	return peer.DecodeEntry(v[4:])
}

func encodeSaved(e *Entry) []byte {
	v := e.Append(make([]byte, 4, 128))
	binary.BigEndian.PutUint32(v, crc32.Checksum(v[4:], castagnoli))
	return v
}
