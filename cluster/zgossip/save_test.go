// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// only fails the test if a directory has other entries than those.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(names, " ") {
		t.Errorf("the directory has %q, want %q", have, names)
	}
}

func expectText(t *testing.T, file, want string) {
	t.Helper()
	if text, err := os.ReadFile(file); err != nil || string(text) != want {
		t.Errorf("%s has %.100q, %v, want %.100q", filepath.Base(file), text, err, want)
	}
}

// TestSaveKeepsModeAndOwner: those of a new file are the umask's, as with any program.
func TestSaveKeepsModeAndOwner(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	mask := unix.Umask(0o027)
	err := save(file, []byte("new"))
	unix.Umask(mask)
	must(t, err)
	for _, mode := range []os.FileMode{0o640, 0o600, 0o666, 0o755, 0o444} {
		if mode != 0o640 { // the umask's
			must(t, os.Chmod(file, mode))
		}
		owner := []int{os.Getuid(), os.Getgid()}
		if os.Getuid() == 0 {
			owner = []int{12345, 54321}
			must(t, os.Chown(file, owner[0], owner[1]))
			must(t, os.Chmod(file, mode)) // chown(2) may have changed it
		}
		must(t, save(file, fmt.Appendf(nil, "for %v", mode)))
		info, err := os.Stat(file)
		must(t, err)
		id := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || int(id.Uid) != owner[0] || int(id.Gid) != owner[1] {
			t.Errorf("mode %v, owner %d:%d, want %v, %v", info.Mode(), id.Uid, id.Gid, mode, owner)
		}
		expectText(t, file, fmt.Sprintf("for %v", mode))
	}
	only(t, dir, "config")
}

// TestSaveOfAnotherOwner: who may not give the file to its group gives the group of
// the new one no rights.
func TestSaveOfAnotherOwner(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "new"))
	must(t, err)
	old := filepath.Join(t.TempDir(), "old")
	must(t, os.WriteFile(old, nil, 0o600))
	must(t, os.Chmod(old, 0o664))
	like, err := os.Stat(old)
	must(t, err)
	if perm := takeOver(file, like); perm != 0o664 {
		t.Errorf("one's own: %v", perm)
	}
	must(t, file.Close()) // fchown(2) fails
	if perm := takeOver(file, like); perm != 0o604 {
		t.Errorf("of another group: %v, want 0604", perm)
	}
}

func TestSaveThroughLinks(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "b", "c"), 0o700))
	must(t, os.Symlink("../b/c", filepath.Join(dir, "a", "dir")))
	// .. is that of the directory which a link leads to.
	must(t, os.Symlink("dir/../file", filepath.Join(dir, "a", "relative")))
	must(t, os.Symlink(filepath.Join(dir, "a", "relative"), filepath.Join(dir, "absolute")))
	must(t, os.Symlink("round", filepath.Join(dir, "round")))
	for _, text := range []string{"made", "changed"} { // the link leads nowhere at first
		must(t, save(filepath.Join(dir, "absolute"), []byte(text)))
		expectText(t, filepath.Join(dir, "b", "file"), text)
	}
	only(t, filepath.Join(dir, "a"), "dir", "relative")
	only(t, filepath.Join(dir, "b"), "c", "file")
	if err := save(filepath.Join(dir, "round"), nil); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link to itself: %v", err)
	}
	t.Chdir(filepath.Join(dir, "b"))
	must(t, save("file", []byte("here")))
	expectText(t, "file", "here")
}

// TestSaveToPipe: what is no regular file is not replaced.
func TestSaveToPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, unix.Mkfifo(pipe, 0o600))
	f, err := os.OpenFile(pipe, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	must(t, save(pipe, []byte("text")))
	text := make([]byte, 10)
	if n, err := f.Read(text); err != nil || string(text[:n]) != "text" {
		t.Errorf("the pipe has %q, %v", text[:n], err)
	}
	if err := save(t.TempDir(), nil); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
}

// TestSaveFails: the old file stays whole, and nothing else does.
func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	n := start(t, Config{})
	must(t, n.Save(file))
	before, err := os.ReadFile(file)
	must(t, err)
	must(t, n.Set("much", strings.Repeat("x", 100_000)))

	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 50_000, Max: limit.Max})) // as if the disk were full
	err = n.Save(file)
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	if !errors.Is(err, unix.EFBIG) || strings.Contains(err.Error(), "\n") {
		t.Errorf("saved: %v", err)
	}
	expectText(t, file, string(before))
	only(t, dir, "config")

	if err := n.Save(filepath.Join(dir, "none", "config")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	must(t, n.Save(file))
	must(t, n.Load(file))
}

// TestSaveIsWhole: who reads the file meanwhile reads the old one or the new one.
func TestSaveIsWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	texts := []string{strings.Repeat("a", 300_000), strings.Repeat("b", 200_000)}
	must(t, save(file, []byte(texts[0])))
	done := make(chan error)
	go func() {
		var err error
		for i := range 50 {
			err = errors.Join(err, save(file, []byte(texts[i%2])))
		}
		done <- err
	}()
	for {
		text, err := os.ReadFile(file)
		must(t, err)
		if string(text) != texts[0] && string(text) != texts[1] {
			t.Errorf("read %d bytes", len(text))
		}
		select {
		case err := <-done:
			must(t, err)
			return
		default:
		}
	}
}
