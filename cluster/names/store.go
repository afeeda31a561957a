// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"context"
	"errors"
	"fmt"
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

// lockName is the one whose lock is the directory's. It has nothing in it.
const lockName = "lock"

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
	lock     *os.File // what keeps others out of the directory while it is open
	log      *slog.Logger
	path     string
	snapshot func([]string) ([]*Entry, int64)
	had      saved // until Start
	broken   error // of a write in which bbolt panicked: it may hold its own locks

	mu    sync.Mutex // guards below; taken under the service's
	dirty map[string]struct{}
	kick  chan struct{} // holds one: something is dirty
}

// open takes the state directory, reads what it has, and writes that anew.
func (s *Service) open() error {
	dir := s.cfg.StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, storeName)
	aside := fmt.Sprintf("%s.damaged-%d", path, s.cfg.Now().UnixNano())
	db, had, err := openStore(path, aside)
	switch {
	case errors.Is(err, errDamaged):
		s.log.Error("the copy of the names on disk cannot be read; it is kept aside, and what it lacks is learned from the other hosts",
			"file", path, "aside", aside, "names", len(had.entries), "error", err)
	case err != nil:
		_ = lock.Close()
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	s.store = &store{
		db: db, lock: lock, log: s.log, path: path, snapshot: s.snapshot, had: had,
		dirty: make(map[string]struct{}), kick: make(chan struct{}, 1),
	}
	return nil
}

// lockDir takes a directory's lock, flock(2) on a file of its own, which has it until
// it is closed. A broker that is just ending has it for a moment longer.
//
// Errors: ErrInUse, ErrState.
func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	again := time.NewTicker(lockRetry)
	defer again.Stop()
	late := time.NewTimer(lockTimeout)
	defer late.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			_ = file.Close()
			return nil, fmt.Errorf("%w: lock %s: %w", ErrState, file.Name(), err)
		}
		select {
		case <-again.C:
		case <-late.C:
			_ = file.Close()
			return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
		}
	}
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
	if st.broken != nil {
		return st.broken
	}
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
			st.broken = fmt.Errorf("%w, start the broker again: %v", errDamaged, p)
			err = st.broken
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

// close writes the rest and gives the directory back.
func (st *store) close() error {
	defer st.lock.Close()
	if err := st.flush(); err != nil {
		if st.broken == nil {
			_ = st.db.Close()
		}
		return fmt.Errorf("write the copy of the names to %s: %w", st.path, err)
	}
	if err := st.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", st.path, err)
	}
	return nil
}
