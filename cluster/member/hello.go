// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zpipesfs/zpipesfs/cluster/key"
)

// errRefused is in the text of each error that keeps a broker out, also when a
// library has made text of the error.
var errRefused = errors.New("broker refused")

// errStranger is a connection of something that is no broker.
var errStranger = fmt.Errorf("%w: what is there is no zpipes broker: look at the addresses of --join and --bind", errRefused)

// hello is what two brokers tell each other first on each stream, in the clear,
// so that both know why the other cannot be a member. It proves nothing: who has
// no key gets no further than this.
type hello struct {
	version uint8
	keys    []key.ID // in the order of the ring: the first encrypts
}

// The layout of a hello is the same in all versions: "ZPIPES", the version, the
// number of octets that follow, and these: in version 1 the IDs of the keys.
const (
	helloMagic  = "ZPIPES"
	helloHeader = len(helloMagic) + 2
)

func (h hello) encode() []byte {
	b := append([]byte(helloMagic), h.version, byte(len(h.keys)*key.IDSize))
	for _, id := range h.keys {
		b = append(b, id[:]...)
	}
	return b
}

// readHello reads no octet beyond the hello.
func readHello(r io.Reader) (hello, error) {
	var header [helloHeader]byte
	if n, err := io.ReadFull(r, header[:]); err != nil {
		if n > 0 && string(header[:min(n, len(helloMagic))]) != helloMagic[:min(n, len(helloMagic))] {
			return hello{}, errStranger
		}
		return hello{}, err
	}
	if string(header[:len(helloMagic)]) != helloMagic {
		return hello{}, errStranger
	}
	body := make([]byte, header[helloHeader-1])
	if _, err := io.ReadFull(r, body); err != nil {
		return hello{}, err
	}
	h := hello{version: header[helloHeader-2]}
	for len(body) >= key.IDSize {
		h.keys = append(h.keys, key.ID(body[:key.IDSize]))
		body = body[key.IDSize:]
	}
	return h, nil
}

// judge returns why a broker that says other cannot be in one cluster with one
// that says h: cause and cure. Both come to the same result.
func (h hello) judge(other hello) error {
	switch {
	case other.version != h.version:
		return versionRefusal(h.version, other.version)
	case len(h.keys) == 0 && len(other.keys) == 0:
		return nil
	case len(other.keys) == 0:
		return fmt.Errorf("%w: it has no cluster key and this broker has one: start it with --key and a copy of this broker's key file", errRefused)
	case len(h.keys) == 0:
		return fmt.Errorf("%w: it has a cluster key and this broker has none: start this broker with --key and a copy of its key file", errRefused)
	case slices.Contains(h.keys, other.keys[0]) && slices.Contains(other.keys, h.keys[0]):
		return nil
	default:
		return fmt.Errorf("%w: it has another cluster key (it uses %v, this broker %v): start both with copies of one key file", errRefused, other.keys[0], h.keys[0])
	}
}

func versionRefusal(mine, its uint8) error {
	return fmt.Errorf("%w: it speaks version %d of the peer protocol and this broker version %d: run one release of zpipes on both", errRefused, its, mine)
}
