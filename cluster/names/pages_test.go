// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzPages: whatever is in a file, reading it ends, and if it is taken for whole it is.
// A patch is a place and an octet for it.
func FuzzPages(f *testing.F) {
	d, whole := example(f, 100)
	f.Add([]byte{})
	f.Add([]byte{0x20, 0, 0, 10, 0xff, 0x20, 0, 0, 11, 0xff})
	f.Fuzz(func(t *testing.T, patches []byte) {
		b := bytes.Clone(whole)
		for ; len(patches) >= 5; patches = patches[5:] {
			b[binary.BigEndian.Uint32(patches)%uint32(len(b))] = patches[4]
		}
		had, _, err := readSaved(bytes.NewReader(b), int64(len(b)))
		c := *d
		c.t = t
		if err == nil {
			c.check(had)
		}
		c.checkRescued(had)
	})
}
