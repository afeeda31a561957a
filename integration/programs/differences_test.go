// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

import (
	"testing"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// A difference is what a program is known to see differently, because a pipe in
// the mount is a regular file to stat(2). Each is pinned from both sides.
type difference struct {
	name, script string
	fifo, mount  string // standard output
}

var differences = []difference{
	{"test-p", `test -p "$P"; echo $?`, "0\n", "1\n"},
	{"test-f", `test -f "$P"; echo $?`, "1\n", "0\n"},
	{"ls-type", `ls -l "$P" | cut -c1`, "p\n", "-\n"},
	{"stat-type", `stat -c %F "$P"`, "fifo\n", "regular empty file\n"},
	{"find-type", `find "$D" -type p | wc -l`, "2\n", "0\n"},
	{"name-of-an-open-pipe", `exec 3<>"$P"; test -e "$P"; readlink /proc/$$/fd/3 | sed 's/.*[/]p//'`, "\n", " (deleted)\n"},
	{"file", `file -b "$P"`, "fifo (named pipe)\n", "empty\n"},
	// The archive has a FIFO, or an empty file.
	{"tar-of-the-pipe", `tar -cf - -C "$D" p | tar -tvf - | awk '{ print substr($1, 1, 1), $3 }'`, "p 0\n", "- 0\n"},
	// Copied as a FIFO, or by its bytes.
	{"cp-archive", `
		bash -c 'echo text >"$P"' & cp -a "$P" "$OUT/o"
		test -p "$OUT/o" && kill $!; wait $!; stat -c %F "$OUT/o"; rm "$OUT/o"`, "fifo\n", "regular file\n"},
	{"bash-read-timeout", `
		exec 3<>"$P"; (sleep 0.7; echo late >&3) & read -r -t 0.1 x <&3; echo "$(($? > 128)) $x"; wait`, "1 \n", "0 late\n"},
	{"bash-noclobber", `exec 3<>"$P"; set -C
		if { echo x >"$P"; } 2>"$TMP/e"; then read -r x <&3; echo "$x"; else sed 's/.*: //' "$TMP/e"; fi`,
		"x\n", "cannot overwrite existing file\n"},
	{"fionread", `python3 - <<'END'
import fcntl, os, struct, termios
fd = os.open(os.environ['P'], os.O_RDWR); os.write(fd, b'bytes')
print(struct.unpack('i', fcntl.ioctl(fd, termios.FIONREAD, b'    '))[0] == 5)
END`, "True\n", "False\n"},
	{"pipe-size", `python3 - <<'END'
import errno, fcntl, os
fd = os.open(os.environ['P'], os.O_RDWR)
try: print(fcntl.fcntl(fd, 1032) >= 65536)
except OSError as e: print(errno.errorcode[e.errno])
END`, "True\n", "EBADF\n"},
	{"asyncio-connect-read-pipe", `python3 - <<'END'
import asyncio, os
async def main():
    f = os.fdopen(os.open(os.environ['P'], os.O_RDWR), 'rb', 0)
    try: t, _ = await asyncio.get_running_loop().connect_read_pipe(asyncio.Protocol, f); t.close(); print('connected')
    except ValueError as e: print(e)
asyncio.run(main())
END`, "connected\n", "Pipe transport is for pipes/sockets only.\n"},
	{"shutil-copyfile", `bash -c 'echo text >"$P"' & python3 - <<'END'
import os, shutil
try: print(open(shutil.copyfile(os.environ['P'], os.environ['OUT'] + '/o')).read(), end='')
except shutil.SpecialFileError: print('refused')
END
		test -e "$OUT/o" || kill $!; wait $!`, "refused\n", "text\n"},
	{"splice", `python3 - <<'END'
import errno, os
fd = os.open(os.environ['P'], os.O_RDWR); os.write(fd, b'bytes')
out = os.open(os.environ['TMP'] + '/o', os.O_WRONLY | os.O_CREAT)
try: print(os.splice(fd, out, 5))
except OSError as e: print(errno.errorcode[e.errno])
END`, "5\n", "EINVAL\n"},
	// Those that seek in a regular file and take no refusal: cat in front helps.
	{"tail-from-byte", `(seq 9; cat "$BIN") >"$P" & tail -c +5 <"$P" 2>"$TMP/e" | head -n 1; sed 's/.*: //' "$TMP/e"; wait`, "3\n", "Illegal seek\n"},
	{"head-all-but", `seq 9 >"$P" & head -n -8 "$P" 2>&1 | sed 's/.*: //'; wait`, "1\n", "Illegal seek\n"},
	{"git-index-pack", `
		git init -q "$TMP/a"; cp "$IN" "$TMP/a"; git -C "$TMP/a" add .; git -C "$TMP/a" commit -qm one; cd "$TMP/a"
		git pack-objects -q --all --stdout </dev/null >"$P" & git index-pack --stdin <"$P" 2>&1 | cut -f1; wait`, "pack\n", "fatal: pack has junk at the end\n"},
	// Those that take the size for the length: cat in front helps.
	{"git-hash-object", `echo text >"$P" & git hash-object --stdin <"$P"; wait`,
		"8e27be7d6154a1f68ea9160ef0e18691d20560dc\n", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n"},
	{"zstd-compress", `seq 9 >"$P" & zstd -q -c "$P" 2>"$TMP/e" | zstd -dc 2>/dev/null | tail -n 1; grep -o 'Src size is incorrect' "$TMP/e"; wait`,
		"9\n", "Src size is incorrect\n"},
	// sort makes its buffer for a file of that size: a temporary file a line.
	{"sort-buffer", `seq 9 >"$P" & sort -T /nonexistent "$P" 2>&1 | tail -n 1 | sed 's/.*: //'; wait`, "9\n", "No such file or directory\n"},
	{"bash-source", `echo 'x=set' >"$P" & . "$P"; wait; echo "${x-unset}"`, "set\n", "unset\n"},
	{"wc-padding", `echo word >"$P" & wc "$P"; wait`, "      1       1       5 DIR/p\n", "1 1 5 DIR/p\n"},
	// A tree is searched without its FIFOs.
	{"grep-recursive", `exec 3<>"$P"; echo text >&3; grep -rh text "$D" 2>"$TMP/e"; echo $?`, "1\n", "text\n2\n"},
	{"restart-after-signal", `exec 3<>"$P"; (await test -e "$TMP/ready"; sleep 0.7; echo late >&3) & perl -MPOSIX -MTime::HiRes=ualarm -e '
		sigaction(SIGALRM, POSIX::SigAction->new(sub {}, POSIX::SigSet->new, SA_RESTART));
		open my $f, "<", $ENV{P}; ualarm 200000; open my $r, ">", "$ENV{TMP}/ready";
		my $b; print defined sysread($f, $b, 100) ? $b : $!{EINTR} ? "EINTR\n" : "$!\n"'; wait`, "late\n", "EINTR\n"},
}

// TestKnownDifferences requires that each known difference is there, and is
// what it is said to be.
func TestKnownDifferences(t *testing.T) {
	b := newBench(t)
	fifos, mount := onHost(lab.Dir(t)), onHost(lab.NewMount(t).Dir)
	for _, d := range differences {
		t.Run(d.name, func(t *testing.T) {
			p := program{name: d.name, script: d.script}
			b.expect(t, fifos, p, d.fifo)
			if lab.Mounted() {
				b.expect(t, mount, p, d.mount)
			}
		})
	}
}

// expect runs a program in one place and requires its standard output.
func (b bench) expect(t *testing.T, at place, p program, stdout string) {
	t.Helper()
	if got, r := b.run(t, at, p); got.stdout != stdout || r.Hung != "" || r.Stray != "" {
		t.Errorf("in %s: want %q, got %v", at.readers, stdout, r)
	}
}
