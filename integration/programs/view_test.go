// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// A view is a script whose whole output in the mount is pinned. "$MOUNT" is the
// mount, "$D" a folder in it with the pipes "$P" and "$Q".
type view struct{ name, script, stdout string }

// settle gives the scripts attr, which reads an attribute of the first pipe,
// and becomes, which waits for its value: the kernel tells of a close only after
// the program has gone on.
const settle = `
attr() { getfattr --absolute-names --only-values -n "user.zpipes.$1" "${2:-$P}"; }
becomes() { is() { [ "$(attr "$1")" = "$2" ]; }; await is "$1" "$2"; echo "$1 $2"; }
why() { sed 's/.*: //'; }
`

var views = []view{
	{"ls-long", `ls -l "$D" | awk '{ print $1, $2, $5, $NF }'`, "total 0  0\n-rw-r--r-- 1 0 p\n-rw-r--r-- 1 0 q\n"},
	{"ls-hidden", `mkfifo "$D/.h"; ls -a "$D" | tr '\n' ' '; rm "$D/.h"`, ". .. .h p q "},
	{"stat", `stat -c '%A %h %s %b' "$P"; stat -c %A "$D"; [ "$(stat -c %i "$P")" != "$(stat -c %i "$Q")" ] && echo two inodes`,
		"-rw-r--r-- 1 0 0\ndrwxr-xr-x\ntwo inodes\n"},
	{"inode-is-stable", `
		a=$(stat -c %i "$P"); exec 3<>"$P"; b=$(stat -c %i "$P"); c=$(stat -L -c %i /proc/self/fd/3); mv "$Q" "$D/r"; mv "$D/r" "$Q"
		[ "$a" = "$b" ] && [ "$a" = "$c" ] && echo same`, "same\n"},
	{"find", `mkdir "$D/sub"; mkfifo "$D/sub/x"; find "$D" | sort; find "$D" -type f | wc -l; rm -r "$D/sub"`,
		"DIR\nDIR/p\nDIR/q\nDIR/sub\nDIR/sub/x\n3\n"},
	{"df", `df --output=target "$P" | tail -n 1; df --output=fstype "$D" | tail -n 1 | grep -c '^fuse'; df -i "$D" >/dev/null; echo $?`, "MOUNT\n1\n0\n"},
	{"many-names", `
		mkdir "$D/many"; seq -f "$D/many/pipe-%05.0f" 1500 | xargs mkfifo
		ls "$D/many" | cmp - <(seq -f pipe-%05.0f 1500); echo $?; rm "$D/many"/*7; ls "$D/many" | wc -l; rm -r "$D/many"; ls "$D"`,
		"0\n1350\np\nq\n"},
	{"odd-names", `
		for n in 'two words' $'new\nline' -dash $'\xff\xfe' 'grüße' '#*?'; do
			mkfifo -- "$D/$n"; echo "in $n" >"$D/$n" & cat "$D/$n"; end $! writer; done
		ls -b "$D"; cd "$D"; rm -- [!pq]*`,
		"in two words\nin new\nline\nin -dash\nin \xff\xfe\nin grüße\nin #*?\n" +
			"#*?\n-dash\ngr\\303\\274\\303\\237e\nnew\\nline\np\nq\ntwo\\ words\n\\377\\376\n"},
	{"chmod", `chmod 640 "$P"; stat -c %a "$P"; chmod g+x,o+r "$P"; stat -c %a "$P"; chmod 700 "$D"; stat -c %a "$D"`, "640\n654\n700\n"},
	{"chown", `
		o=$(id -u):$(id -g); [ "$(id -u)" -ne 0 ] || o=12:34
		chown "$o" "$P" && [ "$(stat -c %u:%g "$P")" = "$o" ] && echo changed`, "changed\n"},
	{"touch", `
		touch -d '2001-02-03 04:05:06.789' "$P"; stat -c '%x/%y' "$P"
		touch -a -d '2002-02-02 02:02:02' "$P"; stat -c '%x/%y' "$P"; touch -r "$P" "$Q"; stat -c %y "$Q"
		touch "$P"; [ "$(stat -c %Y "$P")" -gt 1700000000 ] && echo now`,
		"2001-02-03 04:05:06.789000000 +0000/2001-02-03 04:05:06.789000000 +0000\n" +
			"2002-02-02 02:02:02.000000000 +0000/2001-02-03 04:05:06.789000000 +0000\n" +
			"2001-02-03 04:05:06.789000000 +0000\nnow\n"},
	{"touch-creates", `touch "$D/new"; echo $?; attr mode "$D/new"; echo x >"$D/new" & cat "$D/new"; rm "$D/new"`, "0\nfifox\n"},
	{"redirection-creates", `echo made >"$D/new" & w=$!; await test -e "$D/new"; cat "$D/new"; end $w writer; test -e "$D/new"; echo $?; rm "$D/new"`, "made\n0\n"},
	{"mkfifo-mode", `umask 027; mkfifo "$D/a"; mkfifo -m 604 "$D/b"; mknod "$D/c" p; stat -c '%a %n' "$D"/[abc]; rm "$D"/[abc]`,
		"640 DIR/a\n604 DIR/b\n640 DIR/c\n"},
	{"mkfifo-twice", `mkfifo "$P" 2>&1; echo $?; mkfifo "$D" 2>&1 | why`, "mkfifo: cannot create fifo 'DIR/p': File exists\n1\nFile exists\n"},
	{"directories", `
		mkdir "$D/a" && mkdir "$D/a/b" && mkfifo "$D/a/b/x"; mkdir "$D/a" 2>&1 | why; mkdir "$P" 2>&1 | why
		mkdir "$P/below" 2>&1 | why; rmdir "$D/a/b" 2>&1 | why; rmdir "$P" 2>&1 | why; rm "$D/a" 2>&1 | why; unlink "$D/a" 2>&1 | why
		rm "$D/a/b/x"; rmdir "$D/a/b" "$D/a"; rmdir "$D/a" 2>&1 | why; ls "$D"`,
		"File exists\nFile exists\nNot a directory\nDirectory not empty\nNot a directory\nIs a directory\nIs a directory\n" +
			"No such file or directory\np\nq\n"},
	{"mv", `
		mv "$P" "$D/r"; ls "$D" | tr '\n' ' '; echo moved >"$D/r" & cat "$D/r"; end $! writer
		mkdir "$D/sub"; mv "$D/r" "$D/sub/"; mv "$D/sub" "$D/dir"; ls "$D/dir"; mv "$D/dir/r" "$Q"; rmdir "$D/dir"; ls "$D"
		mv "$D/none" "$D/x" 2>&1 | why; mkfifo "$P"`, "q r moved\nr\nq\nNo such file or directory\n"},
	{"mv-no-clobber", `mv -n "$P" "$Q"; ls "$D"; mkdir "$D/a"; mv -T "$P" "$D/a" 2>&1 | grep -c .; rmdir "$D/a"`, "p\nq\n1\n"},
	{"rm", `rm "$D/none" 2>&1 | why; rm -f "$D/none"; echo $?; rm "$P"; cat "$P" 2>&1 | why; mkfifo "$P"; ls "$D"`,
		"No such file or directory\n0\nNo such file or directory\np\nq\n"},
	{"rm-while-open", `
		exec 3<>"$P"; echo old >&3; rm "$P"; test -e "$P"; echo $?; mkfifo "$P"
		echo new >"$P" & read -r x <"$P"; end $! writer; echo "$x"; read -r -t 5 x <&3; echo "$x"`, "1\nnew\nold\n"},
	{"cat-directory", `cat "$D" 2>&1 | why; { echo x >"$D"; } 2>&1 | why`, "Is a directory\nIs a directory\n"},
	{"name-too-long", `
		long=$(printf 'n%.0s' {1..256}); mkfifo "$D/$long" 2>&1 | why; stat "$D/$long" 2>&1 | why; mkdir "$D/$long" 2>&1 | why
		mv "$P" "$D/$long" 2>&1 | why
		rel=${D#"$MOUNT"/}; room=$((255 - ${#rel} - 1)); fits=${long:0:room}
		mkfifo "$D/$fits"; echo $?; mkfifo "$D/${fits}n" 2>&1 | why; echo x >"$D/$fits" & cat "$D/$fits"; rm "$D/$fits"`,
		strings.Repeat("File name too long\n", 4) + "0\nFile name too long\nx\n"},
	{"links-refused", `ln "$P" "$D/hard" 2>/dev/null; echo $?; ln -s p "$D/soft" 2>/dev/null; echo $?; ls "$D"`, "1\n1\np\nq\n"},
	{"devices-and-sockets-refused", `
		mknod "$D/c" c 1 3 2>/dev/null; echo $?
		timeout 5 socat -u "UNIX-LISTEN:$D/s" STDOUT 2>/dev/null; echo $?; ls "$D"`, "1\n1\np\nq\n"},
	{"attributes", `
		getfattr --absolute-names -d -m '^user\.zpipes\.' "$P" | sed 1d
		exec 3<>"$P"; printf hello >&3; attr buffered; echo; read -r -n 2 x <&3; becomes buffered 3; becomes readers 1; becomes writers 1
		exec 4>"$P"; becomes writers 2; exec 5<"$P" 3>&-; becomes writers 1; becomes readers 1; read -r -N 3 x <&5; echo "$x"; attr bytes`,
		"user.zpipes.buffered=\"0\"\nuser.zpipes.bytes=\"0\"\nuser.zpipes.mode=\"fifo\"\nuser.zpipes.readers=\"0\"\nuser.zpipes.writers=\"0\"\n\n" +
			"5\nbuffered 3\nreaders 1\nwriters 1\nwriters 2\nwriters 1\nreaders 1\nllo\n5"},
	{"attributes-read-only", `
		for a in readers writers buffered bytes; do setfattr -n user.zpipes.$a -v 7 "$P" 2>/dev/null; echo $? $(attr $a); done
		setfattr -n user.zpipes.other -v 7 "$P" 2>/dev/null; echo $?; setfattr -x user.zpipes.mode "$P" 2>/dev/null; echo $? $(attr mode)
		setfattr -n user.mine -v 7 "$P" 2>/dev/null; echo $?`, strings.Repeat("1 0\n", 4) + "1\n1 fifo\n1\n"},
	{"mode", `
		for m in exclusive fanout fifo; do setfattr -n user.zpipes.mode -v $m "$P"; attr mode; echo; done
		setfattr -n user.zpipes.mode -v other "$P" 2>&1 | why; attr mode; echo
		exec 3<>"$P"; setfattr -n user.zpipes.mode -v fanout "$P" 2>&1 | why; attr mode; echo; exec 3>&-
		becomes writers 0; setfattr -n user.zpipes.mode -v fanout "$P"; attr mode`,
		"exclusive\nfanout\nfifo\nInvalid argument\nfifo\nDevice or resource busy\nfifo\nwriters 0\nfanout"},
	{"mode-exclusive", `
		setfattr -n user.zpipes.mode -v exclusive "$P"; cat "$P" >"$TMP/o" & r=$!; exec 3>"$P"; becomes readers 1
		cat "$P" 2>&1 | why; { echo x >"$P"; } 2>&1 | why; echo passed >&3; exec 3>&-; end $r reader; cat "$TMP/o"`,
		"readers 1\nDevice or resource busy\nDevice or resource busy\npassed\n"},
	{"mode-fanout", `
		setfattr -n user.zpipes.mode -v fanout "$P"
		for i in 1 2 3; do cat "$P" >"$TMP/$i" & done; exec 3>"$P"; becomes readers 3
		cat "$BIN" >"$P"; exec 3>&-; wait; for i in 1 2 3; do cmp "$TMP/$i" "$BIN" && echo whole; done`,
		"readers 3\n" + strings.Repeat("whole\n", 3)},
	{"access", `test -r "$P" && test -w "$P" && test -e "$P"; echo $?; test -x "$P"; echo $?; test -s "$P"; echo $?; test -d "$D"; echo $?`, "0\n1\n1\n0\n"},
	{"working-directory", `cd "$D"; pwd -P; echo here >p & cat ./p; cat ../"${D##*/}"/q & echo there >q; wait; realpath p`, "DIR\nhere\nthere\nDIR/p\n"},
}

