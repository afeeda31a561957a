// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/cluster/key"
)

// keygenAction writes a new cluster's key file.
func keygenAction(c *cli.Context) error {
	path, err := oneArgument(c, "file")
	if err != nil {
		return err
	}
	if err := key.New().Create(path); err != nil {
		return &failure{op: "keygen", err: err}
	}
	return nil
}
