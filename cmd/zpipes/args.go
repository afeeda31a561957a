// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves a command's flags before its arguments, since urfave/cli stops
// looking for flags at the first argument. What follows "--" are arguments.
func reorder(args []string) []string {
	if len(args) < 2 {
		return args
	}
	i := slices.IndexFunc(commands(nil), func(c *cli.Command) bool { return c.HasName(args[1]) })
	if i < 0 {
		return args
	}
	takesValue := valueFlags(commands(nil)[i].Flags)
	flags, rest := slices.Clone(args[:2]), []string(nil)
	for todo := args[2:]; len(todo) > 0; {
		arg := todo[0]
		todo = todo[1:]
		switch {
		case arg == "--":
			rest, todo = append(rest, todo...), nil
		case len(arg) < 2 || arg[0] != '-':
			rest = append(rest, arg)
		case takesValue[strings.TrimLeft(arg, "-")] && len(todo) == 0:
			return append(flags, arg) // its value is missing, which a "--" behind it would hide
		case takesValue[strings.TrimLeft(arg, "-")]:
			flags = append(flags, arg, todo[0])
			todo = todo[1:]
		default:
			flags = append(flags, arg)
		}
	}
	if len(rest) == 0 {
		return flags
	}
	return append(append(flags, "--"), rest...)
}

// valueFlags is the set of names of the flags that want a value.
func valueFlags(flags []cli.Flag) map[string]bool {
	set := make(map[string]bool)
	for _, f := range flags {
		if _, bare := f.(*cli.BoolFlag); bare {
			continue
		}
		for _, name := range f.Names() {
			set[name] = true
		}
	}
	return set
}
