// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// copying has the coreutils that move bytes without looking at them.
var copying = []program{
	{name: "cat", script: `cat "$IN" >"$WP" & cat "$P" >"$OUT/o"; end $! writer`},
	{name: "cat-binary", script: `cat "$BIN" >"$WP" & cat "$P" >"$OUT/o"; end $! writer`},
	{name: "cat-relay", script: `cat "$BIN" >"$WP" & a=$!; cat "$P" >"$WQ" & b=$!; cat <"$Q" >"$OUT/o"; end $a first; end $b second`},
	{name: "cat-two-pipes", script: `cat "$IN" >"$WP" & a=$!; seq 9 >"$WQ" & b=$!; cat "$P" "$Q" >"$OUT/o"; end $a p; end $b q`},
	{name: "cat-number", script: `head -n 50 "$IN" >"$WP" & cat -nE "$P"; end $! writer`},
	{name: "cat-nothing", script: `: >"$WP" & cat "$P"; echo "status $?"; end $! writer`},
	{name: "cat-rounds", script: `
		for i in {1..80}; do echo "round $i" >"$WP" & cat "$P"; end $! writer; done`},
	{name: "cat-via-symlink", script: `ln -s "$P" "$TMP/link"; ln -s "$WP" "$TMP/writer"; cat "$IN" >"$TMP/writer" & cat "$TMP/link" >"$OUT/o"; end $! writer`},
	{name: "cat-reader-first", script: `cat "$P" >"$OUT/o" & cat "$IN" >"$WP"; end $! reader`},
	{name: "competing-readers", script: `
		exec 3<>"$P"
		for i in 1 2 3; do cat "$P" >"$TMP/$i" 3>&- & await holds $! "$P"; done
		for i in 1 2 3; do sort "$IN" >"$WP"; done
		whole() { [ "$(cat "$TMP"/[123] | wc -c)" -eq $((3 * $(wc -c <"$IN"))) ]; }
		await whole
		exec 3>&-
		wait; cat "$TMP"/[123] | wc -c`},
	{name: "cp-from", script: `cat "$BIN" >"$WP" & cp "$P" "$OUT/o"; end $! writer`},
	{name: "cp-to", script: `cp "$BIN" "$WP" & cat "$P" >"$OUT/o"; end $! cp`},
	{name: "cp-pipe-to-pipe", script: `
		cat "$IN" >"$WP" & a=$!; cp "$P" "$WQ" & b=$!; cat "$Q" >"$OUT/o"; end $a writer; end $b cp`},
	{name: "cp-two-into-folder", script: `
		cat "$IN" >"$WP" & a=$!; seq 1000 >"$WQ" & b=$!; cp "$P" "$Q" "$OUT"; echo $?; end $a p; end $b q`},
	{name: "install", script: `cat "$IN" >"$WP" & install -m 600 "$P" "$OUT/o"; stat -c %a "$OUT/o"; end $! writer`},
	{name: "tee-two", script: `
		cat "$P" >"$OUT/p" & a=$!; cat "$Q" >"$OUT/q" & b=$!
		tee "$WP" "$WQ" <"$BIN" >"$OUT/o"; echo $?; end $a p; end $b q`},
	{name: "tee-append", script: `cat "$P" >"$OUT/p" & tee -a "$WP" <"$IN" | sha256sum; end $! reader`},
	{name: "tee-reader-leaves", script: `
		head -c 5 "$P" & tee -p "$WP" <"$BIN" 2>&1 >"$OUT/o" | sed 's/.*: //'; end $! reader`},
	{name: "tee-from", script: `cat "$BIN" >"$WP" & tee "$OUT/a" <"$P" >"$OUT/b"; end $! writer`},
	{name: "dd-bs-1", script: `head -c 3000 "$BIN" >"$WP" & dd if="$P" of="$OUT/o" bs=1 status=none; end $! writer`},
	{name: "dd-bs-512", script: `dd if="$IN" of="$WP" bs=512 status=none & dd if="$P" bs=512 status=none >"$OUT/o"; end $! writer`},
	{name: "dd-bs-64k", script: `dd if="$BIN" of="$WP" bs=64k status=none & dd if="$P" of="$OUT/o" bs=4k status=none; end $! writer`},
	{name: "dd-bs-1M", script: `dd if="$BIN" of="$WP" bs=1M status=none & dd if="$P" of="$OUT/o" bs=1M status=none; end $! writer`},
	{name: "dd-fullblock", script: `
		cat "$BIN" >"$WP" & dd if="$P" of="$OUT/o" bs=700k count=2 iflag=fullblock 2>&1 | sed '/copied/s/,.*//'; end $! writer`},
	{name: "dd-ibs-obs", script: `cat "$IN" >"$WP" & dd if="$P" of="$OUT/o" ibs=300 obs=7000 iflag=fullblock status=none; end $! writer`},
	{name: "dd-skip", script: `cat "$BIN" >"$WP" & dd if="$P" of="$OUT/o" bs=1000 skip=200 iflag=fullblock status=none; end $! writer`},
	{name: "dd-seek", script: `
		exec 3<>"$P"; printf 'twenty bytes skipped' >&3
		dd if="$IN" of="$WP" bs=10 seek=2 count=1 conv=notrunc status=none 2>&1; echo $?; head -c 10 <&3`},
	{name: "dd-seek-truncates", script: `
		exec 3<>"$P"; printf 'twenty bytes skipped' >&3
		dd if="$IN" of="$WP" bs=10 seek=2 count=1 status=none 2>&1; echo $?; head -c 10 <&3`},
	{name: "dd-append", script: `cat "$P" >"$OUT/o" & dd if="$BIN" of="$WP" bs=100k oflag=append conv=notrunc status=none; end $! reader`},
	{name: "dd-fsync", script: `cat "$P" >"$OUT/o" & dd if="$IN" of="$WP" bs=4k conv=fsync status=none; echo $?; end $! reader`},
	{name: "dd-conv", script: `cat "$IN" >"$WP" & dd if="$P" of="$OUT/o" conv=ucase,swab iflag=fullblock status=none; end $! writer`},
	{name: "dd-nonblock", script: `
		exec 3<>"$P"
		dd if="$P" iflag=nonblock count=1 status=none 2>&1 | sed 's/.*: //'
		echo some bytes >&3
		dd if="$P" iflag=nonblock bs=100 count=1 status=none
		dd if=/dev/zero of="$WP" oflag=nonblock bs=65536 count=1000 2>&1 | sed -n 's/.*: //p'`},
	{name: "dd-nonblock-alone", script: `
		dd if="$P" iflag=nonblock count=1 status=none; echo $?
		dd if=/dev/null of="$WP" oflag=nonblock conv=notrunc,nocreat status=none 2>&1 | sed 's/.*: //'`},
	{name: "split-bytes", script: `cat "$BIN" >"$WP" & split -b 500k - "$OUT/x" <"$P"; end $! writer`},
	{name: "split-lines", script: `cat "$IN" >"$WP" & split -l 700 -d "$P" "$OUT/x"; end $! writer`},
	{name: "split-round-robin", script: `cat "$IN" >"$WP" & split -n r/3 "$P" "$OUT/x"; end $! writer`},
	{name: "split-chunks", script: `seq 900 >"$WP" & split -n 3 "$P" "$OUT/x" 2>&1; echo $?; wait`},
	{name: "split-filter", script: `cat "$IN" >"$WP" & split -l 1500 --filter='sha256sum' "$P"; end $! writer`},
	{name: "head-lines", script: `yes >"$WP" & head -n 3 "$P"; end $! yes`},
	{name: "head-bytes", script: `cat "$BIN" >"$WP" & head -c 100000 <"$P" >"$OUT/o"; end $! cat`},
	{name: "head-all-but-of-cat", script: `cat "$IN" >"$WP" & cat "$P" | head -n -10 >"$OUT/o"; end $! writer`},
	{name: "head-two-pipes", script: `cat "$IN" >"$WP" & a=$!; seq 100 >"$WQ" & b=$!; head -n 2 "$P" "$Q"; wait $a $b; echo $?`},
	{name: "tail-lines", script: `cat "$IN" >"$WP" & tail -n 5 "$P"; end $! writer`},
	{name: "tail-bytes", script: `cat "$BIN" >"$WP" & tail -c 5000 "$P" >"$OUT/o"; end $! writer`},
	{name: "tail-from-line", script: `cat "$IN" >"$WP" & tail -n +3990 "$P"; end $! writer`},
	{name: "tail-follow", script: `
		timeout 15 tail -s 0.05 -f "$P" >"$OUT/o" & a=$!
		seq 5 >"$WP"; await has_lines "$OUT/o" 5
		kill $a; wait $a; echo $?`},
	{name: "tail-follow-second-writer", script: `
		timeout 15 tail -s 0.05 -f "$P" >"$OUT/o" & a=$!
		seq 5 >"$WP"; await has_lines "$OUT/o" 5
		seq 6 8 >"$WP"; await has_lines "$OUT/o" 8
		kill $a; wait $a; echo $?`},
	{name: "timeout", script: `timeout 0.2 cat "$P"; echo $?; timeout 0.2 bash -c ': >"$WP"'; echo $?; timeout -s KILL 0.2 cat "$P"; echo $?`},
	{name: "stdbuf", script: `cat "$IN" >"$WP" & stdbuf -oL -i0 cut -c1-6 "$P" >"$OUT/o"; end $! writer`},
	{name: "yes-sigpipe", script: `head -n 1 "$P" >"$OUT/o" & yes >"$WP"; echo $?; wait`},
	{name: "yes-sigpipe-ignored", script: `head -n 1 "$P" & (trap '' PIPE; yes >"$WP" 2>"$TMP/e"); echo $?; sed 's/.*: //' "$TMP/e"; wait`},
	{name: "cmp", script: `cat "$BIN" >"$WP" & a=$!; cat "$BIN" >"$WQ" & cmp "$P" "$Q"; echo $?; wait
		cat "$IN" >"$WP" & cmp "$P" "$IN"; echo $?; wait
		(cat "$IN"; echo more) >"$WP" & cmp -s "$P" "$IN"; echo $?; wait`},
	{name: "cmp-skip", script: `cat "$BIN" >"$WP" & cmp -i 100000 "$P" "$BIN"; echo $?; end $! writer
		seq 900 >"$WP" & seq 900 | cmp -i 100:50 "$P" -; echo $?; wait`},
	{name: "sha256sum", script: `cat "$BIN" >"$WP" & sha256sum "$P"; end $! writer`},
	{name: "md5sum", script: `cat "$BIN" >"$WP" & md5sum <"$P"; end $! writer`},
	{name: "base64", script: `cat "$BIN" >"$WP" & a=$!; base64 "$P" >"$WQ" & b=$!; base64 -d "$Q" | cmp - "$BIN"; echo $?; end $a writer; end $b base64`},
	{name: "od", script: `head -c 3000 "$BIN" >"$WP" & od -A d -t x2z -j 1000 -N 500 "$P"; end $! writer`},
	{name: "truncate-alone", script: `truncate -s 0 "$P" 2>&1`, status: "exit 1"},
	{name: "sync", script: `exec 3<>"$P"; sync "$P" 2>&1; echo $?`},
}
