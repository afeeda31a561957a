// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Network is the hosts that scripts/lab makes: network namespaces on this
// machine, each with a mount of its own.
type Network struct {
	Name   string // of its namespaces' names the first part
	Dir    string // made by Up, removed by Down
	Binary string // zpipes

	script string
	guard  *exec.Cmd
	leash  io.Closer // closed, the guard takes the network down
}

// NewNetwork has no hosts yet. The folder must not exist.
func NewNetwork(name, dir, binary string) (*Network, error) {
	root, err := moduleRoot()
	return &Network{Name: name, Dir: dir, Binary: binary, script: filepath.Join(root, "scripts", "lab")}, err
}

// moduleRoot is the nearest folder above the working directory that has a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find scripts/lab: no go.mod above the working directory")
		}
	}
}

// Up makes n hosts; args follow the number on the command line of scripts/lab.
// Whatever becomes of this process, the network goes with it.
func (n *Network) Up(ctx context.Context, hosts int, args ...string) error {
	n.guard = n.command(context.WithoutCancel(ctx), "down")
	n.guard.Args = append([]string{"sh", "-c", `cat && exec "$0" "$@"`}, n.guard.Args...)
	n.guard.Path = "/bin/sh"
	var said strings.Builder
	n.guard.Stdout, n.guard.Stderr = &said, &said
	var err error
	if n.leash, err = n.guard.StdinPipe(); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := n.guard.Start(); err != nil {
		return fmt.Errorf("lab: start the guard: %w", err)
	}
	_, err = n.Call(ctx, append([]string{"up", strconv.Itoa(hosts)}, args...)...)
	return err
}

// Down removes all that there is of the network. What it says of trouble on
// the way is the error.
func (n *Network) Down() error {
	if n.leash == nil {
		return nil
	}
	// The guard waits for the pipe's end and for nothing else.
	_ = n.leash.Close()
	n.leash = nil
	err := n.guard.Wait()
	if said := n.guard.Stderr.(*strings.Builder).String(); said != "" {
		err = errors.Join(err, errors.New(strings.TrimSpace(said)))
	}
	return errors.Join(err, n.leftovers())
}

// Call runs a command of scripts/lab and returns what it prints; what it
// complains of is the error.
func (n *Network) Call(ctx context.Context, args ...string) (string, error) {
	cmd := n.command(ctx, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("lab %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}

// Exec is a command on a host, to be started by the caller. When ctx ends it is
// killed with all that it has started.
func (n *Network) Exec(ctx context.Context, host int, args ...string) *exec.Cmd {
	return n.command(ctx, append([]string{"exec", strconv.Itoa(host)}, args...)...)
}

func (n *Network) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, n.script, args...)
	cmd.Env = append(os.Environ(), n.env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (n *Network) env() []string {
	return []string{"ZPIPES=" + n.Binary, "ZPIPES_LAB=" + n.Name, "ZPIPES_LAB_DIR=" + n.Dir}
}

// leftovers names what is left of a network that is down.
func (n *Network) leftovers() error {
	var errs []error
	for _, ns := range namespaces(n.Name + "-") {
		errs = append(errs, fmt.Errorf("namespace left behind: %s", ns))
	}
	for _, m := range mountsBelow(n.Dir) {
		errs = append(errs, fmt.Errorf("mount left behind: %s", m.dir))
	}
	if _, err := os.Stat(n.Dir); err == nil {
		errs = append(errs, fmt.Errorf("folder left behind: %s", n.Dir))
	}
	return errors.Join(errs...)
}

// namespaces lists the network namespaces whose name begins with prefix.
func namespaces(prefix string) []string {
	paths, _ := filepath.Glob("/run/netns/" + prefix + "*")
	for i, path := range paths {
		paths[i] = filepath.Base(path)
	}
	return paths
}
