// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/cluster/zgossip"
)

// parse returns what the flags of a broker say.
func parse(t *testing.T, flags ...string) (cfg serverConfig, err error) {
	t.Helper()
	app := &cli.App{
		Name: "zpipes", Flags: serverFlags(), Writer: &bytes.Buffer{}, ErrWriter: &bytes.Buffer{}, DisableSliceFlagSeparator: true,
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			cfg, err = newServerConfig(c, "")
			return err
		},
	}
	return cfg, app.RunContext(context.Background(), append([]string{"zpipes"}, flags...))
}

// TestGossipFlags: flags that do not go together are one line that names them, and
// none makes plain text of what others are to encrypt.
func TestGossipFlags(t *testing.T) {
	const key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
	const find, bind, connect = "--bind 127.0.0.1:0 --discover zgossip", "--gossip-bind tcp://127.0.0.1:*", "--gossip-connect tcp://127.0.0.1:9"
	for _, c := range []struct {
		flags, want string // of the error; empty: none
	}{
		{find, "--gossip-connect"},
		{connect, "--discover"},
		{bind, "--discover"},
		{"--bind 127.0.0.1:0 --gossip-curve-cert f", "--discover"},
		{"--bind 127.0.0.1:0 --gossip-curve-server " + key, "--discover"},
		{"--bind 127.0.0.1:0 --discover serf", "want zgossip"},
		{"--discover zgossip " + bind, "give --bind"},
		{find + " " + connect + " --gossip-curve-server short", "not a CURVE key"},
		{find + " " + bind + " --gossip-curve-cert f --gossip-curve-allow short", "not a CURVE key"},
		{find + " " + bind + " --gossip-curve-allow " + key, "--gossip-curve-cert"},
		{find + " " + connect + " --gossip-curve-cert f --gossip-curve-server " + key + " --gossip-curve-allow " + key, "--gossip-bind"},
		{find + " " + bind + " --gossip-curve-cert f --gossip-curve-server " + key, "--gossip-connect"},
		{find + " " + connect + " --gossip-curve-cert f", "--gossip-curve-server"},
		{find + " " + connect + " " + bind + " --gossip-curve-cert f", "--gossip-curve-server"},
		{find + " " + connect + " " + bind + " --gossip-curve-server " + key, "--gossip-curve-cert"},
		{find + " " + connect, ""},
		{find + " " + bind + " " + connect, ""},
		{find + " " + bind + " --gossip-curve-cert f", ""},
		{find + " " + connect + " --gossip-curve-server " + key, ""},
		{find + " " + connect + " --gossip-curve-cert f --gossip-curve-server " + key, ""},
		{find + " " + bind + " " + connect + " --gossip-curve-cert f --gossip-curve-server " + key + " --gossip-curve-allow " + key, ""},
	} {
		cfg, err := parse(t, strings.Fields(c.flags)...)
		if c.want != "" {
			if line := errorLine(err); codeOf(err) != exitUsage || !strings.Contains(line, c.want) || strings.Contains(line, "\n") {
				t.Errorf("%s: %q, status %d; want %s", c.flags, line, codeOf(err), c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.flags, err)
		}
		if cert := cfg.Cluster.GossipCurve.cert; cert != "" && !filepath.IsAbs(cert) {
			t.Errorf("%s: a daemon would not find %s", c.flags, cert)
		}
	}
}

// TestKeygenCurve: what it prints is what ReadCert reads, and what is there stays.
func TestKeygenCurve(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cert")
	var out bytes.Buffer
	app := newApp(nil, &out, nil)
	if err := app.RunContext(context.Background(), []string{"zpipes", "keygen", "--curve", file}); err != nil {
		t.Fatal(err)
	}
	public, secret, err := zgossip.ReadCert(file)
	if err != nil || out.String() != public+"\n" || !zgossip.ValidKey(secret) {
		t.Errorf("printed %q, the file has %q, %v", out.String(), public, err)
	}
	if code := runKeygen(t, "--curve", file); code != exitRefused {
		t.Errorf("a file that exists: exit status %d", code)
	}
	if again, _, err := zgossip.ReadCert(file); again != public {
		t.Errorf("a file that exists has %q, %v", again, err)
	}
}
