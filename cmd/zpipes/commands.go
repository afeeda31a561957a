// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/fs/device"
)

// commands is the command line. Each command reads its flags into a struct and
// runs that.
func commands(v *verdict) []*cli.Command {
	list := []*cli.Command{
		{
			Name: "mount", ArgsUsage: "MOUNTPOINT", Flags: serverFlags(),
			Usage:  "mount a directory of pipes and serve it until a signal or an unmount",
			Action: func(c *cli.Context) error { return mountAction(c, v) },
		},
		{
			Name: "broker", Flags: serverFlags(),
			Usage:  "serve pipes to ZPIPES clients without a mount, until a signal",
			Action: func(c *cli.Context) error { return brokerAction(c, v) },
		},
		{
			Name: "umount", ArgsUsage: "MOUNTPOINT",
			Usage:  "take a mount away; its server ends",
			Action: umountAction,
		},
		{
			Name: "create", ArgsUsage: "NAME...",
			Usage: "make pipes",
			Flags: []cli.Flag{
				nameFlag(),
				&cli.StringFlag{Name: "mode", Value: "fifo", Usage: "how ends share bytes: `MODE` is fifo, exclusive or fanout"},
				&cli.StringFlag{Name: "perm", Value: "0644", Usage: "permissions `OCTAL`, as chmod takes them"},
				&cli.BoolFlag{Name: "parents", Aliases: []string{"p"}, Usage: "make missing directories"},
			},
			Action: createAction,
		},
		{
			Name: "rm", ArgsUsage: "NAME...",
			Usage: "remove pipes; open ends go on",
			Flags: []cli.Flag{
				nameFlag(),
				&cli.BoolFlag{Name: "dir", Aliases: []string{"d"}, Usage: "remove empty directories, too"},
			},
			Action: rmAction,
		},
		{
			Name: "ls", ArgsUsage: "[PREFIX]",
			Usage: "list the pipes whose name begins with PREFIX",
			Flags: []cli.Flag{
				nameFlag(),
				&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "with permissions, owner, mode, ends and bytes"},
			},
			Action: lsAction,
		},
		{
			Name: "read", ArgsUsage: "NAME", Flags: streamFlags(),
			Usage:  "copy a pipe to standard output until its writer has closed",
			Action: readAction,
		},
		{
			Name: "write", ArgsUsage: "NAME", Flags: streamFlags(),
			Usage:  "copy standard input to a pipe",
			Action: writeAction,
		},
		{
			Name: "keygen", ArgsUsage: "FILE", Flags: keygenFlags(),
			Usage:  "write a new cluster's key, or a gossip node's, to a file that does not exist",
			Action: keygenAction,
		},
		{
			Name: "gossip", Flags: gossipFlags(),
			Usage:       "be a node of a gossip network (CZMQ's zgossip); reads the commands of zgossip from standard input, one a line",
			Description: gossipCommands,
			Action:      gossipAction,
		},
		{
			Name:   "status",
			Usage:  "tell of a broker and of its links to the others of its cluster",
			Flags:  []cli.Flag{nameFlag(), jsonFlag()},
			Action: statusAction,
		},
		{
			Name:   "pipes",
			Usage:  "list the pipes of the whole cluster that are open, with their readers and writers",
			Flags:  []cli.Flag{nameFlag(), jsonFlag()},
			Action: pipesAction,
		},
		{
			Name:   "version",
			Usage:  "print the version",
			Action: versionAction,
		},
	}
	for _, c := range list {
		c.HideHelpCommand = true // "zpipes create help" makes a pipe
		c.OnUsageError = usageError
	}
	return list
}

func mountAction(c *cli.Context, v *verdict) error {
	dir, err := oneArgument(c, "mount point")
	if err != nil {
		return err
	}
	cfg, err := newServerConfig(c, dir)
	if err != nil {
		return err
	}
	return (&server{cfg: cfg, verdict: v}).Run()
}

func brokerAction(c *cli.Context, v *verdict) error {
	if c.NArg() > 0 {
		return usage("broker: want no arguments, have %d", c.NArg())
	}
	cfg, err := newServerConfig(c, "")
	if err != nil {
		return err
	}
	return (&server{cfg: cfg, verdict: v}).Run()
}

func umountAction(c *cli.Context) error {
	dir, err := oneArgument(c, "mount point")
	if err != nil {
		return err
	}
	if err := device.Unmount(dir); err != nil {
		return mountFailure("umount "+dir, err)
	}
	return nil
}

func versionAction(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("version: want no arguments, have %d", c.NArg())
	}
	_, err := fmt.Fprintln(c.App.Writer, "zpipes", version())
	return err
}
