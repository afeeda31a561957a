// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

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
SET PUBLICKEY KEY          for what is bound and connected afterwards
SET SECRETKEY KEY          as above: what is bound takes clients with CURVE only
ZAP DOMAIN DOMAIN          of what is bound afterwards
$TERM                      end
Words with spaces stand in double quotes. A command that fails prints ERROR and why. At the end
of standard input it settles and ends; if that is a terminal or /dev/null, at a signal.`

// formsOf returns how a command is written, or all of them if there is none of that name.
func formsOf(name string) string {
	var names, forms []string
	for line := range strings.Lines(gossipCommands) {
		form, _, ok := strings.Cut(line, "  ")
		if !ok {
			continue
		}
		op, _, _ := strings.Cut(form, " ")
		if op == name {
			forms = append(forms, form)
		}
		if !slices.Contains(names, op) {
			names = append(names, op)
		}
	}
	if len(forms) > 0 {
		return strings.Join(forms, " or ")
	}
	return "one of " + strings.Join(names, ", ") + ": see zpipes gossip --help"
}

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
	return fmt.Errorf("%.20q: %w: want %s", w[0], errCommand, formsOf(strings.ToUpper(w[0]))) // not the rest: it may be a secret key
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
