// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package peer is what brokers say to each other, as bytes: no socket, no
// goroutine.
package peer

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// ID names one life of a broker. A broker that was restarted is another one.
type ID struct {
	Node string // unique in the cluster, and the same in every life
	Boot uint64 // random, chosen when the life began
}

// String returns "node/boot", the boot in hexadecimal.
func (id ID) String() string { return id.Node + "/" + strconv.FormatUint(id.Boot, 16) }

// Home returns which of nodes is the home of key: the one with the highest hash
// of itself and the key (rendezvous hashing, Thaler and Ravishankar 1998). All
// hosts and versions find the same one, whatever the order of nodes; when a node
// joins or leaves, only the keys that it wins or had change their home. It
// returns "" if there are no nodes.
func Home(key string, nodes []string) string {
	var home string
	var highest uint64
	for i, node := range nodes {
		h := weight(node, key)
		if i == 0 || h > highest || h == highest && node < home {
			home, highest = node, h
		}
	}
	return home
}

// weight is part of the protocol: XXH64, seed 0, of the node, a NUL and the key.
func weight(node, key string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(node)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(key)
	return d.Sum64()
}
