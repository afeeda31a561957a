// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

const (
	// gatherLimit is how long other hosts may take to tell of their pipes, in all.
	gatherLimit = 20 * time.Second
	// pageLimit is how long a host may take to answer once.
	pageLimit = 5 * time.Second
	// pageSize is how many bytes of pipes a host tells at a time. The links carry what
	// others write between pages.
	pageSize = 1 << 20
)

// clusterPipe is an open pipe of the cluster, or a host's part in one.
type clusterPipe struct {
	Path     control.Path `json:"path"`
	Mode     string       `json:"mode"`
	Readers  []pipe.Info  `json:"readers"` // with their host
	Writers  []pipe.Info  `json:"writers"`
	Buffered int          `json:"buffered"` // bytes written and not read; in a fanout pipe: not by the slowest reader
	Moved    uint64       `json:"moved"`    // bytes written ever
}

func (p *clusterPipe) open() bool { return len(p.Readers)+len(p.Writers) > 0 }

// add puts another host's part in. Each host counts what was written on it, so that
// the sums count each byte once.
func (p *clusterPipe) add(part clusterPipe) {
	p.Path, p.Mode = part.Path, part.Mode
	p.Readers = append(p.Readers, part.Readers...)
	p.Writers = append(p.Writers, part.Writers...)
	p.Buffered += part.Buffered
	p.Moved += part.Moved
}

// clusterPipes is what zpipes pipes shows.
type clusterPipes struct {
	Pipes   []clusterPipe `json:"pipes"`
	Missing []string      `json:"missing"` // hosts that have not told all of theirs
}

// askPipes is the question that tell answers: "pipes MOST BEHIND" asks for the pipes
// behind a path in MOST bytes, but for one pipe at least.
const askPipes = "pipes"

// pipePage answers it.
type pipePage[P any] struct {
	Pipes []P  `json:"pipes"` // clusterPipe, in the order of their paths
	More  bool `json:"more"`  // there are others behind
}

// tell answers what other brokers ask.
func (s *server) tell(question string) []byte {
	words := strings.SplitN(question, " ", 3)
	if len(words) < 3 || words[0] != askPipes {
		return nil
	}
	most, err := strconv.Atoi(words[1])
	if err != nil {
		return nil
	}
	text, err := s.ownPipes(words[2], min(most, pageSize))
	if err != nil {
		s.log.Error("pipes not told", "error", err)
	}
	return text
}

// ownPipes tells of this host's part in pipes: its ends, and what was written here.
func (s *server) ownPipes(behind string, most int) ([]byte, error) {
	page := pipePage[json.RawMessage]{Pipes: []json.RawMessage{}}
	full, size := errors.New("full"), 0
	err := s.broker.Each(behind, func(path string, a broker.Attr) error {
		p := clusterPipe{
			Path: control.Path(path), Mode: a.Mode.String(), Buffered: a.Stat.OwnBuffered, Moved: a.Own,
			Readers: s.ownEnds(a.Stat.Readers), Writers: s.ownEnds(a.Stat.Writers),
		}
		if !p.open() && p.Moved == 0 {
			return nil
		}
		text, err := json.Marshal(p)
		if size += len(text) + len(","); size > most && len(page.Pipes) > 0 {
			page.More, err = true, full
		}
		if err == nil {
			page.Pipes = append(page.Pipes, text)
		}
		return err
	})
	if err != nil && err != full {
		return nil, err
	}
	return json.Marshal(page)
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
	if p.UID != 0 && p.UID != uint32(os.Geteuid()) {
		return clusterPipes{}, fs.ErrPermission // it tells more than directories' permissions let others see
	}
	return s.allPipes(ctx, pageSize)
}

// allPipes asks all hosts, this one included, page by page.
func (s *server) allPipes(ctx context.Context, most int) (clusterPipes, error) {
	hosts := []*teller{{most: most, more: true, ask: func(_ context.Context, question string) ([]byte, error) {
		return s.tell(question), nil
	}}}
	if s.cluster != nil {
		for _, id := range s.cluster.Live() {
			if id == s.id {
				continue
			}
			hosts = append(hosts, &teller{node: id.Node, most: most, more: true, ask: func(ctx context.Context, question string) ([]byte, error) {
				ctx, cancel := context.WithTimeout(ctx, pageLimit)
				defer cancel()
				return s.cluster.Ask(ctx, id, question)
			}})
		}
	}
	limited, cancel := context.WithTimeout(ctx, gatherLimit)
	defer cancel()
	all := clusterPipes{Pipes: gather(limited, hosts), Missing: []string{}}
	for _, h := range hosts {
		switch {
		case h.err == nil:
		case h.node == "" || ctx.Err() != nil || errors.Is(h.err, pipe.ErrClosed):
			return clusterPipes{}, h.err // it is not the others' fault
		default:
			s.log.Warn("pipes not told", "peer", h.node, "error", h.err)
			all.Missing = append(all.Missing, h.node)
		}
	}
	slices.Sort(all.Missing)
	return all, nil
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
