// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package key

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// ErrFile is a key file that cannot be used.
var ErrFile = errors.New("cluster key file")

// maxFile bounds what is read of a file: MaxKeys lines and a lot of comment.
const maxFile = 64 << 10

const header = `# The key of a zpipes cluster. Give each broker of the cluster a copy of this file
# (zpipes mount --key FILE), readable by its user alone. Who has it can join.
# There may be several keys, one a line: the first encrypts, all decrypt.
`

// Create writes the ring to a new file that only its owner can read. It never
// replaces a file: the error then is fs.ErrExist. It leaves no file if it fails.
func (r *Ring) Create(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w %s: %w: a key that brokers use must not be lost, choose another file or remove it", ErrFile, path, fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	if _, err = f.Write(r.encode()); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	return nil
}

func (r *Ring) encode() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	for _, k := range r.keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Load reads a key file. It refuses one that anybody but its owner can read.
func Load(path string) (*Ring, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w %s: %w: copy it from another broker, or make the cluster's first with: zpipes keygen %s",
			ErrFile, path, fs.ErrNotExist, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer f.Close()
	if err := private(f); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFile, path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	ring, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFile, path, err)
	}
	return ring, nil
}

// private refuses a file that others than its owner can read or change, as ssh
// does with its keys.
func private(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%w: others can use it (mode %04o): chmod 600 %s", fs.ErrPermission, perm, f.Name())
	}
	return nil
}

// parse reads a key file's text. Errors never show a key.
func parse(text []byte) (*Ring, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("is over %d bytes: want one key a line", maxFile)
	}
	ring := &Ring{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := base64.StdEncoding.Strict().DecodeString(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d is not base64: want what zpipes keygen writes", n)
		case len(k) != Size:
			return nil, fmt.Errorf("line %d is a key of %d bytes: want %d, as zpipes keygen writes", n, len(k), Size)
		case slices.ContainsFunc(ring.keys, func(other []byte) bool { return bytes.Equal(other, k) }):
			return nil, fmt.Errorf("line %d repeats a key: remove it", n)
		case len(ring.keys) == MaxKeys:
			return nil, fmt.Errorf("line %d is key number %d: remove old ones, at most %d are used", n, MaxKeys+1, MaxKeys)
		}
		ring.keys = append(ring.keys, k)
	}
	if len(ring.keys) == 0 {
		return nil, errors.New("holds no key: make one with zpipes keygen")
	}
	return ring, nil
}
