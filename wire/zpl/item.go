// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package zpl reads and writes ZPL, ZeroMQ's language for configuration files
// (RFC 4/ZPL), in the dialect of CZMQ's zconfig. Every function is pure; an Item
// is not safe for concurrent use.
package zpl

import (
	"fmt"
	"strings"
)

// Item is a property with its value, and the properties below it.
type Item struct {
	Name  string
	Value string // empty: none
	Items []*Item

	Comments []string // lines of comment before it, without their '#'
	Remark   string   // the comment behind it on its line, without its '#'
}

// Child returns the first item below it that has the name, or nil.
func (it *Item) Child(name string) *Item {
	for _, c := range it.Items {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Locate returns the item at a path such as "server/timeout", or nil. A leading
// slash is ignored. Of several items with a name the first counts.
func (it *Item) Locate(path string) *Item {
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if it = it.Child(name); it == nil {
			return nil
		}
	}
	return it
}

// Get returns the value of the item at a path, or other if there is none.
func (it *Item) Get(path, other string) string {
	if found := it.Locate(path); found != nil {
		return found.Value
	}
	return other
}

// Put sets the value of the item at a path, and makes what is missing of it.
// The error, ErrName or ErrValue, is one of what could not be written to a file;
// then nothing has changed.
func (it *Item) Put(path, value string) error {
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, name := range names {
		if !validName(name) {
			return fmt.Errorf("put %q: %w", path, ErrName)
		}
	}
	if _, ok := quote(value); !ok {
		return fmt.Errorf("put %q: %w", path, ErrValue)
	}
	for _, name := range names {
		child := it.Child(name)
		if child == nil {
			child = &Item{Name: name}
			it.Items = append(it.Items, child)
		}
		it = child
	}
	it.Value = value
	return nil
}

// validName reports whether a file can have the name and a path can reach it.
func validName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool { return r == '/' || !nameRune(r) }) < 0
}

func nameRune(r rune) bool {
	return r < 0x80 && nameOctet(byte(r))
}

// nameOctet is zconfig's rule, which RFC 4/ZPL has, too.
func nameOctet(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	}
	return strings.IndexByte("$-_@.&+/", c) >= 0
}
