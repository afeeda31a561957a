// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// text has the coreutils that read lines.
var text = []program{
	{name: "tac", script: `cat "$IN" >"$WP" & tac "$P" >"$OUT/o"; end $! writer`},
	{name: "wc", script: `cat "$IN" >"$WP" & echo $(wc "$P"); end $! writer; cat "$BIN" >"$WP" & wc -c <"$P"; end $! writer`},
	{name: "wc-c-named", script: `cat "$IN" >"$WP" & wc -c "$P"; end $! writer`},
	{name: "wc-files0", script: `printf '%s\0' "$IN" "$IN" >"$WP" & wc -l --files0-from="$P" | grep -o '[0-9]* total'; end $! writer`},
	{name: "sort", script: `shuf -n 300 --random-source="$BIN" "$IN" >"$WP" & sort -k3,3 -k1,1n "$P" >"$OUT/o"; end $! writer`},
	{name: "sort-unique", script: `head -n 40 "$IN" | tr ' ' '\n' >"$WP" & sort -u "$P"; end $! writer`},
	{name: "sort-of-cat", script: `tr ' ' '\n' <"$IN" >"$WP" & cat "$P" | sort | uniq -c; end $! writer`},
	{name: "sort-merge", script: `sort "$IN" >"$WP" & a=$!; sort "$IN" >"$WQ" & b=$!; sort -m "$P" "$Q" >"$OUT/o"; end $a p; end $b q`},
	{name: "sort-to", script: `sort -r "$IN" -o "$WP" & cat "$P" >"$OUT/o"; end $! sort`},
	{name: "uniq", script: `cut -d' ' -f2 "$IN" | sort >"$WP" & uniq -c "$P"; end $! writer`},
	{name: "uniq-in-out", script: `
		cut -d' ' -f2 "$IN" >"$WP" & a=$!; cat "$Q" >"$OUT/o" & b=$!; uniq "$P" "$WQ"; echo $?; end $a writer; end $b reader`},
	{name: "cut", script: `cat "$IN" >"$WP" & cut -d' ' -f1,3- "$P" >"$OUT/o"; end $! writer`},
	{name: "tr", script: `tr a-z A-Z <"$IN" >"$WP" & tr -d ' \n' <"$P" >"$OUT/o"; end $! writer`},
	{name: "paste", script: `seq 5000 >"$WP" & a=$!; seq 5000 -1 1 >"$WQ" & b=$!; paste "$P" "$Q" >"$OUT/o"; end $a p; end $b q`},
	{name: "comm", script: `seq 0 2 9998 | sort >"$WP" & a=$!; seq 0 3 9999 | sort >"$WQ" & b=$!; comm "$P" "$Q" >"$OUT/o"; end $a p; end $b q`},
	{name: "join", script: `
		cut -d' ' -f1,2 "$IN" >"$WP" & a=$!; cut -d' ' -f1,4 "$IN" >"$WQ" & b=$!; join "$P" "$Q" >"$OUT/o"; end $a p; end $b q`},
	{name: "diff", script: `cat "$IN" >"$WP" & a=$!; sed 5,20d "$IN" >"$WQ" & b=$!; diff "$P" "$Q"; echo $?; end $a p; end $b q`},
	{name: "diff-brief", script: `cat "$IN" >"$WP" & a=$!; cat "$IN" >"$WQ" & b=$!; diff -q "$P" "$Q"; echo $?; end $a p; end $b q`},
	{name: "diff-file", script: `(cat "$IN"; echo last) >"$WP" & diff -u "$IN" "$P" | tail -n +3; end $! writer`},
	{name: "shuf", script: `cat "$IN" >"$WP" & shuf "$P" | sort | sha256sum; end $! writer`},
	{name: "nl", script: `cat "$IN" >"$WP" & nl -ba "$P" >"$OUT/o"; end $! writer`},
	{name: "fold", script: `cat "$IN" >"$WP" & fold -w 30 -s "$P" >"$OUT/o"; end $! writer`},
	{name: "fmt-pr-expand", script: `
		cat "$IN" >"$WP" & fmt -w 60 "$P" | sha256sum; end $! writer
		seq 200 >"$WP" & pr -3 -t "$P" | sha256sum; end $! writer
		printf 'a\tb\n' >"$WP" & expand "$P"; end $! writer`},
	{name: "seq", script: `seq 100000 >"$WP" & tail -n 1 <"$P"; end $! seq`},
	{name: "xargs", script: `seq 3000 >"$WP" & xargs -a "$P" -n 100 echo >"$OUT/o"; end $! writer`},
	{name: "xargs-stdin", script: `printf 'one\0two words\0' >"$WP" & xargs -0 -n1 printf '<%s>\n' <"$P"; end $! writer`},
	{name: "factor", script: `seq 1000 1100 >"$WP" & factor <"$P"; end $! writer`},
	{name: "numfmt-tsort", script: `
		seq 1000 500 9000 >"$WP" & numfmt --to=si <"$P"; end $! writer
		printf 'a b\nb c\nc d\n' >"$WP" & tsort "$P"; end $! writer`},
	{name: "csplit", script: `cat "$IN" >"$WP" & csplit -s -f "$OUT/x" "$P" '/^001000/' '/^003000/'; end $! writer`},
	{name: "cksum-sum-b2sum", script: `
		cat "$BIN" >"$WP" & cksum "$P"; end $! writer
		cat "$BIN" >"$WP" & sum "$P"; end $! writer
		cat "$BIN" >"$WP" & b2sum "$P"; end $! writer`},
	{name: "checksum-list", script: `cd "${IN%/*}"; sha256sum text noise >"$WP" & sha256sum -c "$P"; end $! writer`},
	{name: "whole-lines-of-many-writers", script: `
		exec 3<>"$P"
		cat "$P" >"$TMP/o" 3>&- & reader=$!; await holds $reader "$P"
		pids=
		for w in 1 2 3 4 5 6; do
			for i in {1..200}; do printf 'writer %d line %04d %0*d\n' $w $i $((i * 10)) $i; done >"$WP" 3>&- & pids+=" $!"
		done
		exec 4>"$WP" 3>&-
		wait $pids; exec 4>&-; end $reader reader; sort "$TMP/o" >"$OUT/o"`},
}
