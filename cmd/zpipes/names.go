// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/control"
)

// createCommand makes pipes.
type createCommand struct {
	client *control.Client
	mode   string
	perm   uint32
	dirs   bool // make missing directories
	names  []string
}

func createAction(c *cli.Context) error {
	perm, err := strconv.ParseUint(c.String("perm"), 8, 12)
	if err != nil {
		return usage("--perm: %q is not octal permissions such as 0644", c.String("perm"))
	}
	client, names, err := namesOf(c)
	if err != nil {
		return err
	}
	return (&createCommand{client, c.String("mode"), uint32(perm), c.Bool("parents"), names}).Run(c.Context)
}

// Run makes one pipe after the other and ends at the first that fails.
func (cmd *createCommand) Run(ctx context.Context) error {
	for _, name := range cmd.names {
		r := control.CreateRequest{Path: control.Path(name), Mode: cmd.mode, Perm: cmd.perm, Parents: cmd.dirs}
		if err := cmd.client.Create(ctx, r); err != nil {
			f := &failure{op: "create " + name, err: err}
			if errors.Is(err, iofs.ErrNotExist) {
				f.err, f.cure = errors.New("its directory does not exist"), "make it with --parents"
				f.code = exitNotFound
			}
			return f
		}
	}
	return nil
}

// rmCommand removes names.
type rmCommand struct {
	client *control.Client
	dirs   bool // empty directories, too
	names  []string
}

func rmAction(c *cli.Context) error {
	client, names, err := namesOf(c)
	if err != nil {
		return err
	}
	return (&rmCommand{client, c.Bool("dir"), names}).Run(c.Context)
}

// Run removes one name after the other and ends at the first that fails.
func (cmd *rmCommand) Run(ctx context.Context) error {
	for _, name := range cmd.names {
		if err := cmd.client.Remove(ctx, control.RemoveRequest{Path: control.Path(name), Dir: cmd.dirs}); err != nil {
			f := &failure{op: "rm " + name, err: err}
			if errors.Is(err, broker.ErrIsDir) {
				f.cure = "--dir removes it if it is empty"
			}
			return f
		}
	}
	return nil
}

// lsCommand lists pipes.
type lsCommand struct {
	client *control.Client
	long   bool
	prefix string
	out    io.Writer
}

func lsAction(c *cli.Context) error {
	if c.NArg() > 1 {
		return usage("ls: want one prefix at most, have %d", c.NArg())
	}
	client, err := controlOf(c)
	if err != nil {
		return err
	}
	return (&lsCommand{client, c.Bool("long"), c.Args().First(), c.App.Writer}).Run(c.Context)
}

// Run prints one pipe a line, by path.
func (cmd *lsCommand) Run(ctx context.Context) error {
	pipes, err := cmd.client.List(ctx, control.ListRequest{Prefix: control.Path(cmd.prefix)})
	if err != nil {
		return &failure{op: "ls", err: err}
	}
	out := bufio.NewWriter(cmd.out)
	if cmd.long {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "PERM\tOWNER\tMODE\tREADERS\tWRITERS\tBUFFERED\tWRITTEN\tCHANGED\tNAME")
		for _, p := range pipes {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", permText(p.Perm), ownerText(p), p.Mode,
				len(p.Readers), len(p.Writers), p.Buffered, p.Written, p.Changed.Format("2006-01-02T15:04:05"), nameText(p.Path))
		}
		table.Flush()
	} else {
		for _, p := range pipes {
			fmt.Fprintln(out, nameText(p.Path))
		}
	}
	return out.Flush()
}

// permText is how ls(1) writes a pipe's permissions.
func permText(perm uint32) string {
	return "p" + iofs.FileMode(perm & 0o777).String()[1:]
}

func ownerText(p control.Pipe) string {
	uid, gid := strconv.Itoa(int(p.UID)), strconv.Itoa(int(p.GID))
	if u, err := user.LookupId(uid); err == nil {
		uid = u.Username
	}
	if g, err := user.LookupGroupId(gid); err == nil {
		gid = g.Name
	}
	return uid + ":" + gid
}

// nameText quotes a name that would not be one line as it is.
func nameText(p control.Path) string {
	name := string(p)
	if quoted := strconv.Quote(name); strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' }) {
		return quoted
	}
	return name
}

// controlOf returns a client of the broker that --name selects.
func controlOf(c *cli.Context) (*control.Client, error) {
	client, err := control.NewClient(c.String("name"))
	if err != nil {
		return nil, usage("--name: %w", err)
	}
	return client, nil
}

// namesOf returns a client and the command's arguments, of which there must be
// one or more.
func namesOf(c *cli.Context) (*control.Client, []string, error) {
	if c.NArg() == 0 {
		return nil, nil, usage("%s: want one or more names", c.Command.Name)
	}
	for _, name := range c.Args().Slice() {
		if err := broker.CheckName(name); err != nil {
			return nil, nil, &failure{op: fmt.Sprintf("%s %q", c.Command.Name, name), err: err}
		}
	}
	client, err := controlOf(c)
	return client, c.Args().Slice(), err
}
