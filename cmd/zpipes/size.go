// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size is a flag's number of bytes: 65536, 64K, 64KiB, 1M, 1MiB, 1G, 1GiB.
type size int

func (s *size) Set(text string) error {
	digits, shift := strings.TrimSuffix(text, "iB"), 0
	if n := len(digits); n > 0 {
		if i := strings.IndexByte("KMG", digits[n-1]); i >= 0 {
			digits, shift = digits[:n-1], 10*(i+1)
		} else if digits != text {
			digits = ""
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n > math.MaxInt32>>shift {
		return fmt.Errorf("%q is not a size: want bytes below 2G, such as 65536, 64K or 1MiB", text)
	}
	*s = size(n << shift)
	return nil
}

func (s *size) String() string {
	n, unit := int(*s), ""
	for _, u := range []string{"KiB", "MiB", "GiB"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.Itoa(n) + unit
}
