// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/broker/control"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

const (
	defaultName          = "local"
	defaultClientTimeout = 10 * time.Second

	// minClientTimeout leaves package broker/client, which pings an idle broker at
	// least every 3 seconds, two tries.
	minClientTimeout = 5 * time.Second
)

// serverConfig is what the flags of mount and broker say.
type serverConfig struct {
	MountPoint    string // absolute; empty: no mount
	Name          string
	Endpoints     []string // empty: the default one
	Capacity      size     // bytes
	ClientTimeout time.Duration
	AllowOther    bool
	Daemon        bool
	PidFile       string // absolute; empty: none
	LogFile       string // absolute; empty: standard error
	LogLevel      slog.Level
	Cluster       clusterConfig
}

func serverFlags() []cli.Flag {
	capacity := size(pipe.DefaultCapacity)
	return append([]cli.Flag{
		nameFlag(),
		&cli.StringSliceFlag{Name: "endpoint", Usage: "serve ZPIPES clients at `ENDPOINT`, as ZeroMQ writes them; may be repeated (default: ipc://@/zpipes/NAME)"},
		&cli.GenericFlag{Name: "capacity", Value: &capacity, Usage: "buffer `BYTES` in each pipe: 65536, 64K, 1MiB"},
		&cli.DurationFlag{Name: "client-timeout", Value: defaultClientTimeout, Usage: "drop a ZPIPES client that is silent for `TIME`"},
		&cli.BoolFlag{Name: "allow-other", Usage: "let other users use the mount, the endpoints and the control socket"},
		&cli.BoolFlag{Name: "daemon", Usage: "return when everything is ready and go on in the background"},
		&cli.StringFlag{Name: "pid-file", Usage: "write the process id to `FILE` when ready"},
		&cli.StringFlag{Name: "log-file", Usage: "log to `FILE`; SIGHUP opens it again (default: standard error; of a daemon: none)"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "log from `LEVEL` on: debug, info, warn, error"},
	}, clusterFlags()...)
}

func nameFlag() cli.Flag {
	return &cli.StringFlag{Name: "name", Value: defaultName, EnvVars: []string{"ZPIPES_NAME"}, Usage: "the broker's `NAME`, unique on this host"}
}

func newServerConfig(c *cli.Context, mountPoint string) (cfg serverConfig, err error) {
	cfg = serverConfig{
		MountPoint:    mountPoint,
		Name:          c.String("name"),
		Endpoints:     c.StringSlice("endpoint"),
		Capacity:      *c.Generic("capacity").(*size),
		ClientTimeout: c.Duration("client-timeout"),
		AllowOther:    c.Bool("allow-other"),
		Daemon:        c.Bool("daemon"),
		PidFile:       c.String("pid-file"),
		LogFile:       c.String("log-file"),
	}
	if cfg.Cluster, err = newClusterConfig(c, cfg.Name); err != nil {
		return cfg, err
	}
	// A daemon changes its working directory.
	for _, path := range []*string{&cfg.MountPoint, &cfg.PidFile, &cfg.LogFile, &cfg.Cluster.KeyFile, &cfg.Cluster.StateDir, &cfg.Cluster.GossipCurve.cert} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return cfg, &failure{op: "find the working directory", err: err}
		}
	}
	if err := cfg.LogLevel.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return cfg, usage("--log-level: %q is not one of debug, info, warn, error", c.String("log-level"))
	}
	return cfg, cfg.check()
}

func (cfg *serverConfig) check() error {
	switch {
	case cfg.Capacity < pipe.Buf:
		return usage("--capacity: a pipe buffers at least %d bytes", pipe.Buf)
	case cfg.ClientTimeout < minClientTimeout:
		return usage("--client-timeout: want %v or more", minClientTimeout)
	}
	for _, e := range cfg.Endpoints {
		// A daemon changes its working directory; clients have others anyway.
		if path, ipc := strings.CutPrefix(e, "ipc://"); ipc && path != "" && path[0] != '@' && path[0] != '/' {
			return usage("--endpoint: %s: the path is not absolute", e)
		}
	}
	if err := control.CheckName(cfg.Name); err != nil {
		return usage("--name: %w", err)
	}
	return nil
}

// oneArgument returns a command's only argument.
func oneArgument(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", usage("%s: want one %s, have %s", c.Command.Name, what, count(c.NArg()))
	}
	if c.Args().First() == "" {
		return "", usage("%s: the %s is empty", c.Command.Name, what)
	}
	return c.Args().First(), nil
}

func count(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}
