// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/cluster/key"
	"github.com/zpipesfs/zpipesfs/cluster/zgossip"
)

func keygenFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "curve", Usage: "make a gossip node's key pair: FILE has the public key, which is printed, too, and FILE_secret both"},
	}
}

// keygenAction writes a new cluster's key file, or a gossip node's.
func keygenAction(c *cli.Context) error {
	path, err := oneArgument(c, "file")
	if err != nil {
		return err
	}
	if !c.Bool("curve") {
		err = key.New().Create(path)
	} else if public, failed := zgossip.CreateCert(path); failed != nil {
		err = failed
	} else {
		_, err = fmt.Fprintln(c.App.Writer, public)
	}
	if err != nil {
		return &failure{op: "keygen", err: err}
	}
	return nil
}
