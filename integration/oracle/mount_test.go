// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// bench is the two sides of the comparison.
type bench struct {
	fifo  dirs
	mount dirs
	real  bool // mount is a FUSE mount, not FIFOs once more
}

// newBench makes both sides and lets the test take them down again, which
// fails it when anything is left.
func newBench(t *testing.T) bench {
	root, err := os.MkdirTemp("", "oracle")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { takeDown(t, root) })
	fifo, mount := filepath.Join(root, "fifo"), filepath.Join(root, "mount")
	// Actors of other users must reach both.
	for _, dir := range []string{root, fifo, mount} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := bench{fifo: dirs{W: fifo, R: fifo}, mount: dirs{W: mount, R: mount}, real: true}
	given := os.Getenv("ZPIPES_ORACLE_DIR")
	if given == "" {
		lab.MountAt(t, mount, "--allow-other")
		return b
	}
	b.mount = dirs{W: given, R: given}
	fstype, err := fileSystem(given)
	if err != nil {
		t.Fatal(err)
	}
	b.real = strings.HasPrefix(fstype, "fuse")
	return b
}

// takeDown removes the directories, which must be empty by now.
func takeDown(t *testing.T, root string) {
	for _, p := range children(os.Getpid()) {
		t.Errorf("a child process is left:\n%s", whereabouts([]process{p}))
	}
	for _, dir := range []string{"fifo", "mount", ""} {
		if err := os.Remove(filepath.Join(root, dir)); err != nil && !os.IsNotExist(err) {
			t.Errorf("left behind: %v", err)
		}
	}
}

// fileSystem answers the type of the file system that holds dir, without
// touching it.
func fileSystem(dir string) (string, error) {
	for ; ; dir = filepath.Dir(dir) {
		fstype, ok, err := mounted(dir)
		if err != nil || ok || dir == "/" {
			return fstype, err
		}
	}
}
