// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

const (
	fileName = "names.db"
	// lockPatience is how long a broker that ends may take to let go of the file.
	lockPatience = 2 * time.Second
	// writeDelay gathers changes: one transaction takes as long as many.
	writeDelay = 50 * time.Millisecond
)

// disk is the copy of the map on disk: a bbolt file with an entry for each path.
// What is put is written within writeDelay and a transaction; a broker that is killed
// loses at most that, and its peers still know it.
type disk struct {
	db   *bolt.DB
	log  *slog.Logger
	done chan struct{}
	stop chan struct{}
	kick chan struct{} // holds one

	mu    sync.Mutex             // guards below
	dirty map[string]*peer.Entry // nil: to be deleted
}

var bucket = []byte("names")

// openDisk opens the file in dir, and makes both. A file that is damaged is set
// aside.
func openDisk(dir string, log *slog.Logger) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	path := filepath.Join(dir, fileName)
	db, err := openFile(path)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if damaged(err) {
		aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000"))
		log.Error("the names on disk are damaged and set aside; other hosts' copies take their place", "file", aside, "error", err)
		if err := os.Rename(path, aside); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
		db, err = openFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	d := &disk{db: db, log: log, done: make(chan struct{}), stop: make(chan struct{}), kick: make(chan struct{}, 1), dirty: make(map[string]*peer.Entry)}
	go d.write() // close waits for it
	return d, nil
}

// errDamaged is what a file that bbolt cannot walk is.
var errDamaged = errors.New("not a whole file")

func damaged(err error) bool {
	for _, e := range []error{errDamaged, bolterrors.ErrInvalid, bolterrors.ErrChecksum, bolterrors.ErrVersionMismatch, peer.ErrMessage} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// openFile opens and checks a file. bbolt panics over pages that make no sense, and
// a file that was cut short faults where it is mapped.
func openFile(path string) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil { // what bbolt had open of the file stays open
			db, err = nil, fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	if info, err := os.Stat(path); err == nil && info.Size() > 0 && info.Size() < int64(2*os.Getpagesize()) {
		return nil, fmt.Errorf("%w: %d bytes", errDamaged, info.Size())
	}
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: lockPatience})
	if err != nil {
		return nil, err
	}
	if err := checkFile(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func checkFile(db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(_, v []byte) error {
			_, err := peer.DecodeEntry(v)
			return err
		})
	})
}

// load returns all entries.
func (d *disk) load() (list []peer.Entry, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, v []byte) error {
			e, err := peer.DecodeEntry(append([]byte(nil), v...))
			list = append(list, e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return list, nil
}

// put has an entry written soon; nil: deleted. It does not wait.
func (d *disk) put(path string, e *peer.Entry) {
	d.mu.Lock()
	d.dirty[path] = e
	d.mu.Unlock()
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// write is the goroutine that writes.
func (d *disk) write() {
	defer close(d.done)
	for {
		select {
		case <-d.kick:
		case <-d.stop:
			d.flush()
			return
		}
		gather := time.NewTimer(writeDelay)
		select {
		case <-gather.C:
		case <-d.stop:
			gather.Stop()
		}
		d.flush()
	}
}

func (d *disk) flush() {
	d.mu.Lock()
	dirty := d.dirty
	d.dirty = make(map[string]*peer.Entry)
	d.mu.Unlock()
	if len(dirty) == 0 {
		return
	}
	err := d.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		for path, e := range dirty {
			key := append([]byte("/"), path...) // bbolt has no empty keys
			if e == nil {
				if err := b.Delete(key); err != nil {
					return err
				}
				continue
			}
			if err := b.Put(key, peer.AppendEntry(nil, e)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.log.Error("names not written to disk", "names", len(dirty), "error", err)
	}
}

// close writes what is left.
func (d *disk) close() error {
	close(d.stop)
	<-d.done
	return d.db.Close()
}
