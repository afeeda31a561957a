// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// selfScenarios misbehave, for the tests of the suite itself.
func selfScenarios() []scenario {
	return []scenario{
		{"self/hangs", selfHangs},
		{"self/leaves a process", selfLeaves},
		{"self/stops", func(s *script) { s.reader().do(open("missing", rdonly)).fd() }},
		{"self/says nothing", func(*script) {}},
	}
}

func selfHangs(s *script) {
	s.fifo("p")
	s.reader().do(open("p", rdonly))
}

// The process that is left ignores what closes the usual ones.
func selfLeaves(s *script) {
	s.line("a transcript")
	s.sh(s.W, "sleep 86399 >&- 2>&- & true").wait()
}

// onFIFO plays a scenario on a fresh directory.
func onFIFO(t *testing.T, name string, limit time.Duration) outcome {
	dir := t.TempDir()
	return play(name, dirs{W: dir, R: dir}, limit)
}

func TestHungScenarioIsKilledAndReported(t *testing.T) {
	o := onFIFO(t, "self/hangs", time.Second)
	report := strings.Join(o.problems, "\n")
	if !o.hung || !strings.Contains(report, "hung after") || !strings.Contains(report, "open(p, RDONLY), waiting") {
		t.Errorf("hung %v, reported: %s", o.hung, report)
	}
	if !strings.Contains(report, "wait_for_partner") {
		t.Errorf("the report does not say where the process sleeps: %s", report)
	}
}

func TestProcessLeftIsKilledAndReported(t *testing.T) {
	o := onFIFO(t, "self/leaves a process", scenarioTimeout)
	if o.hung || !strings.Contains(strings.Join(o.problems, "\n"), "sleep") {
		t.Errorf("hung %v, reported: %q", o.hung, o.problems)
	}
	for _, p := range processes() {
		if strings.Contains(content(fmt.Sprintf("/proc/%d/cmdline", p.pid)), "sleep\x0086399") {
			t.Errorf("left: %v", p)
		}
	}
}

func TestScenarioThatStopsOrSaysNothingFails(t *testing.T) {
	for _, name := range []string{"self/stops", "self/says nothing"} {
		o := onFIFO(t, name, scenarioTimeout)
		if len(o.problems) > 0 {
			t.Errorf("%s: %q", name, o.problems)
		}
		if all := faults(name, o, o, differences(), true); len(all) != 1 || !strings.Contains(all[0], "did not run to its end") {
			t.Errorf("%s: faults %q", name, all)
		}
	}
}

func TestTranscriptsAreCompared(t *testing.T) {
	const listed = "limits/tar"
	d := differences()[listed]
	fifo, mount := outcome{transcript: d.fifo}, outcome{transcript: d.mount}
	same, other := outcome{transcript: []string{"a", "b"}}, outcome{transcript: []string{"a", "c"}}
	for _, c := range []struct {
		what        string
		name        string
		fifo, mount outcome
		real        bool
		faults      int
	}{
		{"the same", "any", same, same, true, 0},
		{"not the same", "any", same, other, true, 1},
		{"a listed difference", listed, fifo, mount, true, 0},
		{"a listed difference that is not there", listed, fifo, fifo, true, 1},
		{"a listed difference, FIFOs only", listed, fifo, fifo, false, 0},
		{"another difference than the listed", listed, fifo, other, true, 1},
		{"another FIFO than the listed", listed, other, mount, true, 1},
	} {
		if all := faults(c.name, c.fifo, c.mount, differences(), c.real); len(all) != c.faults {
			t.Errorf("%s: %d faults: %q", c.what, len(all), all)
		}
	}
}

// TestDifferencesAreScenarios finds entries of the table that nothing checks.
func TestDifferencesAreScenarios(t *testing.T) {
	for name, d := range differences() {
		if _, ok := find(name); !ok {
			t.Errorf("no scenario is called %q", name)
		}
		if d.reason == "" {
			t.Errorf("%q: no reason", name)
		}
		if slices.Equal(d.fifo, d.mount) {
			t.Errorf("%q: no difference", name)
		}
	}
}

// TestScenarioNames finds names that would share a directory.
func TestScenarioNames(t *testing.T) {
	seen := map[string]string{}
	for _, sc := range append(scenarios(), selfScenarios()...) {
		if first, ok := seen[directory(sc.name)]; ok {
			t.Errorf("%q and %q share a directory", first, sc.name)
		}
		seen[directory(sc.name)] = sc.name
	}
}
