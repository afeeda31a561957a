// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Path is a pipe's name. It may hold any octets, which JSON text cannot: in JSON,
// octets that are not UTF-8 and the percent sign are written %XX.
type Path string

// MarshalText never fails.
func (p Path) MarshalText() ([]byte, error) {
	var b strings.Builder
	for rest := string(p); rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		if rest[0] == '%' || r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "%%%02X", rest[0])
		} else {
			b.WriteString(rest[:n])
		}
		rest = rest[n:]
	}
	return []byte(b.String()), nil
}

// UnmarshalText returns an error for a percent sign without two hex digits.
func (p *Path) UnmarshalText(text []byte) error {
	s, err := url.PathUnescape(string(text))
	if err != nil {
		return err
	}
	*p = Path(s)
	return nil
}
