// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"fmt"
	"strings"
)

// Mode says how many ends a pipe takes and who gets which byte.
type Mode uint8

const (
	// Fifo is fifo(7): any number of ends, each byte to exactly one reader.
	Fifo Mode = iota
	// Exclusive is zbroker's: one reader and one writer at a time. The pipe is
	// spent once a paired end has closed; the name then stands for a new one.
	Exclusive
	// Fanout gives every reader all bytes of a writer, from its first, or none.
	Fanout
)

// String returns the mode's name as ParseMode takes it.
func (m Mode) String() string {
	switch m {
	case Fifo:
		return "fifo"
	case Exclusive:
		return "exclusive"
	case Fanout:
		return "fanout"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode reads a mode's name. The error wraps ErrMode and lists the names.
func ParseMode(s string) (Mode, error) {
	for _, m := range []Mode{Fifo, Exclusive, Fanout} {
		if strings.EqualFold(s, m.String()) {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%w %q: want fifo, exclusive or fanout", ErrMode, s)
}
