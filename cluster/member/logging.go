// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"context"
	"log"
	"log/slog"
	"net"
	"strings"
)

// reporter tells a person what keeps brokers apart, each thing now and then.
type reporter struct {
	log   *slog.Logger
	limit limiter
}

// refused tells that a broker is kept out. addr is the other's, "ip:port".
func (r *reporter) refused(addr string, err error) {
	host, _, splitErr := net.SplitHostPort(addr)
	if splitErr != nil {
		host = addr
	}
	r.warn("refused "+host+" "+err.Error(), err.Error(), "addr", addr)
}

// unreachable tells that nobody could be joined at an address of --join.
func (r *reporter) unreachable(seed string, err error) {
	r.warn(unreachableMatter(seed), "cannot join through this address, trying on", "addr", seed, "err", err)
}

// reachable makes that the next failure at seed is told at once.
func (r *reporter) reachable(seed string) { r.limit.reset(unreachableMatter(seed)) }

func unreachableMatter(seed string) string { return "unreachable " + seed }

func (r *reporter) warn(about, msg string, attrs ...any) {
	if withheld, ok := r.limit.allow(about); ok {
		if withheld > 0 {
			attrs = append(attrs, "repeated", withheld)
		}
		r.log.Warn(msg, attrs...)
	}
}

// conflict tells that two live brokers have one name.
func (r *reporter) conflict(node, addr, other string) {
	if _, ok := r.limit.allow("conflict " + node); ok {
		r.log.Error("two brokers have the same node name: give one of them another with --node; one that was killed and has moved is let in when its failure has been noticed",
			"node", node, "addr", addr, "other", other)
	}
}

// library returns the log for serf and memberlist.
func (r *reporter) library() *log.Logger { return log.New(&librarySink{r}, "", 0) }

// librarySink takes what serf and memberlist log, lines as "[WARN] serf: text",
// and passes it on, one level lower: they go on by themselves after all that they
// tell of, and what a person should know is told by this package.
type librarySink struct{ report *reporter }

// Write never fails.
func (s *librarySink) Write(p []byte) (int, error) {
	level, component, text := parseLine(string(p))
	if strings.Contains(text, errRefused.Error()) {
		level = slog.LevelDebug // was told by a line of our own
	}
	log := s.report.log
	if !log.Enabled(context.Background(), level) {
		return len(p), nil
	}
	if level > slog.LevelDebug {
		withheld, ok := s.report.limit.allow(component + shape(text))
		if !ok {
			return len(p), nil
		}
		if withheld > 0 {
			log = log.With("repeated", withheld)
		}
	}
	log.Log(context.Background(), level, text, "from", component)
	return len(p), nil
}

// lineMost is how many bytes of a library's line are logged: memberlist writes
// whole metadata out as numbers.
const lineMost = 250

// parseLine takes a library's line apart.
func parseLine(line string) (level slog.Level, component, text string) {
	line = strings.TrimSpace(line)
	mark := ""
	if strings.HasPrefix(line, "[") {
		if end := strings.IndexByte(line, ']'); end > 0 {
			mark, line = line[1:end], strings.TrimSpace(line[end+1:])
		}
	}
	component = "memberlist"
	for _, c := range [...]string{"serf", "memberlist"} {
		if rest, ok := strings.CutPrefix(line, c+":"); ok {
			component, line = c, strings.TrimSpace(rest)
			break
		}
	}
	if len(line) > lineMost {
		line = strings.ToValidUTF8(line[:lineMost], "") + " ..."
	}
	switch mark {
	case "DEBUG", "TRACE", "INFO":
		return slog.LevelDebug, component, line
	case "WARN":
		return slog.LevelInfo, component, line
	default: // ERR, ERROR, and lines that have none
		return slog.LevelWarn, component, line
	}
}

// shape is a line without its numbers, so that lines which differ in a port or a
// counter alone are one matter.
func shape(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}
