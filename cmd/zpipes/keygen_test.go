// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/cluster/key"
)

// runKeygen runs the command line and returns the status it ends with.
func runKeygen(t *testing.T, args ...string) exitCode {
	t.Helper()
	app := &cli.App{
		Name: "zpipes", Commands: commands(nil), Writer: &bytes.Buffer{}, ErrWriter: &bytes.Buffer{},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	return codeOf(app.RunContext(context.Background(), append([]string{"zpipes", "keygen"}, args...)))
}

func TestKeygen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if code := runKeygen(t, path); code != exitOK {
		t.Fatalf("exit status %d", code)
	}
	ring, err := key.Load(path)
	if err != nil || ring.Len() != 1 {
		t.Fatalf("%d keys, %v", ring.Len(), err)
	}
	before, _ := os.ReadFile(path)
	if code := runKeygen(t, path); code != exitRefused {
		t.Fatalf("a file that exists: exit status %d", code)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Fatal("keygen changed a file that exists")
	}
	for _, args := range [][]string{nil, {path, path}} {
		if code := runKeygen(t, args...); code != exitUsage {
			t.Fatalf("%d arguments: exit status %d", len(args), code)
		}
	}
}
