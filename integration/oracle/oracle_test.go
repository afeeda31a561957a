// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/zpipesfs/zpipesfs/integration/lab"
	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// roleVariable makes a copy of the test binary something else than the test.
const roleVariable = "ZPIPES_ORACLE_ROLE"

// tooManyHung is how many scenarios may hang before the rest is not tried.
const tooManyHung = 6

func TestMain(m *testing.M) {
	os.Exit(role(m))
}

func role(m *testing.M) int {
	var err error
	switch os.Getenv(roleVariable) {
	case "actor":
		err = proto.Main(os.Stdin, os.Stdout)
	case "scenario":
		go dieWithRunner()
		d := dirs{
			W: os.Getenv("ZPIPES_ORACLE_W"), R: os.Getenv("ZPIPES_ORACLE_R"),
			Mixed: os.Getenv("ZPIPES_ORACLE_MIXED") == "true", Broker: os.Getenv("ZPIPES_ORACLE_BROKER"),
		}
		if err = runScenario(os.Getenv("ZPIPES_ORACLE_SCENARIO"), d, os.Stdout); err != nil {
			fmt.Printf("E %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	default:
		return runTests(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// dieWithRunner ends a scenario and all its processes when the runner has
// gone, however it went: its end of the pipe on standard input closes.
func dieWithRunner() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = syscall.Kill(0, syscall.SIGKILL)
}

// programs are those that scenarios run.
var programs = strings.Fields("bash busybox gzip ip nft python3 rev sha256sum tar timeout")

// runTests runs more scenarios at once than there are processors, unless the
// command line says how many: most of the time they wait.
func runTests(m *testing.M) int {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", fmt.Sprint(2*runtime.NumCPU())) // the flag takes any number
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "mounting, making hosts, and acting as other users, takes root")
		return 1
	}
	return lab.Main(m, programs...)
}

// TestOracle runs every scenario on kernel FIFOs and on the mount and compares.
func TestOracle(t *testing.T) {
	bench := newBench(t)
	var hung atomic.Int32
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			fifo := play(sc.name, bench.fifo, scenarioTimeout)
			compare(t, sc.name, fifo, bench.mount, differences(), bench.real, &hung)
			if testing.Verbose() {
				t.Logf("\n%s", listing(fifo.transcript))
			}
		})
	}
}

// compare plays a scenario on a mount.
func compare(t *testing.T, name string, fifo outcome, d dirs, known map[string]difference, real bool, hung *atomic.Int32) {
	t.Helper()
	if hung.Load() >= tooManyHung {
		t.Fatal("not tried: too many scenarios hung")
	}
	mount := play(name, d, scenarioTimeout)
	if mount.hung {
		hung.Add(1)
	}
	for _, fault := range faults(name, fifo, mount, known, real) {
		t.Error(fault)
	}
}

// faults says all that is wrong with the two runs of a scenario: trouble in one
// of them, and transcripts that differ or, on a real mount, do not differ as
// the table of differences says.
func faults(name string, fifo, mount outcome, known map[string]difference, real bool) (all []string) {
	for _, problem := range fifo.problems {
		all = append(all, "on the FIFO: "+problem)
	}
	for _, problem := range mount.problems {
		all = append(all, "on the mount: "+problem)
	}
	if fifo.stopped() || len(fifo.transcript) == 0 {
		all = append(all, "on the FIFO the scenario did not run to its end:\n"+listing(fifo.transcript))
	}
	expect := func(what, nameA, nameB string, a, b []string) {
		if !slices.Equal(a, b) {
			all = append(all, what+"\n"+contrast(nameA, nameB, a, b))
		}
	}
	d, accepted := known[name]
	if accepted {
		expect("the FIFO is not as the table of differences has it", "table", "FIFO", d.fifo, fifo.transcript)
	}
	if accepted && real {
		expect("the mount is not as the table of differences has it", "table", "mount", d.mount, mount.transcript)
	} else {
		expect("the mount differs", "FIFO", "mount", fifo.transcript, mount.transcript)
	}
	return all
}

// contrast prints two transcripts and marks where they part.
func contrast(nameA, nameB string, a, b []string) string {
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	var out strings.Builder
	out.WriteString(listing(a[:same]))
	for _, side := range []struct {
		name  string
		lines []string
	}{{nameA, a[same:]}, {nameB, b[same:]}} {
		fmt.Fprintf(&out, "--- %s:\n%s", side.name, listing(side.lines))
	}
	return out.String()
}

func listing(lines []string) string {
	var out strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&out, "    %s\n", line)
	}
	return out.String()
}
