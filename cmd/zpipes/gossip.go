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
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/cluster/zgossip"
	"github.com/zpipesfs/zpipesfs/wire/zpl"
)

// gossipCommand is a node of a gossip network on the command line.
type gossipCommand struct {
	config   string // file, or empty
	curve    curve
	domain   string   // ZAP domain, or empty
	binds    []string // endpoints
	connects []string // endpoints
	publish  [][2]string
	ttl      time.Duration
	watch    bool          // print events
	status   bool          // print the number of tuples and end
	patience time.Duration // how long servers may take to answer

	in       io.Reader
	out      io.Writer
	terminal bool // in is one, or nothing: its end is not the end

	node    *zgossip.Node
	mu      sync.Mutex // guards out
	failure error      // the first command that failed
}

func gossipFlags() []cli.Flag {
	return slices.Concat([]cli.Flag{
		&cli.StringSliceFlag{Name: "bind", Usage: "serve other nodes at `ENDPOINT`: tcp://ADDRESS:PORT (* for any), ipc://PATH; may be repeated"},
		&cli.StringSliceFlag{Name: "connect", Usage: "be a neighbour of the node at `ENDPOINT`; may be repeated"},
		&cli.StringSliceFlag{Name: "publish", Usage: "publish the tuple `KEY=VALUE`; may be repeated"},
		&cli.DurationFlag{Name: "ttl", DefaultText: "never", Usage: "the network forgets what --publish told when it was not told again for `TIME`, such as 30s"},
		&cli.StringFlag{Name: "config", Usage: "load the configuration `FILE`, as CZMQ's zconfig writes it"},
	}, curveFlags(""), []cli.Flag{
		&cli.StringFlag{Name: "curve-domain", Usage: "the ZAP `DOMAIN` of what it binds"},
		&cli.BoolFlag{Name: "watch", Usage: "print a line for each tuple that is delivered"},
		&cli.BoolFlag{Name: "status", Usage: "print how many tuples there are when all servers have answered, and end"},
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Usage: "how long servers may take to answer, for --status and at the end of standard input: `TIME`"},
	})
}

func gossipAction(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("gossip: want no arguments, have %d", c.NArg())
	}
	g := &gossipCommand{
		config: c.String("config"), domain: c.String("curve-domain"),
		binds: c.StringSlice("bind"), connects: c.StringSlice("connect"), ttl: c.Duration("ttl"),
		watch: c.Bool("watch"), status: c.Bool("status"), patience: c.Duration("timeout"),
		in: c.App.Reader, out: c.App.Writer,
	}
	if f, ok := g.in.(*os.File); ok {
		info, err := f.Stat()
		g.terminal = err != nil || info.Mode()&os.ModeCharDevice != 0
	}
	var err error
	if g.curve, err = newCurve(c, ""); err != nil {
		return err
	}
	if len(g.curve.allow) > 0 && g.curve.cert == "" && g.config == "" {
		return usage("--curve-allow: give this node keys with --curve-cert, too")
	}
	if err := g.curve.checkPlain(len(g.binds) > 0, len(g.connects) > 0, g.config != ""); err != nil {
		return err
	}
	if c.IsSet("ttl") && !c.IsSet("publish") {
		return usage("--ttl: is about --publish: give that, too")
	}
	if g.patience <= 0 {
		return usage("--timeout: want more than 0")
	}
	for _, p := range c.StringSlice("publish") {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return usage("--publish: %q is not KEY=VALUE", p)
		}
		g.publish = append(g.publish, [2]string{key, value})
	}
	return g.Run(c.Context)
}

// Run carries out the flags, then commands from standard input, and ends at its end,
// or, if that is a terminal or nothing, at a signal.
func (g *gossipCommand) Run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cfg := g.curve.config()
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	var err error
	if g.node, err = zgossip.Start(cfg); err != nil {
		return &failure{op: "gossip", err: err}
	}
	err = g.open()
	if err == nil && g.status {
		err = g.tellStatus(ctx)
	} else if err == nil {
		err = g.serve(ctx)
	}
	if err := errors.Join(err, g.node.Close()); err != nil {
		return gossipFailure("gossip", err)
	}
	return nil
}

// gossipFailure is an error of a node with the status that it makes.
func gossipFailure(op string, err error) error {
	f := &failure{op: op, err: err}
	var inner *failure
	var line *zpl.LineError
	switch {
	case errors.As(err, &inner):
		f.code = inner.code
	case errors.Is(err, zgossip.ErrInUse):
		f.code = exitInUse
	case errors.Is(err, zgossip.ErrUnsynced):
		f.code = exitTimeout
	case errors.As(err, &line), slices.ContainsFunc(gossipUsage, func(wrong error) bool { return errors.Is(err, wrong) }):
		f.code = exitUsage
	}
	return f
}

