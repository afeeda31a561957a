// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Command sim runs clusters of many brokers in one process, on networks in memory,
// and prints what a cluster costs as it grows. The brokers are the real ones, with
// real membership and real sessions; packets take no time, so the times are those
// of the program.
//
//	go run ./integration/sim [BROKERS...]
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/cluster/member"
)

func main() {
	sizes := []int{3, 10, 50, 200}
	if args := os.Args[1:]; len(args) > 0 {
		sizes = nil
		for _, a := range args {
			n, err := strconv.Atoi(a)
			if err != nil || n < 3 {
				fmt.Fprintf(os.Stderr, "sim: %s: want a number of brokers, 3 or more\n", a)
				os.Exit(2)
			}
			sizes = append(sizes, n)
		}
	}
	fmt.Println("| brokers | messages a new pipe | messages an open | open, median | join seen by all | kill seen by all | background bytes/s a broker |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- |")
	for _, n := range sizes {
		c, err := measure(member.LAN, n, 200, 5*time.Second)
		if err != nil {
			fmt.Fprintln(os.Stderr, "sim:", err)
			os.Exit(1)
		}
		fmt.Println(c)
	}
}

// costs is what a cluster costs.
type costs struct {
	brokers    int
	newPipe    float64       // messages to make a pipe and open both its ends on two hosts
	open       float64       // messages to open and close one more end
	openTime   time.Duration // median
	join, kill time.Duration // until every broker's view is right
	background float64       // bytes a second that each broker sends while nothing happens
}

func (c costs) String() string {
	return fmt.Sprintf("| %d | %.2f | %.2f | %v | %v | %v | %.0f |", c.brokers, c.newPipe, c.open,
		c.openTime.Round(time.Microsecond), c.join.Round(time.Millisecond), c.kill.Round(10*time.Millisecond), c.background)
}

// measure runs a cluster of n brokers, makes pipes in it, and watches it idle.
func measure(profile member.Profile, n, pipes int, idle time.Duration) (c costs, err error) {
	w, err := newWorld(profile, n)
	if err != nil {
		return c, err
	}
	defer w.close()
	c.brokers = n
	if _, err := w.converged(n); err != nil {
		return c, fmt.Errorf("%d brokers find each other: %w", n, err)
	}
	if err := w.standing(); err != nil {
		return c, fmt.Errorf("links of %d brokers: %w", n, err)
	}
	messages := w.messages()
	c.background = w.background(idle)
	w.chatter = float64(w.messages()-messages) / idle.Seconds()
	if err := w.opens(&c, pipes); err != nil {
		return c, err
	}
	if err := w.add(); err != nil {
		return c, err
	}
	if c.join, err = w.converged(n + 1); err != nil {
		return c, fmt.Errorf("a join: %w", err)
	}
	last := w.hosts[n]
	w.hosts = w.hosts[:n]
	last.kill()
	if c.kill, err = w.converged(n); err != nil {
		return c, fmt.Errorf("a kill: %w", err)
	}
	return c, nil
}

// standing waits until every session stands.
func (w *world) standing() error {
	return until(func() bool {
		for _, h := range w.hosts {
			for _, p := range h.links.Stats() {
				if !p.Standing {
					return false
				}
			}
		}
		return true
	})
}

// background returns the bytes a second that a broker sends while nothing happens.
func (w *world) background(idle time.Duration) float64 {
	before := w.bytes()
	<-time.After(idle) // what is measured is what happens in that time
	return float64(w.bytes()-before) / idle.Seconds() / float64(len(w.hosts))
}

func (w *world) bytes() (sum uint64) {
	for _, h := range w.hosts {
		_, b := w.gossip.Sent(h.member.Self().Addr)
		sum += uint64(b)
	}
	for _, t := range w.net.Traffic() {
		sum += t.Bytes
	}
	return sum
}

func (w *world) messages() (sum uint64) {
	for _, t := range w.net.Traffic() {
		sum += t.Messages
	}
	return sum
}

// count runs f, waits until what it began is over, and returns how many messages that
// cost, without those that are sent all the time.
func (w *world) count(f func() error) (float64, error) {
	before, begun := w.messages(), time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	<-time.After(100 * time.Millisecond) // credits and farewells follow within milliseconds
	return max(0, float64(w.messages()-before)-w.chatter*time.Since(begun).Seconds()), nil
}

// opens makes pipes, each with a reader and a writer on two hosts, and then opens
// and closes one more reader of each on a third.
func (w *world) opens(c *costs, pipes int) error {
	var times []time.Duration
	names := make([]string, pipes)
	var ends []*pipe.OpenOp
	made, err := w.count(func() error {
		return w.makeAll(names, &ends, &times)
	})
	if err != nil {
		return err
	}
	c.newPipe = made / float64(pipes)
	opened, err := w.count(func() error { return w.openAll(names) })
	if err != nil {
		return err
	}
	c.open = opened / float64(pipes)
	slices.Sort(times)
	c.openTime = times[len(times)/2]
	for _, op := range ends {
		if op.Reader != nil {
			op.Reader.Close()
		} else {
			op.Writer.Close()
		}
	}
	return nil
}

// makeAll makes pipes and opens both ends of each.
func (w *world) makeAll(names []string, ends *[]*pipe.OpenOp, times *[]time.Duration) error {
	for i := range names {
		names[i] = fmt.Sprint("pipe-", i)
		a, b := w.hosts[i%len(w.hosts)], w.hosts[(i*7+1)%len(w.hosts)]
		if a == b {
			b = w.hosts[(i+1)%len(w.hosts)]
		}
		if _, err := a.broker.Mkpipe(context.Background(), a.broker.Root(), names[i], broker.Owner{Perm: 0o666}, pipe.Fifo); err != nil {
			return err
		}
		for _, h := range []*host{a, b} {
			n, err := h.node(names[i])
			if err != nil {
				return err
			}
			start := time.Now()
			op, err := h.open(n, h == b)
			if err != nil {
				return fmt.Errorf("open %s on %v: %w", names[i], h.id, err)
			}
			*times = append(*times, time.Since(start))
			*ends = append(*ends, op)
		}
	}
	return nil
}

// openAll opens and closes one more reader of each.
func (w *world) openAll(names []string) error {
	for i, name := range names {
		h := w.hosts[(i*11+2)%len(w.hosts)]
		n, err := h.node(name)
		if err != nil {
			return err
		}
		op, err := h.open(n, false)
		if err != nil {
			return err
		}
		op.Reader.Close()
	}
	return nil
}

// node finds a pipe by name, on other hosts if need be.
func (h *host) node(name string) (*broker.Node, error) {
	n, err := h.broker.Lookup(context.Background(), h.broker.Root(), name)
	if err != nil {
		return nil, fmt.Errorf("%v: %s: %w", h.id, name, err)
	}
	return n, nil
}
