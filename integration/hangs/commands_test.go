// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package hangs

import (
	"fmt"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// anyStatus is the wanted status of a command that may be refused: that it answers is
// what counts.
const anyStatus = "any"

// A command is a script that must answer while somebody is blocked on "$P".
type command struct {
	name, script string
	status       string // wanted in the mount; "exit 0" when empty
	fifo         string // wanted with kernel FIFOs, where it differs
	needsReader  bool   // blocks, as it should, on a pipe without a reader
	needsShared  bool   // looks at descriptor 1 of the blocked process "$B"
}

// quiet are commands that leave the blocked processes blocked.
var quiet = []command{
	{name: "stat", script: `stat "$P"`},
	{name: "stat folder", script: `stat "$D"`},
	{name: "stat file system", script: `stat -f "$P"`},
	{name: "ls", script: `ls "$D"`},
	{name: "ls -l folder", script: `ls -l "$D"`},
	{name: "ls -l pipe", script: `ls -l "$P"`},
	{name: "find", script: `find "$D" -ls`},
	{name: "df", script: `df "$D"`},
	{name: "test -e", script: `test -e "$P" && test -w "$P" && test -r "$P"`},
	{name: "getfattr", script: `getfattr -d -m - "$P"`},
	{name: "getfattr of one", script: `getfattr -n user.zpipes.buffered "$P"`, fifo: "exit 1"},
	{name: "touch with a reader", script: `touch "$P"`, needsReader: true},
	{name: "touch -d", script: `touch -c -d 2020-01-01 "$P"`, needsReader: true},
	{name: "chmod", script: `chmod 600 "$P"`},
	{name: "chown", script: `chown "$(id -u):$(id -g)" "$P"`},
	{name: "open for writing", script: `: >"$P"`, needsReader: true},
	{name: "open for appending", script: `: >>"$P"`, needsReader: true},
	{name: "open for reading and writing", script: `exec 9<>"$P"`, needsReader: true},
	{name: "truncate with a reader", script: `truncate -s 0 "$P"`, status: anyStatus, needsReader: true},
	{name: "mkfifo other", script: `mkfifo "$D/new"`},
	{name: "touch other", script: `touch "$D/new"`},
	{name: "rm other", script: `rm "$D/new"`},
	{name: "touch new", script: `touch "$D/touched" && rm "$D/touched"`},
	{name: "mkfifo same", script: `mkfifo "$P"`, status: "exit 1"},
	{name: "mkdir same", script: `mkdir "$P"`, status: "exit 1"},
	{name: "create same", script: `set -C; : >"$P"`, status: "exit 1", fifo: "exit 0", needsReader: true},
	{name: "mv other", script: `mv "$O" "$D/moved" && mv "$D/moved" "$O"`},
	{name: "mkdir", script: `mkdir "$D/sub"`},
	{name: "mv into folder", script: `mv "$O" "$D/sub/" && mv "$D/sub/o" "$O"`},
	{name: "rmdir", script: `rmdir "$D/sub"`},
	{name: "rmdir not empty", script: `rmdir "$D"`, status: "exit 1"},
	{name: "mv folder", script: `mv "$D" "$D.moved" && mv "$D.moved" "$D"`, status: anyStatus},
	{name: "ln", script: `ln "$P" "$D/hard"`, status: "exit 1", fifo: "exit 0"},
	{name: "ln -s", script: `ln -s p "$D/soft"`, status: "exit 1", fifo: "exit 0"},
	{name: "bytes through another pipe", script: `
		dd if=/dev/zero bs=64k count=16 status=none >"$O" & [ "$(wc -c <"$O")" = 1048576 ] && wait $!`},
	{name: "another pipe, many times", script: `
		for i in {1..20}; do echo $i >"$O" & read -r x <"$O"; wait $!; [ "$x" = $i ] || exit 1; done`},
	{name: "stat of the descriptor", script: `stat -L "/proc/$B/fd/1"`, needsShared: true},
	{name: "append to the descriptor", script: `: >>"/proc/$B/fd/1"`, needsShared: true},
}

// disturbing are commands that may wake the blocked processes.
var disturbing = []command{
	{name: "touch", script: `touch "$P"`},
	{name: "truncate", script: `truncate -s 0 "$P"`, status: anyStatus},
	{name: "write", script: `exec 9<>"$P"; : >"$P"`},
	{name: "append", script: `exec 9<>"$P"; : >>"$P"`},
	{name: "open-nonblocking", script: `dd if="$P" iflag=nonblock count=0 status=none; dd of="$P" oflag=nonblock if=/dev/null status=none`, status: anyStatus},
	{name: "open-and-leave", script: `timeout 0.2 cat "$P" | head -c 1 | wc -c; timeout -s KILL 0.2 bash -c ': >"$P"'`, status: anyStatus},
	{name: "df-pipe", script: `exec 9<>"$P"; df "$P"`},
	{name: "rm-same", script: `rm "$P"`},
	{name: "rm-and-mkfifo", script: `rm "$P" && mkfifo "$P"`},
	{name: "mv-same", script: `mv "$P" "$D/moved"; ls "$D"`},
	{name: "mv-onto-same", script: `mv "$O" "$P"; ls "$D"`},
}

// ask runs the command and requires an answer, with the wanted status.
func (c command) ask(f folder, blocked *lab.Process) {
	f.t.Helper()
	r := f.answer(with(blocked, c.script))
	want := c.status
	if !lab.Mounted() && c.fifo != "" {
		want = c.fifo
	}
	if want == "" {
		want = "exit 0"
	}
	if want != anyStatus && r.Status != want && r.Hung == "" {
		f.t.Errorf("%s: want %s, got %v", c.name, want, r)
	}
}

// with is the script, with "$B" for the process id of the blocked session.
func with(blocked *lab.Process, script string) string {
	return fmt.Sprintf("export B=%d; %s", blocked.PID(), script)
}
