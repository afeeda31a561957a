// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

// #include <stdlib.h>
import "C"

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// seedRoutingIDs makes the routing ids that libzmq gives to clients begin at a
// number that nobody can guess. It counts on from rand(3), which it never seeds,
// and asserts that no client has chosen the next one.
func seedRoutingIDs() error {
	var seed [4]byte
	if _, err := unix.Getrandom(seed[:], 0); err != nil {
		return fmt.Errorf("seed routing ids: %w", err)
	}
	C.srand(C.uint(binary.NativeEndian.Uint32(seed[:])))
	return nil
}
