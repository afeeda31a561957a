// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpl

import (
	"bytes"
	"strings"
)

// What zconfig takes for space: isspace(3) in the C locale.
const space = " \t\n\v\f\r"

const indentation = 4 // spaces a level

// Parse reads a text. It returns a root without a name, with the text's items
// below it, and the comments at the end of the text as its own; or a *LineError
// about the first line that is wrong. Nothing in it aliases text.
func Parse(text []byte) (*Item, error) {
	p := parser{open: []*Item{{}}}
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		if err := p.line(string(line)); err != nil {
			return nil, &LineError{Line: number, Err: err}
		}
	}
	p.open[0].Comments = p.comments
	return p.open[0], nil
}

type parser struct {
	open     []*Item  // the root, and the last item of each level below it
	comments []string // read, and before the next item
}

func (p *parser) line(line string) error {
	if strings.IndexByte(line, 0) >= 0 {
		return ErrNUL
	}
	line = strings.TrimRight(line, space)
	rest := strings.TrimLeft(line, " ")
	if comment, ok := strings.CutPrefix(strings.TrimLeft(rest, space), "#"); ok {
		p.comments = append(p.comments, comment)
		return nil
	}
	if rest == "" {
		return nil
	}
	depth := len(line) - len(rest)
	if depth%indentation != 0 || depth/indentation >= len(p.open) {
		return ErrIndent
	}
	item, err := parseItem(rest)
	if err != nil {
		return err
	}
	item.Comments, p.comments = p.comments, nil
	p.open = p.open[:depth/indentation+1]
	parent := p.open[len(p.open)-1]
	parent.Items = append(parent.Items, item)
	p.open = append(p.open, item)
	return nil
}

// parseItem reads a line that begins with a name.
func parseItem(line string) (*Item, error) {
	end := 0
	for end < len(line) && nameOctet(line[end]) {
		end++
	}
	name, rest := line[:end], line[end:]
	if name == "" {
		return nil, ErrSyntax
	}
	if name[0] == '/' || name[len(name)-1] == '/' {
		return nil, ErrName
	}
	it := &Item{Name: name}
	rest, assigned := strings.CutPrefix(strings.TrimLeft(rest, space), "=")
	if !assigned {
		var err error
		it.Remark, err = remark(rest)
		return it, err
	}
	var err error
	it.Value, it.Remark, err = parseValue(strings.TrimLeft(rest, space))
	return it, err
}

func parseValue(text string) (value, comment string, err error) {
	if text != "" && (text[0] == '"' || text[0] == '\'') {
		value, rest, closed := strings.Cut(text[1:], text[:1])
		if !closed {
			return "", "", ErrQuote
		}
		comment, err = remark(rest)
		return value, comment, err
	}
	value, comment, _ = strings.Cut(text, "#")
	return strings.TrimRight(value, space), comment, nil
}

// remark reads what may follow on a line: a comment.
func remark(rest string) (string, error) {
	rest = strings.TrimLeft(rest, space)
	comment, ok := strings.CutPrefix(rest, "#")
	if rest != "" && !ok {
		return "", ErrSyntax
	}
	return comment, nil
}
