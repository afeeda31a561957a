// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// storeName is the file in the state directory.
const storeName = "names.db"

const (
	// storeDelay is how long changes gather before they are written.
	storeDelay = 20 * time.Millisecond
	// storeMargin is what a clock read from disk is set ahead by: it covers stamps
	// that were given in the moments before an end without warning.
	storeMargin = time.Second
	storeRetry  = time.Second
	lockTimeout = time.Second
	lockRetry   = 50 * time.Millisecond
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

// open opens the state directory and reads what it has. A file that cannot be read is
// set aside; what could be read of it is kept.
func (s *Service) open() error {
	if err := os.MkdirAll(s.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	path := filepath.Join(s.cfg.StateDir, storeName)
	aside := fmt.Sprintf("%s.damaged-%d", path, s.cfg.Now().UnixNano())
	db, had, err := openStore(path, aside)
	damaged := errors.Is(err, errDamaged)
	if damaged {
		s.log.Error("the copy of the names on disk cannot be read; it is kept aside, and what it lacks is learned from the other hosts",
			"file", path, "aside", aside, "names", len(had.entries), "error", err)
		db, _, err = openStore(path, aside)
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
	s.clock.last = had.clock // if that is not known, the latest stamp must do
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

// openStore opens a file, made if need be, and reads all of it. With errDamaged there
// is no database, but maybe some of what it had; the file is then at aside.
//
// Errors: ErrInUse, errDamaged, and those of the file system.
func openStore(path, aside string) (*bbolt.DB, saved, error) {
	file, made, err := openLocked(path)
	if err != nil {
		return nil, saved{}, err
	}
	had, fresh, err := readLocked(file, made)
	if err != nil {
		defer file.Close()
	}
	if errors.Is(err, errDamaged) { // moved under its lock, for who waits for that
		if failed := os.Rename(path, aside); failed != nil {
			return nil, had, fmt.Errorf("set a file aside that is %v: %w", err, failed)
		}
	}
	if err != nil {
		return nil, had, err
	}
	// From here on the file is the database's, its lock included.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:  lockTimeout,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return file, nil },
	})
	if err != nil {
		return nil, had, fmt.Errorf("open %s: %w", path, err)
	}
	if fresh {
		if err := prepare(db); err != nil {
			_ = db.Close()
			return nil, had, fmt.Errorf("write %s: %w", path, err)
		}
	}
	return db, had, nil
}

// readLocked reads a file. An empty one is new only if it was made just now.
func readLocked(file *os.File, made bool) (had saved, fresh bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return had, false, err
	}
	if made && info.Size() == 0 {
		return had, true, nil
	}
	return readSaved(file, info.Size())
}

// openLocked opens a file and takes its lock, flock(2), as bbolt does, which will find
// it taken by itself. A broker that is just ending has the lock for a moment longer.
func openLocked(path string) (file *os.File, made bool, err error) {
	again := time.NewTicker(lockRetry)
	defer again.Stop()
	late := time.NewTimer(lockTimeout)
	defer late.Stop()
	for {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if made = err == nil; errors.Is(err, fs.ErrExist) {
			file, err = os.OpenFile(path, os.O_RDWR, 0)
		}
		if err != nil {
			return nil, false, err
		}
		err = lock(file, path)
		if err == nil {
			return file, made, nil
		}
		_ = file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, false, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-again.C:
		case <-late.C:
			return nil, false, fmt.Errorf("%s: %w", filepath.Dir(path), ErrInUse)
		}
	}
}

// lock takes a file's lock if nobody has it and path is still that file: who had the
// lock may have set it aside.
func lock(file *os.File, path string) error {
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	locked, err := file.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(locked, there) {
		return unix.EWOULDBLOCK
	}
	return nil
}

// prepare makes the buckets of a new file, both in one transaction: a file that has
// been written to has them.
func prepare(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket(namesBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		return meta.Put(sealKey, new(seal).encode())
	})
}

// closeDamaged lets go of the file's lock; what it holds may make it panic.
func closeDamaged(db *bbolt.DB) {
	defer func() { _ = recover() }()
	_ = db.Close()
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
	paths := slices.Sorted(maps.Keys(dirty))
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
		names, meta := tx.Bucket(namesBucket), tx.Bucket(metaBucket)
		s, err := decodeSeal(meta.Get(sealKey))
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		s.clock = clock
		for i, e := range entries {
			if err := s.change(names, []byte(paths[i]), e); err != nil {
				return fmt.Errorf("write %q: %w", paths[i], err)
			}
		}
		return meta.Put(sealKey, s.encode())
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
