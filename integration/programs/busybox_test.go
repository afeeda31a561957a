// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// busybox has its applets and its shell. Their reads and copies differ from the
// coreutils': cat and cp try sendfile first.
var busybox = []program{
	{name: "cat", script: `busybox cat "$BIN" >"$WP" & busybox cat "$P" >"$OUT/o"; end $! writer`},
	{name: "cp", script: `busybox cat "$BIN" >"$WP" & busybox cp "$P" "$OUT/o"; end $! writer`},
	{name: "dd", script: `busybox dd if="$BIN" of="$WP" bs=10k 2>"$TMP/e" & busybox dd if="$P" of="$OUT/o" bs=64k 2>"$TMP/f"; end $! writer`},
	{name: "gzip", script: `busybox gzip -c <"$IN" >"$WP" & busybox gzip -dc <"$P" >"$OUT/o"; end $! writer`},
	{name: "zcat", script: `gzip -c "$BIN" >"$WP" & busybox zcat "$P" >"$OUT/o"; end $! writer`},
	{name: "wc", script: `cat "$IN" >"$WP" & busybox wc <"$P"; end $! writer`},
	{name: "tee", script: `cat "$P" >"$OUT/p" & a=$!; cat "$Q" >"$OUT/q" & b=$!; busybox tee "$WP" "$WQ" <"$BIN" >"$OUT/o"; end $a p; end $b q`},
	{name: "head-tail", script: `
		busybox yes >"$WP" & busybox head -n 3 "$P"; end $! yes
		cat "$IN" >"$WP" & busybox tail -n 3 "$P"; end $! writer
		cat "$BIN" >"$WP" & busybox tail -c 1000 "$P" | sha256sum; end $! writer`},
	{name: "tail-from-byte", script: `cat "$BIN" >"$WP" & busybox tail -c +100000 "$P" >"$OUT/o"; end $! writer`},
	{name: "head-all-but", script: `cat "$IN" >"$WP" & busybox head -n -10 "$P" >"$OUT/o"; end $! writer`},
	{name: "tail-follow", script: `
		timeout 15 busybox tail -s 1 -f "$P" >"$OUT/o" & a=$!
		seq 5 >"$WP"; await has_lines "$OUT/o" 5; kill $a; wait $a; echo $?`},
	{name: "sort-uniq", script: `cut -d' ' -f2 "$IN" >"$WP" & busybox sort "$P" | busybox uniq -c; end $! writer`},
	{name: "sed", script: `cat "$IN" >"$WP" & busybox sed 's/pipe/PIPE/g' "$P" >"$OUT/o"; end $! writer`},
	{name: "awk", script: `cat "$IN" >"$WP" & busybox awk '{ n[$2] += $1 } END { for (w in n) print w, n[w] }' "$P" | sort; end $! writer`},
	{name: "grep", script: `cat "$IN" >"$WP" & busybox grep -c 'home$\|7$' "$P"; end $! writer`},
	{name: "sha256sum", script: `cat "$BIN" >"$WP" & busybox sha256sum "$P"; end $! writer`},
	{name: "tar", script: `
		mkdir "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"
		busybox tar -cf "$WP" -C "$TMP" a & busybox tar -xf "$P" -C "$OUT"; wait`},
	{name: "cmp-diff", script: `
		cat "$IN" >"$WP" & busybox cmp "$P" "$IN"; echo $?; end $! writer
		sed 7d "$IN" >"$WP" & busybox diff "$IN" "$P" | tail -n 1; end $! writer`},
	{name: "xxd-od", script: `
		head -c 200 "$BIN" >"$WP" & busybox xxd "$P"; end $! writer
		head -c 200 "$BIN" >"$WP" & busybox od -x "$P"; end $! writer`},
	{name: "sh-redirections", shell: "busybox sh", script: `
		{ echo one; (echo two); sh -c 'echo three'; } >"$WP" &
		cat <"$P"; wait $!; echo "writer $?"
		cat "$P" & echo appended >>"$WP"; wait $!; echo "reader $?"`},
	{name: "sh-read-loop", shell: "busybox sh", script: `
		head -n 500 "$IN" >"$WP" &
		n=0; while read -r number first rest; do n=$((n + ${#first})); done <"$P"; echo "$n $number"; wait $!; echo $?`},
	{name: "sh-ping-pong", shell: "busybox sh", script: `
		(exec 3<"$P" 4>"$WQ"; while read -r x <&3; do echo $((x + 1)) >&4; done) &
		exec 5>"$WP" 6<"$Q"
		x=0; while [ $x -lt 200 ]; do echo $x >&5; read -r x <&6; done
		exec 5>&-; wait $!; echo "$x $?"`},
	{name: "sh-here-document", shell: "busybox sh", script: `
		cat >"$WP" <<-END &
		first
		second $((1 + 1))
		END
		cat "$P"; wait $!; echo $?`},
}
