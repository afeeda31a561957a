// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/cluster/zgossip"
)

// curve is how a gossip node encrypts what it says, and whom it says it to: the flags
// --curve-... of gossip, --gossip-curve-... of mount and broker.
type curve struct {
	prefix string   // of the flags, without "--"
	cert   string   // file of this node's key pair, or empty
	server string   // public key of the nodes that it connects to, or empty
	allow  []string // public keys of clients that may connect; none: all that know this node's
}

func curveFlags(prefix string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: prefix + "curve-cert", Usage: "this node's keys are in `FILE`, which zpipes keygen --curve or CZMQ's zcert makes: what it binds takes clients with CURVE only"},
		&cli.StringFlag{Name: prefix + "curve-server", Usage: "connect with CURVE only, to nodes that have the public `KEY` (40 characters of Z85)"},
		&cli.StringSliceFlag{Name: prefix + "curve-allow", Usage: "of the clients with CURVE take only that with the public `KEY`; may be repeated (default: all that know this node's)"},
	}
}

func newCurve(c *cli.Context, prefix string) (curve, error) {
	k := curve{
		prefix: prefix,
		cert:   c.String(prefix + "curve-cert"), server: c.String(prefix + "curve-server"), allow: c.StringSlice(prefix + "curve-allow"),
	}
	if k.server != "" && !zgossip.ValidKey(k.server) {
		return k, usage("%s: %q: %w", k.flag("curve-server"), k.server, zgossip.ErrKey)
	}
	for _, key := range k.allow {
		if !zgossip.ValidKey(key) {
			return k, usage("%s: %q: %w", k.flag("curve-allow"), key, zgossip.ErrKey)
		}
	}
	return k, nil
}

// flag is a flag as it is written.
func (k *curve) flag(name string) string { return "--" + k.prefix + name }

// on tells whether any of the flags is given.
func (k *curve) on() bool { return k.cert != "" || k.server != "" || len(k.allow) > 0 }

// config returns the shape of a node that takes those clients only.
func (k *curve) config() zgossip.Config {
	var cfg zgossip.Config
	if len(k.allow) > 0 {
		cfg.Allow = func(_, key string) bool { return slices.Contains(k.allow, key) }
	}
	return cfg
}

// setKeys gives a node its keys, for what it binds and connects from here on.
func (k *curve) setKeys(n *zgossip.Node) error {
	if k.cert == "" {
		return nil
	}
	public, secret, err := zgossip.ReadCert(k.cert)
	switch {
	case err != nil:
	case secret == "":
		err = errors.New("there is no secret key in " + k.cert)
	default:
		err = errors.Join(n.SetPublicKey(public), n.SetSecretKey(secret))
	}
	if err != nil {
		return &failure{code: exitUsage, op: k.flag("curve-cert"), err: err}
	}
	return nil
}

// checkPlain refuses flags that are about encryption together with others that would
// go round it. A node may have keys from elsewhere.
func (k *curve) checkPlain(binds, connects, keys bool) error {
	given, missing := "", ""
	switch {
	case k.cert != "" && connects && k.server == "":
		given, missing = k.flag("connect")+" with "+k.flag("curve-cert"), k.flag("curve-server")
	case k.server != "" && binds && k.cert == "" && !keys:
		given, missing = k.flag("bind")+" with "+k.flag("curve-server"), k.flag("curve-cert")
	default:
		return nil
	}
	return usage("%s: give %s, too: without, this would be in plain text", given, missing)
}

// checkUse refuses flags that are about others which are not there.
func (k *curve) checkUse(binds, connects bool) error {
	switch {
	case len(k.allow) > 0 && (k.cert == "" || !binds):
		return usage("%s: is about clients of %s with %s: give both, too", k.flag("curve-allow"), k.flag("bind"), k.flag("curve-cert"))
	case k.server != "" && !connects:
		return usage("%s: is about %s: give that, too", k.flag("curve-server"), k.flag("connect"))
	}
	return nil
}
