// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpl

import (
	"errors"
	"fmt"
)

// What can be wrong with a text or an item.
var (
	ErrIndent = errors.New("indentation is not four spaces below the item above")
	ErrName   = errors.New("a name has letters, digits and $-_@.&+ only, and '/' inside")
	ErrSyntax = errors.New("want NAME or NAME = VALUE")
	ErrQuote  = errors.New("the closing quote is missing")
	ErrNUL    = errors.New("a text has no NUL")
	ErrValue  = errors.New("no ZPL text can hold this value")
)

// LineError says which line of a text is wrong, counted from 1.
type LineError struct {
	Line int
	Err  error // one of the sentinel errors above
}

// Error returns, for example, "line 3: the closing quote is missing".
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the sentinel error.
func (e *LineError) Unwrap() error { return e.Err }