// gossipUsage are the errors of a command line, or of a command, that is wrong.
var gossipUsage = []error{
	zgossip.ErrEndpoint, zgossip.ErrKey, zgossip.ErrTTL, zgossip.ErrTuple, zgossip.ErrConfig, zgossip.ErrConnected,
	zpl.ErrName, zpl.ErrValue, errCommand, os.ErrNotExist, // of a file that was named
}

// open does what the flags say, security first: it holds for what comes after.
func (g *gossipCommand) open() error {
	if g.config != "" {
		if err := g.node.Load(g.config); err != nil {
			return err
		}
	}
	if g.domain != "" {
		if err := g.node.SetZAPDomain(g.domain); err != nil {
			return err
		}
	}
	if err := g.curve.setKeys(g.node); err != nil {
		return err
	}
	for _, endpoint := range g.binds {
		bound, err := g.node.Bind(endpoint)
		if err != nil {
			return err
		}
		if bound != endpoint {
			g.print("BOUND", bound)
		}
	}
	for _, t := range g.publish {
		if err := g.node.Publish(t[0], t[1], g.ttl); err != nil {
			return err
		}
	}
	for _, endpoint := range g.connects {
		if err := g.node.Connect(endpoint, g.curve.server); err != nil {
			return err
		}
	}
	return nil
}

func (g *gossipCommand) tellStatus(ctx context.Context) error {
	if err := g.settle(ctx); err != nil {
		return err
	}
	return g.command(ctx, "STATUS")
}

// settle waits until the servers have told and heard everything.
func (g *gossipCommand) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	return g.node.Settle(ctx)
}

// serve prints events and carries out commands until the end.
func (g *gossipCommand) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	if g.watch {
		watching.Go(func() { g.watchEvents(ctx) })
	}
	defer watching.Wait()
	defer cancel()
	lines, broken := make(chan string), make(chan error, 1)
	go g.readLines(ctx, lines, broken) // a read of standard input cannot be ended: it goes with the process
	for {
		select {
		case <-ctx.Done():
			return g.failure
		case <-g.node.Done():
			return errors.New("the node has ended")
		case line, more := <-lines:
			if !more {
				g.fail(<-broken)
				if !g.terminal {
					// What was published is not to be lost with this process.
					return errors.Join(g.failure, g.settle(ctx))
				}
				lines = nil
				continue
			}
			if err := g.command(ctx, line); errors.Is(err, errQuit) {
				return g.failure
			} else {
				g.fail(err)
			}
		}
	}
}

// fail tells of a command that failed, and keeps the first for the end.
func (g *gossipCommand) fail(err error) {
	if err == nil {
		return
	}
	g.print("ERROR", errorLine(err))
	if g.failure == nil {
		g.failure = err
	}
}

// maxLine is how long a line of standard input may be: the longest tuple, with escapes.
const maxLine = 4 << 20

// readLines sends the lines of standard input, and at its end why it ended.
func (g *gossipCommand) readLines(ctx context.Context, lines chan<- string, broken chan<- error) {
	defer close(lines)
	in := bufio.NewScanner(g.in)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		select {
		case lines <- in.Text():
		case <-ctx.Done():
			return
		}
	}
	err := in.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = usage("standard input ends here: its next line is longer than %d bytes", maxLine)
	} else if err != nil {
		err = fmt.Errorf("standard input ends here: %w", err)
	}
	broken <- err
}

func (g *gossipCommand) watchEvents(ctx context.Context) {
	for {
		e, err := g.node.Next(ctx)
		if err != nil {
			return
		}
		value := e.Value // the rest of the line: it may have spaces
		if value == "" || value[0] == '"' || strings.IndexFunc(value, func(r rune) bool { return !strconv.IsPrint(r) }) >= 0 {
			value = strconv.Quote(value)
		}
		g.print(e.Kind.String(), word(e.Key), value)
	}
}

// print writes a line; scripts read it at once.
func (g *gossipCommand) print(words ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = fmt.Fprintln(g.out, strings.Join(words, " "))
}

// word writes a text as one that command reads: in quotes if it has to be.
func word(text string) string {
	if text != "" && text[0] != '"' && strings.IndexFunc(text, func(r rune) bool { return r == ' ' || !strconv.IsPrint(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}
