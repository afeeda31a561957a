// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package key is a cluster's secret: the key file that each broker of a cluster
// has a copy of, and the keys that are derived from it. See DESIGN.md.
package key

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

const (
	// Size is a key's length in bytes.
	Size = 32

	// MaxKeys is how many keys a ring may hold.
	MaxKeys = 16

	// IDSize is the length of a key's ID in bytes.
	IDSize = 8
)

// Purposes of derived keys. They are part of the protocol.
const (
	Gossip = "zpipesfs gossip v1" // encrypts and authenticates membership

	identity = "zpipesfs key id v1"
)

// Ring is the keys of one file: the first encrypts, all decrypt. A nil Ring is
// a broker without a key.
type Ring struct {
	keys [][]byte // 1 to MaxKeys, Size bytes each, all different
}

// New returns a ring of one fresh random key.
func New() *Ring {
	k := make([]byte, Size)
	_, _ = rand.Read(k) // never fails: crypto/rand
	return &Ring{[][]byte{k}}
}

// Len returns how many keys there are, 0 for a nil Ring.
func (r *Ring) Len() int {
	if r == nil {
		return 0
	}
	return len(r.keys)
}

// Derive returns for each key of the ring, in its order, a key of length bytes
// for one purpose (HKDF with SHA-256, RFC 5869). Keys of different purposes tell
// nothing of each other. length is 1 to 8160.
func (r *Ring) Derive(purpose string, length int) ([][]byte, error) {
	if r == nil {
		return nil, nil
	}
	derived := make([][]byte, 0, len(r.keys))
	for _, k := range r.keys {
		d, err := hkdf.Key(sha256.New, k, nil, purpose, length)
		if err != nil {
			return nil, err
		}
		derived = append(derived, d)
	}
	return derived, nil
}

// ID names a key without telling anything of it, so that brokers can say which
// keys they have.
type ID [IDSize]byte

// String returns the ID as people compare it: URL-safe base64.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// IDs returns the ID of each key, in the ring's order.
func (r *Ring) IDs() ([]ID, error) {
	derived, err := r.Derive(identity, IDSize)
	if err != nil {
		return nil, err
	}
	ids := make([]ID, len(derived))
	for i, d := range derived {
		ids[i] = ID(d)
	}
	return ids, nil
}
