// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// storeName is the file in the state directory.
const storeName = "names.db"

// storeVersion is that of what is in it.
const storeVersion = 1

const (
	// storeDelay is how long changes gather before they are written.
	storeDelay = 20 * time.Millisecond
	// storeMargin is what a clock read from disk is set ahead by: it covers stamps
	// that were given in the moments before an end without warning.
	storeMargin = time.Second
	storeRetry  = time.Second
	lockTimeout = time.Second
)

var (
	namesBucket = []byte("names")
	metaBucket  = []byte("meta")
	versionKey  = []byte("version")
	clockKey    = []byte("clock")

	errDamaged = errors.New("damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// store is the map's copy on disk. One goroutine writes it.
type store struct {
	db       *bbolt.DB
	log      *slog.Logger
	path     string
	snapshot func([]string) ([]*Entry, int64)
	had      saved // until Start
	rescued  bool  // from a damaged file

	mu    sync.Mutex // guards below; taken under the service's
	dirty map[string]struct{}
	kick  chan struct{} // holds one: something is dirty
}

// saved is what a file had.
type saved struct {
	entries []Entry
	clock   int64
}

// open opens the state directory and reads what it has. A file that cannot be read is
// set aside; what could be read of it is kept.
func (s *Service) open() error {
	if err := os.MkdirAll(s.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	path := filepath.Join(s.cfg.StateDir, storeName)
	db, had, err := openStore(path)
	damaged := errors.Is(err, errDamaged)
	if damaged {
		aside := fmt.Sprintf("%s.damaged-%d", path, s.cfg.Now().UnixNano())
		s.log.Error("the copy of the names on disk cannot be read; it is kept aside, and what it lacks is learned from the other hosts",
			"file", path, "aside", aside, "names", len(had.entries), "error", err)
		if err := os.Rename(path, aside); err != nil {
			return fmt.Errorf("%w: set a damaged file aside: %w", ErrState, err)
		}
		db, _, err = openStore(path)
	}
	switch {
	case errors.Is(err, ErrInUse):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	s.store = &store{
		db: db, log: s.log, path: path, snapshot: s.snapshot, had: had, rescued: damaged,
		dirty: make(map[string]struct{}), kick: make(chan struct{}, 1),
	}
	return nil
}

// restore takes over what open has read.
func (s *Service) restore() {
	had := s.store.had
	s.store.had = saved{}
	s.clock.last = had.clock
	for i := range had.entries {
		e := &had.entries[i]
		s.clock.last = max(s.clock.last, e.Stamp.Time)
		if n, news := s.names.put(e); news {
			n.saved = true
			if s.store.rescued {
				s.store.mark(e.Path)
			}
		}
	}
	s.clock.last += int64(storeMargin)
	for i := range had.entries {
		if n := s.names.at(had.entries[i].Path); n != nil {
			s.names.settle(n)
		}
	}
	s.log.Info("names read from disk", "dir", s.cfg.StateDir, "names", len(had.entries))
}

// openStore opens a file, made if need be, and reads all of it. With errDamaged
// there is no database, but maybe some of what it had.
//
// Errors: ErrInUse, errDamaged, and those of the file system.
func openStore(path string) (db *bbolt.DB, had saved, err error) {
	// Pages that a file lacks are memory that faults.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
		if err != nil && db != nil {
			closeDamaged(db)
			db = nil
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, had, fmt.Errorf("%s: %w", filepath.Dir(path), ErrInUse)
	case isFileError(err):
		return nil, had, fmt.Errorf("open %s: %w", path, err)
	case err != nil:
		return nil, had, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err := prepare(db); err != nil {
		return db, had, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if info, err := os.Stat(path); err != nil || info.Size() < tx.Size() {
			return fmt.Errorf("%w: the file was cut off", errDamaged)
		}
		return had.read(tx)
	})
	return db, had, err
}

// isFileError tells trouble with a file from trouble with what is in it.
func isFileError(err error) bool {
	var p *os.PathError
	return errors.As(err, &p)
}

// closeDamaged lets go of the file's lock; what it holds may make it panic.
func closeDamaged(db *bbolt.DB) {
	defer func() { _ = recover() }()
	_ = db.Close()
}

// prepare makes the buckets of a new file and checks the version of an old one.
func prepare(db *bbolt.DB) error {
	fresh := false
	err := db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if fresh = meta == nil; fresh {
			return nil
		}
		v := meta.Get(versionKey)
		if len(v) != 8 || tx.Bucket(namesBucket) == nil {
			return fmt.Errorf("%w: not a map of names", errDamaged)
		}
		if got := binary.BigEndian.Uint64(v); got != storeVersion {
			return fmt.Errorf("%w: its version is %d, this program's is %d", errDamaged, got, storeVersion)
		}
		return nil
	})
	if err != nil || !fresh {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(namesBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		return meta.Put(versionKey, binary.BigEndian.AppendUint64(nil, storeVersion))
	})
}

// read takes in a file's content; a name's value is its checksum and the entry.
func (h *saved) read(tx *bbolt.Tx) error {
	if v := tx.Bucket(metaBucket).Get(clockKey); len(v) == 8 {
		h.clock = min(int64(binary.BigEndian.Uint64(v)&(1<<63-1)), peer.MaxTime)
	}
	bad := 0
	err := tx.Bucket(namesBucket).ForEach(func(k, v []byte) error {
		e, err := decodeSaved(v)
		if err != nil || e.Path != string(k) {
			bad++
			return nil
		}
		h.entries = append(h.entries, e)
		return nil
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%w: %d names with a wrong checksum", errDamaged, bad)
	}
	return err
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

// mark has a name written soon.
func (st *store) mark(path string) {
	st.mu.Lock()
	st.dirty[path] = struct{}{}
	st.mu.Unlock()
	select {
	case st.kick <- struct{}{}:
	default:
	}
}

// run writes what was marked, until the context ends.
func (st *store) run(ctx context.Context) {
	delay := time.NewTimer(0)
	defer delay.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-st.kick:
		}
		wait := storeDelay
		if failed {
			wait = storeRetry
		}
		delay.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-delay.C:
		}
		switch err := st.flush(); {
		case err == nil && failed:
			st.log.Info("the copy of the names on disk is up to date again", "file", st.path)
			failed = false
		case err != nil && !failed:
			st.log.Error("the copy of the names on disk cannot be written; it is tried again, and all goes on in memory", "file", st.path, "error", err)
			failed = true
		}
	}
}

// flush writes what was marked. What could not be written stays marked.
func (st *store) flush() (err error) {
	st.mu.Lock()
	dirty := st.dirty
	st.dirty = make(map[string]struct{})
	st.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	paths := make([]string, 0, len(dirty))
	for path := range dirty {
		paths = append(paths, path)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
		if err != nil {
			for _, path := range paths {
				st.mark(path)
			}
		}
	}()
	entries, clock := st.snapshot(paths)
	return st.db.Update(func(tx *bbolt.Tx) error {
		names := tx.Bucket(namesBucket)
		for i, e := range entries {
			var err error
			if e == nil {
				err = names.Delete([]byte(paths[i]))
			} else {
				err = names.Put([]byte(paths[i]), encodeSaved(e))
			}
			if err != nil {
				return fmt.Errorf("write %q: %w", paths[i], err)
			}
		}
		return tx.Bucket(metaBucket).Put(clockKey, binary.BigEndian.AppendUint64(nil, uint64(clock)))
	})
}

// close writes the rest and gives the file back.
func (st *store) close() error {
	if err := st.flush(); err != nil {
		closeDamaged(st.db)
		return fmt.Errorf("write the copy of the names to %s: %w", st.path, err)
	}
	if err := st.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", st.path, err)
	}
	return nil
}
