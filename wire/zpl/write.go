// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpl

import (
	"fmt"
	"strings"
)

// Append appends the text of what is below it, and its comments at the end, to
// dst. With an error, ErrName or ErrValue for an item that no text can hold, it
// returns dst as it was.
func (it *Item) Append(dst []byte) ([]byte, error) {
	out, err := appendItems(dst, it.Items, 0)
	if err != nil {
		return dst, err
	}
	return appendComments(out, it.Comments, ""), nil
}

func appendItems(dst []byte, items []*Item, level int) ([]byte, error) {
	indent := strings.Repeat(" ", level*indentation)
	for _, it := range items {
		if it.Name == "" || it.Name[0] == '/' || it.Name[len(it.Name)-1] == '/' || strings.IndexFunc(it.Name, notNameRune) >= 0 {
			return nil, fmt.Errorf("write %q: %w", it.Name, ErrName)
		}
		value, ok := quote(it.Value)
		if !ok {
			return nil, fmt.Errorf("write %q: %w", it.Name, ErrValue)
		}
		dst = appendComments(dst, it.Comments, indent)
		dst = append(append(dst, indent...), it.Name...)
		if it.Value != "" {
			dst = append(append(dst, " = "...), value...)
		}
		if it.Remark != "" {
			dst = append(append(dst, "    #"...), oneLine(it.Remark)...)
		}
		dst = append(dst, '\n')
		var err error
		if dst, err = appendItems(dst, it.Items, level+1); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func notNameRune(r rune) bool { return !nameRune(r) }

// appendComments indents comments as what they are about; zconfig takes the
// indentation of a comment for nothing.
func appendComments(dst []byte, comments []string, indent string) []byte {
	for _, c := range comments {
		dst = append(append(append(dst, indent...), '#'), oneLine(c)...)
		dst = append(dst, '\n')
	}
	return dst
}

// oneLine makes a comment one that is read back as it is.
func oneLine(comment string) string {
	comment = strings.NewReplacer("\n", " ", "\x00", " ").Replace(comment)
	return strings.TrimRight(comment, space)
}

// quote returns a value as it stands in a text. ZPL has no escapes: a value that
// has both quotes stands without any, if it can.
func quote(value string) (string, bool) {
	double, single := strings.Contains(value, `"`), strings.Contains(value, "'")
	switch {
	case strings.ContainsAny(value, "\n\x00"):
		return "", false
	case !double:
		return `"` + value + `"`, true
	case !single:
		return "'" + value + "'", true
	}
	bare := value[0] != '"' && value[0] != '\'' && !strings.Contains(value, "#") && strings.Trim(value, space) == value
	return value, bare
}
