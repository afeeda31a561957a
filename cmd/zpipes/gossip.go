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
	lines := make(chan string)
	go g.readLines(ctx, lines) // a read of standard input cannot be ended: it goes with the process
	for {
		select {
		case <-ctx.Done():
			return g.failure
		case <-g.node.Done():
			return errors.New("the node has ended")
		case line, more := <-lines:
			if !more {
				if !g.terminal {
					// What was published is not to be lost with this process.
					return errors.Join(g.failure, g.settle(ctx))
				}
				lines = nil
				continue
			}
			if err := g.command(ctx, line); errors.Is(err, errQuit) {
				return g.failure
			} else if err != nil {
				g.print("ERROR", errorLine(err))
				if g.failure == nil {
					g.failure = err
				}
			}
		}
	}
}

func (g *gossipCommand) readLines(ctx context.Context, lines chan<- string) {
	defer close(lines)
	in := bufio.NewScanner(g.in)
	in.Buffer(nil, 2<<20)
	for in.Scan() {
		select {
		case lines <- in.Text():
		case <-ctx.Done():
			return
		}
	}
	if err := in.Err(); err != nil {
		g.print("ERROR", "standard input ends here:", err.Error())
	}
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

var (
	errQuit    = errors.New("quit")
	errCommand = errors.New("not a command")
)

// gossipCommands is what --help says of standard input.
const gossipCommands = `Commands on standard input:
BIND ENDPOINT              serve other nodes; PORT tells which port * became
PORT                       print PORT and the last TCP port that was bound
CONNECT ENDPOINT [KEY]     be a neighbour, with CURVE if there is a public KEY (default: --curve-server)
PUBLISH KEY VALUE [TTL]    tell the network a tuple; TTL is a time such as 30s
UNPUBLISH KEY              forget a tuple here
STATUS                     print STATUS and the number of tuples
SETTLE                     wait until all servers have told and heard everything
LOAD FILE                  read a configuration file (zconfig) and do what it says
SET PATH VALUE             set a value of the configuration, such as server/timeout 5000
SAVE FILE                  write the configuration
VERBOSE                    log more
SET PUBLICKEY KEY          }
SET SECRETKEY KEY          } of this node, for what is bound and connected afterwards
ZAP DOMAIN DOMAIN          }
$TERM                      end
Words with spaces stand in double quotes. A command that fails prints ERROR and why. At the end
of standard input it settles and ends; if that is a terminal or /dev/null, at a signal.`

const gossipHelp = "want BIND, PORT, CONNECT, PUBLISH, UNPUBLISH, STATUS, SETTLE, LOAD, SET, SAVE, VERBOSE, ZAP DOMAIN, SET PUBLICKEY, SET SECRETKEY or $TERM, with their words: see zpipes gossip --help"

// command carries out a line of standard input: zgossip's commands, in words
// between spaces.
func (g *gossipCommand) command(ctx context.Context, line string) error {
	w, err := words(line)
	if err != nil || len(w) == 0 || strings.HasPrefix(w[0], "#") {
		return err
	}
	n := g.node
	switch op := strings.ToUpper(w[0]); {
	case op == "$TERM" && len(w) == 1:
		return errQuit
	case op == "VERBOSE" && len(w) == 1:
		return n.SetVerbose()
	case op == "BIND" && len(w) == 2:
		_, err := n.Bind(w[1])
		return err
	case op == "PORT" && len(w) == 1:
		port, err := n.Port()
		if err == nil {
			g.print("PORT", fmt.Sprint(port))
		}
		return err
	case op == "STATUS" && len(w) == 1:
		tuples, err := n.Status()
		if err == nil {
			g.print("STATUS", fmt.Sprint(tuples))
		}
		return err
	case op == "CONNECT" && (len(w) == 2 || len(w) == 3):
		return n.Connect(w[1], append(w, g.curve.server)[2])
	case op == "PUBLISH" && (len(w) == 3 || len(w) == 4):
		return g.commandPublish(w)
	case op == "UNPUBLISH" && len(w) == 2:
		return n.Unpublish(w[1])
	case op == "SETTLE" && len(w) == 1:
		return g.settle(ctx)
	case op == "LOAD" && len(w) == 2:
		return n.Load(w[1])
	case op == "SAVE" && len(w) == 2:
		return n.Save(w[1])
	case op == "ZAP" && len(w) == 3 && strings.EqualFold(w[1], "DOMAIN"):
		return n.SetZAPDomain(w[2])
	case op == "SET" && len(w) == 3:
		return g.commandSet(w[1], w[2])
	}
	return fmt.Errorf("%.20q: %w: %s", w[0], errCommand, gossipHelp) // not the rest: it may be a secret key
}

func (g *gossipCommand) commandPublish(w []string) error {
	var ttl time.Duration
	if len(w) == 4 {
		var err error
		if ttl, err = time.ParseDuration(w[3]); err != nil {
			return fmt.Errorf("PUBLISH: ttl %q: %w: want a time such as 30s", w[3], errCommand)
		}
	}
	return g.node.Publish(w[1], w[2], ttl)
}

func (g *gossipCommand) commandSet(path, value string) error {
	switch strings.ToUpper(path) {
	case "PUBLICKEY":
		return g.node.SetPublicKey(value)
	case "SECRETKEY":
		return g.node.SetSecretKey(value)
	}
	return g.node.Set(path, value)
}

// words splits a line at spaces; a word in double quotes, with Go's escapes, may
// have some.
func words(line string) (list []string, err error) {
	for rest := strings.TrimLeft(line, " \t"); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if rest[0] != '"' {
			i := strings.IndexAny(rest+" ", " \t")
			list, rest = append(list, rest[:i]), rest[i:]
			continue
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: a quoted word is wrong, or not closed", errCommand)
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("%w: a quoted word is wrong", errCommand)
		}
		list, rest = append(list, text), rest[len(quoted):]
		if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return nil, fmt.Errorf("%w: want a space behind a quoted word", errCommand)
		}
	}
	return list, nil
}
