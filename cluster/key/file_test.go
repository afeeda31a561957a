// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package key

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCreateLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	ring := New()
	if err := ring.Create(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	loaded, err := Load(path)
	if err != nil || loaded.Len() != 1 || string(loaded.keys[0]) != string(ring.keys[0]) {
		t.Fatalf("loaded %v, %v", loaded, err)
	}
}

func TestCreateNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New().Create(path); !errors.Is(err, fs.ErrExist) || !errors.Is(err, ErrFile) {
		t.Fatalf("got %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Fatalf("the file is now %q", text)
	}
}

func TestCreateNoDirectory(t *testing.T) {
	if err := New().Create(filepath.Join(t.TempDir(), "none", "cluster.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func line(n byte) string {
	k := make([]byte, Size)
	k[0] = n
	return base64.StdEncoding.EncodeToString(k) + "\n"
}

func TestLoadRing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	text := "# ours\r\n\n  " + line(7) + "# the one before\n" + strings.TrimSpace(line(3))
	if err := os.WriteFile(path, []byte(text), 0o400); err != nil {
		t.Fatal(err)
	}
	ring, err := Load(path)
	if err != nil || ring.Len() != 2 || ring.keys[0][0] != 7 || ring.keys[1][0] != 3 {
		t.Fatalf("got %v, %v", ring, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	var many strings.Builder
	for i := range byte(MaxKeys + 1) {
		many.WriteString(line(i))
	}
	for name, c := range map[string]struct {
		text string
		mode fs.FileMode
		want string // in the error
	}{
		"group":    {line(1), 0o640, "chmod 600"},
		"others":   {line(1), 0o604, "chmod 600"},
		"writable": {line(1), 0o620, "chmod 600"},
		"empty":    {"", 0o600, "no key"},
		"comments": {header, 0o600, "no key"},
		"short":    {"# c\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)), 0o600, "line 2 is a key of 31 bytes"},
		"long":     {base64.StdEncoding.EncodeToString(make([]byte, 64)), 0o600, "line 1 is a key of 64 bytes"},
		"text":     {"secret", 0o600, "line 1 is not base64"},
		"twice":    {line(1) + line(1), 0o600, "line 2 repeats"},
		"many":     {many.String(), 0o600, "at most 16"},
		"huge":     {strings.Repeat("#\n", maxFile), 0o600, "over 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cluster.key")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), line(1)[:20]) {
				t.Fatalf("got %q", err)
			}
		})
	}
}

func TestLoadNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "zpipes keygen") {
		t.Fatalf("got %v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "regular file") {
		t.Fatalf("got %v", err)
	}
}