// TestView pins what commands show that look at the mount, not through it.
func TestView(t *testing.T) {
	if !lab.Mounted() {
		t.Skip("looks at a mount")
	}
	b := newBench(t)
	mount := lab.NewMount(t).Dir
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) {
			p := program{name: v.name, script: "MOUNT='" + mount + "'\n" + settle + v.script}
			got, r := b.run(t, onHost(mount), p)
			if s := strings.ReplaceAll(got.stdout, mount, "MOUNT"); s != v.stdout || r.Hung != "" || r.Stray != "" {
				t.Errorf("want %q, got %v", v.stdout, r)
			}
		})
	}
}

// TestDaemon starts a mount in the background, as a boot script does, and ends
// it with a signal.
func TestDaemon(t *testing.T) {
	if !lab.Mounted() {
		t.Skip("starts a daemon")
	}
	dir, pidFile := lab.Dir(t), filepath.Join(lab.Dir(t), "pid")
	env := append(lab.DaemonEnv(t), "D="+dir, "F="+pidFile, "Z="+lab.Binary())
	r := lab.Run(t, deadline, lab.Shell("bash",
		`"$Z" mount --daemon --name lab-daemon --pid-file "$F" "$D" && mkfifo "$D/p" && { echo through >"$D/p" & cat "$D/p"; }`, env...))
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatalf("pid file: %v", err)
	}
	if r.Status != "exit 0" || r.Stdout != "through\n" || r.Stray != "" {
		t.Errorf("got %v", r)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatalf("the daemon is not there: %v", err)
	}
	gone := lab.Until(10*time.Second, func() bool { return syscall.Kill(pid, 0) != nil })
	if !gone || lab.IsMounted(dir) {
		t.Errorf("after SIGTERM: gone %v, mounted %v", gone, lab.IsMounted(dir))
	}
}
