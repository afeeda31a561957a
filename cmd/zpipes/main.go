// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Command zpipes mounts a directory of named pipes, serves them to ZPIPES
// clients, and is such a client itself. It only wires parts together.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

func main() {
	os.Exit(int(run(os.Args, os.Stdin, os.Stdout, os.Stderr)))
}

// run runs the command line and tells of a failure in one line: to the process
// that started this one as a daemon if there is one, else to stderr.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) exitCode {
	verdict := inheritVerdict()
	err := newApp(stdin, stdout, verdict).Run(reorder(args))
	code := codeOf(err)
	if line := errorLine(err); line != "" && !verdict.fail(code, line) {
		fmt.Fprintln(stderr, "zpipes:", line)
	}
	return code
}

func newApp(stdin io.Reader, stdout io.Writer, verdict *verdict) *cli.App {
	return &cli.App{
		Name:        "zpipes",
		Usage:       "named pipes as files, shared by programs and hosts",
		UsageText:   "zpipes COMMAND [FLAGS] [ARGUMENTS]",
		Description: exitCodeHelp,
		Reader:      stdin,
		Writer:      stdout,
		ErrWriter:   io.Discard, // errors are run's to tell
		HideVersion: true,
		// A comma is part of an endpoint.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return usage("%w: run \"zpipes help\"", err) },
		Commands:                  commands(verdict),
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return usage("no such command: %s: run \"zpipes help\"", name)
			}
			return usage("no command given: run \"zpipes help\"")
		},
	}
}

// usageError is what a command returns for flags that are wrong.
func usageError(c *cli.Context, err error, _ bool) error {
	return usage("%w: run \"zpipes help %s\"", err, c.Command.Name)
}
