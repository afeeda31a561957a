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

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/control"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// gatherLimit is how long other hosts may take to tell of their pipes.
const gatherLimit = 5 * time.Second

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

// clusterPipe is an open pipe of the cluster.
type clusterPipe struct {
	Path     control.Path `json:"path"`
	Mode     string       `json:"mode"`
	Readers  []pipe.Info  `json:"readers"` // with their host
	Writers  []pipe.Info  `json:"writers"`
	Buffered int          `json:"buffered"` // bytes that no reader has taken
	Moved    uint64       `json:"moved"`    // bytes written ever
}

// clusterPipes is what zpipes pipes shows.
type clusterPipes struct {
	Pipes   []clusterPipe `json:"pipes"`
	Missing []string      `json:"missing"` // hosts that have not answered
}

// askPipes is the question that tell answers.
const askPipes = "pipes"

// tell answers what other brokers ask.
func (s *server) tell(question string) []byte {
	if question != askPipes {
		return nil
	}
	text, err := json.Marshal(s.ownPipes())
	if err != nil {
		s.log.Error("pipes not told", "error", err)
	}
	return text
}

// ownPipes are the open pipes of this host with its own ends.
func (s *server) ownPipes() (list []clusterPipe) {
	_ = s.broker.Each(func(path string, a broker.Attr) error { // it has no error of its own
		p := clusterPipe{
			Path: control.Path(path), Mode: a.Mode.String(), Buffered: a.Stat.Buffered, Moved: a.Bytes,
			Readers: s.ownEnds(a.Stat.Readers), Writers: s.ownEnds(a.Stat.Writers),
		}
		if len(p.Readers)+len(p.Writers) > 0 {
			list = append(list, p)
		}
		return nil
	})
	return list
}

// ownEnds leaves out the ends that stand for other hosts', and tells where ours are.
func (s *server) ownEnds(ends []pipe.Info) []pipe.Info {
	own := []pipe.Info{}
	for _, e := range ends {
		if e.Host == "" {
			e.Host = s.id.Node
			own = append(own, e)
		}
	}
	return own
}

// pipes serves zpipes pipes.
func (s *server) pipes(ctx context.Context, p control.Peer, _ struct{}) (clusterPipes, error) {
	all := clusterPipes{Missing: []string{}}
	if p.UID != 0 && p.UID != uint32(os.Geteuid()) {
		return all, fs.ErrPermission // it tells more than directories' permissions let others see
	}
	m := merger{byPath: make(map[control.Path]*clusterPipe)}
	m.add(s.ownPipes())
	if s.cluster != nil {
		ctx, cancel := context.WithTimeout(ctx, gatherLimit)
		defer cancel()
		answers, err := s.cluster.AskAll(ctx, askPipes)
		if err != nil {
			return all, err
		}
		for _, told := range answers {
			var theirs []clusterPipe
			if told.Err != nil || json.Unmarshal(told.Text, &theirs) != nil {
				all.Missing = append(all.Missing, told.From.Node)
				continue
			}
			m.add(theirs)
		}
	}
	all.Pipes = m.sorted()
	slices.Sort(all.Missing)
	return all, nil
}

// merger puts together what hosts tell of the same pipes. A host with readers counts
// what came to it, a host with writers what left: so the most that any host tells is
// taken, which is less than all where several hosts write.
type merger struct{ byPath map[control.Path]*clusterPipe }

func (m *merger) add(list []clusterPipe) {
	for _, p := range list {
		have := m.byPath[p.Path]
		if have == nil {
			m.byPath[p.Path] = &p
			continue
		}
		have.Readers = append(have.Readers, p.Readers...)
		have.Writers = append(have.Writers, p.Writers...)
		have.Buffered = max(have.Buffered, p.Buffered)
		have.Moved = max(have.Moved, p.Moved)
	}
}

func (m *merger) sorted() []clusterPipe {
	list := []clusterPipe{}
	for _, p := range m.byPath {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b clusterPipe) int { return cmp.Compare(a.Path, b.Path) })
	return list
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

func pipesAction(c *cli.Context) error {
	return ask(c, "pipes", func(w io.Writer, all clusterPipes) error {
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintf(t, "PIPE\tMODE\tBUFFERED\tMOVED\tREADERS\tWRITERS\n")
		for _, p := range all.Pipes {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\n", nameText(p.Path), p.Mode, p.Buffered, p.Moved, endList(p.Readers), endList(p.Writers))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		if len(all.Missing) > 0 {
			return &failure{code: exitLost, op: "pipes", err: fmt.Errorf("no answer from %s", strings.Join(all.Missing, ", "))}
		}
		return nil
	})
}

// endList shows ends as HOST:PID, or DOOR:PID on a host alone.
func endList(ends []pipe.Info) string {
	if len(ends) == 0 {
		return "-"
	}
	var list []string
	for _, e := range ends {
		list = append(list, fmt.Sprintf("%s:%d", cmp.Or(e.Host, e.Door), e.PID))
	}
	return strings.Join(list, ",")
}
