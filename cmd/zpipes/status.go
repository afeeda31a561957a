// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zpipesfs/zpipesfs/broker/control"
)

// clusterStatus is what zpipes status shows.
type clusterStatus struct {
	Name        string       `json:"name"`
	Node        string       `json:"node,omitempty"` // empty: a host alone
	Boot        string       `json:"boot,omitempty"`
	PID         int          `json:"pid"`
	Version     string       `json:"version"`
	Endpoints   []string     `json:"endpoints"`
	MountPoint  string       `json:"mountpoint,omitempty"`
	Member      string       `json:"member,omitempty"` // where membership listens
	Link        string       `json:"link,omitempty"`   // where peers connect
	Encrypted   bool         `json:"encrypted"`
	Names       int          `json:"names"`
	Buffered    int          `json:"buffered"`
	PeerBrokers []peerStatus `json:"peers"`
}

type peerStatus struct {
	Node     string        `json:"node"`
	Boot     string        `json:"boot"`
	Link     string        `json:"link"`
	State    string        `json:"state"` // "up", or "waiting": alive, but its link does not stand
	RTT      time.Duration `json:"rtt_ns"`
	BytesIn  uint64        `json:"bytes_in"`
	BytesOut uint64        `json:"bytes_out"`
	Resent   uint64        `json:"resent"` // messages sent again
	Queued   int           `json:"queued"` // bytes
}

// status serves zpipes status.
func (s *server) status(context.Context, control.Peer, struct{}) (clusterStatus, error) {
	u := s.broker.Usage()
	st := clusterStatus{
		Name: s.cfg.Name, PID: os.Getpid(), Version: version(), Endpoints: s.service.Endpoints(), MountPoint: s.cfg.MountPoint,
		Names: u.Names, Buffered: u.Buffered, PeerBrokers: []peerStatus{},
	}
	if s.cluster == nil {
		return st, nil
	}
	st.Node, st.Boot = s.id.Node, strconv.FormatUint(s.id.Boot, 16)
	st.Member, st.Link, st.Encrypted = s.member.Self().Addr, s.links.Endpoint(), s.key != nil
	for _, p := range s.cluster.Peers() {
		state := "up"
		if !p.Standing {
			state = "waiting"
		}
		st.PeerBrokers = append(st.PeerBrokers, peerStatus{
			Node: p.Node, Boot: strconv.FormatUint(p.Boot, 16), Link: p.Endpoint, State: state, RTT: p.RTT,
			BytesIn: p.BytesIn, BytesOut: p.BytesOut, Resent: p.Resent, Queued: p.Queued,
		})
	}
	slices.SortFunc(st.PeerBrokers, func(a, b peerStatus) int { return cmp.Compare(a.Node, b.Node) })
	return st, nil
}

// sync waits for cluster.Sync.
func (s *server) sync(ctx context.Context, p control.Peer, _ struct{}) (done struct{}, err error) {
	switch {
	case p.UID != 0 && p.UID != uint32(os.Geteuid()):
		return done, fs.ErrPermission // it makes work on all hosts
	case s.cluster == nil:
		return done, nil
	}
	return done, s.cluster.Sync(ctx)
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print it as JSON"} }

// ask calls an operation of the broker that --name means, and prints the answer.
func ask[T any](c *cli.Context, operation string, print func(io.Writer, T) error) error {
	if c.NArg() > 0 {
		return usage("%s: want no arguments, have %d", operation, c.NArg())
	}
	client, err := controlOf(c)
	if err != nil {
		return err
	}
	answer, err := control.Call[T](c.Context, client, operation, nil)
	if err != nil {
		return &failure{op: operation, err: err}
	}
	if c.Bool("json") {
		e := json.NewEncoder(c.App.Writer)
		e.SetIndent("", "  ")
		return e.Encode(answer)
	}
	return print(c.App.Writer, answer)
}

func statusAction(c *cli.Context) error {
	return ask(c, "status", func(w io.Writer, s clusterStatus) error {
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintf(t, "broker\t%s, process %d, version %s\n", s.Name, s.PID, s.Version)
		fmt.Fprintf(t, "mount\t%s\n", cmp.Or(s.MountPoint, "none"))
		fmt.Fprintf(t, "clients\t%s\n", strings.Join(s.Endpoints, " "))
		fmt.Fprintf(t, "names\t%d, %d bytes buffered\n", s.Names, s.Buffered)
		if s.Node == "" {
			fmt.Fprintf(t, "cluster\tnone: this host is alone\n")
			return t.Flush()
		}
		how := "plain text"
		if s.Encrypted {
			how = "encrypted"
		}
		fmt.Fprintf(t, "node\t%s, member at %s, links at %s, %s\n", s.Node, s.Member, s.Link, how)
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintf(t, "\nPEER\tSTATE\tRTT\tBYTES IN\tBYTES OUT\tQUEUED\tRESENT\tLINK\n")
		for _, p := range s.PeerBrokers {
			fmt.Fprintf(t, "%s\t%s\t%v\t%d\t%d\t%d\t%d\t%s\n", p.Node, p.State, p.RTT.Round(time.Microsecond), p.BytesIn, p.BytesOut, p.Queued, p.Resent, p.Link)
		}
		return t.Flush()
	})
}
