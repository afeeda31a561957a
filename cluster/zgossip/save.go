// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Save writes the configuration to a file, for Load or CZMQ's zconfig. A file that
// is there is replaced as a whole and keeps its mode and owner; after an error it is
// what it was.
func (n *Node) Save(file string) error {
	var text []byte
	err := n.do(func(l *loop) (err error) {
		text, err = l.config.Append(nil)
		return err
	})
	if err == nil {
		err = save(file, text)
	}
	if err != nil {
		return fmt.Errorf("save configuration: %s: %w", file, err)
	}
	return nil
}

// save replaces what a file holds. What is no regular file is written to.
func save(file string, text []byte) error {
	old, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		old = nil
	case err != nil:
		return err
	case !old.Mode().IsRegular():
		return os.WriteFile(file, text, 0)
	}
	if file, err = followLinks(file); err != nil {
		return err
	}
	dir, _ := filepath.Split(file)
	temp := dir + ".zgossip-" + rand.Text()
	err = writeNew(temp, text, old)
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	return syncDir(dir)
}

// followLinks returns the file that symbolic links end at, which need not exist: they
// are not to be replaced.
func followLinks(file string) (string, error) {
	for range 40 { // as many as path_resolution(7) has
		link, err := os.Readlink(file)
		if err != nil {
			return file, nil // EINVAL, ENOENT
		}
		if dir, _ := filepath.Split(file); !filepath.IsAbs(link) {
			link = dir + link
		}
		file = link
	}
	return "", unix.ELOOP
}

// writeNew writes a file that must not exist to the disk, with the mode and the owner
// of another; nil: as new files have them.
func writeNew(file string, text []byte, like os.FileInfo) (err error) {
	perm := os.FileMode(0o644)
	if like != nil {
		perm = 0o600
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if like != nil {
		if err := f.Chmod(takeOver(f, like)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// takeOver gives a file the owner of another, as far as this process may, and returns
// the mode that it may have then: another group gets no rights.
func takeOver(f *os.File, like os.FileInfo) os.FileMode {
	perm, id := like.Mode().Perm(), like.Sys().(*syscall.Stat_t)
	if f.Chown(int(id.Uid), int(id.Gid)) != nil && f.Chown(-1, int(id.Gid)) != nil {
		perm &^= 0o070
	}
	return perm
}

func removeIfThere(file string) error {
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir has the directory name the new file after a crash.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir)) // "" is "."
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
