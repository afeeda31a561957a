// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

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

// openStore reads the file at path and puts a new one in its place, with the same in
// it. So nothing that is wrong with the old one, and did not show when it was read, lives
// on. With errDamaged that old one is at aside, and the new one has what could be read.
//
// Errors: errDamaged, and then there is a database; those of the file system.
func openStore(path, aside string) (*bbolt.DB, saved, error) {
	had, damage := readSaved(path)
	if damage != nil && !errors.Is(damage, errDamaged) {
		return nil, had, fmt.Errorf("read the names: %w", damage)
	}
	if damage != nil { // a page may have been read twice, or an old one: the later entry of a path is to be the last
		slices.SortFunc(had.entries, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.Path, b.Path), a.Compare(&b)) })
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that was not finished
		return nil, had, err
	}
	db, err := bbolt.Open(fresh, 0o600, &bbolt.Options{Timeout: lockTimeout, NoSync: true})
	if err != nil {
		return nil, had, fmt.Errorf("write the names: %w", err)
	}
	err = had.write(db)
	if err == nil && damage != nil {
		err = os.Link(path, aside) // and not moved: at no time is there no file
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = db.Close()
		_ = os.Remove(fresh)
		return nil, had, fmt.Errorf("write the names: %w", err)
	}
	return db, had, damage
}

// readSaved reads a file; one that is not there has nothing. With errDamaged it returns
// what of it can be believed.
func readSaved(path string) (had saved, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return had, nil
	case err != nil:
		return had, err
	case info.Size() == 0:
		return had, fmt.Errorf("%w: it is empty", errDamaged)
	}
	// bbolt follows what a page says wherever that leads, in a mapping of the file.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var cut error
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
		if cut != nil { // the cause of all else
			err = cut
		}
	}()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	var errno syscall.Errno
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return had, fmt.Errorf("%s: %w", path, ErrInUse)
	case errors.As(err, &errno):
		return had, err
	case err != nil:
		return had, fmt.Errorf("%w: %w", errDamaged, err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		if size := tx.Size(); info.Size() < size {
			cut = fmt.Errorf("%w: it is cut off after %d of %d octets", errDamaged, info.Size(), size)
		}
		return had.read(tx)
	})
	return had, err
}

// read reads all there is, and then says whether that is what there should be.
func (h *saved) read(tx *bbolt.Tx) error {
	var sealed []byte
	if b := tx.Bucket(metaBucket); b != nil {
		sealed = b.Get(sealKey)
	}
	s, err := decodeSeal(sealed)
	if err != nil {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	h.clock = s.clock
	names := tx.Bucket(namesBucket)
	if names == nil {
		return cmp.Or(err, fmt.Errorf("%w: it has no bucket of names", errDamaged))
	}
	var found seal
	_ = names.ForEach(func(path, value []byte) error {
		e, err := decodeSaved(value)
		if err != nil {
			return nil // the seal tells
		}
		h.entries = append(h.entries, e)
		if e.Path == string(path) {
			found.add(value)
		}
		return nil
	})
	if err == nil && (found.count != s.count || found.sum != s.sum) {
		err = fmt.Errorf("%w: it has %d whole names with the checksum %x, not %d with %x", errDamaged, found.count, found.sum, s.count, s.sum)
	}
	return err
}

// write fills a new file. It is on disk when this returns, its name not yet.
func (h *saved) write(db *bbolt.DB) error {
	s := seal{clock: h.clock}
	err := db.Update(func(tx *bbolt.Tx) error {
		names, err := tx.CreateBucket(namesBucket)
		if err != nil {
			return err
		}
		for i := range h.entries {
			e := &h.entries[i]
			if err := s.change(names, []byte(e.Path), e); err != nil {
				return err
			}
		}
		_, err = tx.CreateBucket(metaBucket)
		return err
	})
	for range 2 { // so that either meta page leads to all
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(sealKey, s.encode()) })
		}
	}
	db.NoSync = false
	if err == nil {
		err = db.Sync()
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
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
