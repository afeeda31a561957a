// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package device

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/mnt/zp`:            "/mnt/zp",
		`/mnt/a\040b`:        "/mnt/a b",
		`/mnt/tab\011nl\012`: "/mnt/tab\tnl\n",
		`/mnt/back\134slash`: `/mnt/back\slash`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestMountPoints: what cannot be mounted on is refused before the kernel is asked.
func TestMountPoints(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "missing"):      os.ErrNotExist,
		filepath.Join(dir, "no", "parent"): os.ErrNotExist,
		"/proc":                            ErrOccupied,
	} {
		if c, err := Mount(path, Options{Source: "test", MaxRead: MaxWrite}); !errors.Is(err, want) {
			t.Errorf("Mount(%s) = %v, %v; want %v", path, c, err, want)
		}
	}
	if _, err := Mount(file, Options{Source: "test", MaxRead: MaxWrite}); err == nil {
		t.Error("mounted on a file")
	}
	for _, path := range []string{dir, "/proc"} {
		if err := Unmount(path); !errors.Is(err, ErrNotMounted) {
			t.Errorf("Unmount(%s) = %v, want %v", path, err, ErrNotMounted)
		}
	}
}
