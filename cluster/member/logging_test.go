// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseLine(t *testing.T) {
	for line, want := range map[string]struct {
		level           slog.Level
		component, text string
	}{
		"[DEBUG] memberlist: Stream connection from=1.2.3.4:5\n": {slog.LevelDebug, "memberlist", "Stream connection from=1.2.3.4:5"},
		"[INFO] memberlist: Suspect b has failed\n":              {slog.LevelDebug, "memberlist", "Suspect b has failed"},
		"[INFO] serf: EventMemberJoin: b 1.2.3.4\n":              {slog.LevelDebug, "serf", "EventMemberJoin: b 1.2.3.4"},
		"[WARN] serf: Shutdown without a Leave\n":                {slog.LevelInfo, "serf", "Shutdown without a Leave"},
		"[ERR] memberlist: Failed to send UDP ping: no\n":        {slog.LevelWarn, "memberlist", "Failed to send UDP ping: no"},
		"[ERR] Failed to shutdown transport: no":                 {slog.LevelWarn, "memberlist", "Failed to shutdown transport: no"},
		"Err: Could not set the deadline: no":                    {slog.LevelWarn, "memberlist", "Err: Could not set the deadline: no"},
		"[WARN] memberlist: " + strings.Repeat("é", 200):         {slog.LevelInfo, "memberlist", strings.Repeat("é", 125) + " ..."},
		"[": {slog.LevelWarn, "memberlist", "["},
		"":  {slog.LevelWarn, "memberlist", ""},
	} {
		if level, component, text := parseLine(line); level != want.level || component != want.component || text != want.text {
			t.Errorf("%q: got %v, %q, %q", line, level, component, text)
		}
	}
}

func TestLibraryLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		r := &reporter{log: book.logger()}
		lib := r.library()
		for port := range 5 {
			lib.Printf("[ERR] memberlist: Decrypt packet failed: no key from=10.0.0.1:%d", port)
		}
		lib.Printf("[ERR] memberlist: Push/Pull with b failed: %v", versionRefusal(1, 2))
		lib.Printf("[DEBUG] memberlist: nothing")
		if lines := book.lines(); len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "from=memberlist") {
			t.Fatalf("lines %q", lines)
		}
		time.Sleep(limitEvery)
		lib.Printf("[ERR] memberlist: Decrypt packet failed: no key from=10.0.0.1:99")
		if lines := book.lines("repeated=4"); len(lines) != 1 {
			t.Fatalf("lines %q", book.lines())
		}
	})
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l limiter
		if _, ok := l.allow("x"); !ok {
			t.Fatal("the first line was withheld")
		}
		time.Sleep(limitEvery - time.Millisecond)
		if _, ok := l.allow("x"); ok {
			t.Fatal("a second line within a minute")
		}
		time.Sleep(time.Millisecond)
		if withheld, ok := l.allow("x"); !ok || withheld != 1 {
			t.Fatal("after a minute", withheld, ok)
		}
		l.reset("x")
		if withheld, ok := l.allow("x"); !ok || withheld != 0 {
			t.Fatal("after a reset", withheld, ok)
		}
		for i := range 2 * limitMatters {
			l.allow(fmt.Sprint(i))
		}
		if len(l.matters) != limitMatters {
			t.Fatalf("%d matters", len(l.matters))
		}
		if _, ok := l.allow("y"); ok {
			t.Fatal("a line that is not remembered was told")
		}
		time.Sleep(limitEvery)
		if _, ok := l.allow("y"); !ok || len(l.matters) != 1 {
			t.Fatal("old matters are kept")
		}
	})
}
