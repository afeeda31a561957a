// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/client"
	"github.com/zpipesfs/zpipesfs/broker/control"
	"github.com/zpipesfs/zpipesfs/broker/service"
)

const (
	blockSize   = 1 << 20 // bytes in one step of a writer's copy
	timedBlock  = 64 << 10
	chunkWindow = 16        // chunks under way: the broker takes them while standard input is read
	readBlock   = 256 << 10 // what a reader takes before it is out again: other readers want some, too
	forever     = 100 * 365 * 24 * time.Hour
)

// stream is what zpipes read and zpipes write share.
//
// Neither catches signals. The broker sees the connection end with the process
// and closes the end then.
type stream struct {
	endpoint string
	name     string        // the pipe's
	timeout  time.Duration // of one step, a read or a block's write; 0: none
}

func streamFlags() []cli.Flag {
	return []cli.Flag{
		nameFlag(),
		&cli.StringFlag{Name: "endpoint", EnvVars: []string{"ZPIPES_ENDPOINT"}, Usage: "the broker's `ENDPOINT`, in the place of its name (default: ipc://@/zpipes/NAME)"},
		&cli.DurationFlag{Name: "timeout", Usage: "fail when nothing comes, or a block is not taken, for `TIME` (default: wait as long as it takes)"},
	}
}

func newStream(c *cli.Context) (stream, error) {
	s := stream{endpoint: c.String("endpoint"), timeout: c.Duration("timeout")}
	if s.timeout < 0 {
		return s, usage("--timeout: want no less than 0")
	}
	if s.endpoint == "" {
		if err := control.CheckName(c.String("name")); err != nil {
			return s, usage("--name: %w", err)
		}
		s.endpoint = service.DefaultEndpoint(c.String("name"))
	}
	var err error
	if s.name, err = oneArgument(c, "pipe's name"); err != nil {
		return s, err
	}
	if err := broker.CheckName(s.name); err != nil {
		return s, &failure{op: fmt.Sprintf("%s %q", c.Command.Name, s.name), err: err}
	}
	return s, nil
}

// probe tells at once that nobody serves a local endpoint; ZeroMQ would go on
// trying.
func (s *stream) probe(ctx context.Context) error {
	path, local := strings.CutPrefix(s.endpoint, "ipc://")
	if !local {
		return nil
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return c.Close()
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%w at %s", control.ErrNoBroker, s.endpoint)
	case errors.Is(err, syscall.EACCES):
		return err
	}
	return nil // let the client find out
}

// pace is how a writer sends. With a timeout each block waits for its answer, so
// that it is known which was not taken in time. Without one, the broker takes
// blocks while the next are read, and Close waits for the last.
func (s *stream) pace() (block int, opts []client.Option) {
	if s.timeout > 0 {
		return timedBlock, nil
	}
	return blockSize, []client.Option{client.Window(chunkWindow), client.CloseTimeout(forever)}
}

// extend gives the next step its time.
func (s *stream) extend(set func(time.Time) error) error {
	if s.timeout == 0 {
		return nil
	}
	return set(time.Now().Add(s.timeout))
}

// openFailure is the failure of an open.
func (s *stream) openFailure(op string, err error) error {
	f := &failure{op: op + " " + s.name, err: err}
	if errors.Is(err, client.ErrBrokerGone) {
		f.code = exitNoBroker
	} else if errors.Is(err, client.ErrRefused) {
		f.code, f.cure = exitRefused, "an exclusive pipe has one reader and one writer at a time"
		var refused *client.RefusedError
		if errors.As(err, &refused) && refused.Reason != "" {
			f.err, f.cure = errors.New(refused.Reason), ""
		}
	}
	return f
}

// moveFailure is the failure of a read or write.
func (s *stream) moveFailure(op string, err error) error {
	f := &failure{code: exitLost, op: op + " " + s.name, err: err}
	var refused *client.RefusedError
	if errors.Is(err, client.ErrTimeout) {
		f.code, f.err = exitTimeout, fmt.Errorf("nothing moved for %v", s.timeout)
	} else if errors.As(err, &refused) && refused.Reason != "" {
		f.err = errors.New(refused.Reason)
	}
	return f
}

// readCommand copies a pipe to standard output.
type readCommand struct {
	stream
	out io.Writer
}

func readAction(c *cli.Context) error {
	s, err := newStream(c)
	if err != nil {
		return err
	}
	return (&readCommand{s, c.App.Writer}).Run(c.Context)
}

// Run copies until the writer has closed and all was read.
func (cmd *readCommand) Run(ctx context.Context) error {
	if err := cmd.probe(ctx); err != nil {
		return cmd.openFailure("read", err)
	}
	r, err := client.OpenReader(ctx, cmd.endpoint, cmd.name, client.ReadAhead(readBlock))
	if err != nil {
		return cmd.openFailure("read", err)
	}
	defer r.Close() // a reader has nothing to lose by how that goes
	block := make([]byte, readBlock)
	for {
		if err := cmd.extend(r.SetReadDeadline); err != nil {
			return cmd.moveFailure("read", err)
		}
		n, err := r.Read(block)
		if _, err := cmd.out.Write(block[:n]); err != nil {
			return &failure{code: exitFailure, op: "read " + cmd.name, err: err}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return cmd.moveFailure("read", err)
		}
	}
}

// writeCommand copies standard input to a pipe.
type writeCommand struct {
	stream
	in io.Reader
}

func writeAction(c *cli.Context) error {
	s, err := newStream(c)
	if err != nil {
		return err
	}
	return (&writeCommand{s, c.App.Reader}).Run(c.Context)
}

// Run copies all of the input. It succeeds when the pipe has taken every byte.
func (cmd *writeCommand) Run(ctx context.Context) error {
	if err := cmd.probe(ctx); err != nil {
		return cmd.openFailure("write", err)
	}
	size, opts := cmd.pace()
	w, err := client.OpenWriter(ctx, cmd.endpoint, cmd.name, opts...)
	if err != nil {
		return cmd.openFailure("write", err)
	}
	if err := cmd.copy(w, make([]byte, size)); err != nil {
		w.Close() // the first error is the one to tell
		return err
	}
	if err := w.Close(); err != nil {
		return cmd.moveFailure("write", err)
	}
	return nil
}

func (cmd *writeCommand) copy(w *client.Writer, block []byte) error {
	for {
		n, err := cmd.in.Read(block)
		if n > 0 {
			if err := cmd.extend(w.SetWriteDeadline); err != nil {
				return cmd.moveFailure("write", err)
			}
			if _, err := w.Write(block[:n]); err != nil {
				return cmd.moveFailure("write", err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &failure{code: exitFailure, op: "write " + cmd.name, err: err}
		}
	}
}
