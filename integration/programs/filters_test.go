// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// filters has sed, the awks and grep.
var filters = []program{
	{name: "sed", script: `cat "$IN" >"$WP" & sed -E 's/(pipe) (reader)/\2 \1/g' "$P" >"$OUT/o"; end $! writer`},
	{name: "sed-quits", script: `yes line >"$WP" & sed 3q "$P"; end $! yes`},
	{name: "sed-writes", script: `cat "$P" >"$OUT/p" & sed -n "/chunk/w $WP" "$IN"; end $! reader`},
	{name: "sed-reads", script: `seq 3 >"$WP" & echo top | sed "r $P"; end $! writer`},
	{name: "sed-script", script: `printf 's/peer/PEER/g\n1,10d\n' >"$WP" & sed -f "$P" "$IN" >"$OUT/o"; end $! writer`},
	{name: "gawk", script: `cat "$IN" >"$WP" & gawk '{ n[$3]++; s += $NF } END { for (w in n) print w, n[w]; print s }' "$P" | sort; end $! writer`},
	{name: "gawk-getline", script: `
		seq 1000 >"$WP" & a=$!; seq 1000 >"$WQ" & b=$!
		gawk -v q="$Q" '{ getline other <q; s += $1 * other } END { print s }' "$P"; end $a p; end $b q`},
	{name: "gawk-prints-to-two", script: `
		cat "$P" >"$OUT/p" & a=$!; cat "$Q" >"$OUT/q" & b=$!
		gawk -v p="$WP" -v q="$WQ" '{ print > (NR % 2 ? p : q) }' "$IN"; end $a p; end $b q`},
	{name: "gawk-program", script: `echo '{ s += length($0) } END { print s }' >"$WP" & gawk -f "$P" "$IN"; end $! writer`},
	{name: "mawk", script: `cat "$IN" >"$WP" & mawk '{ s += $1 } END { print s, NR }' "$P"; end $! writer`},
	{name: "mawk-stdin", script: `cat "$IN" >"$WP" & mawk '/exclusive/ { print $1 }' <"$P" >"$OUT/o"; end $! writer`},
	{name: "mawk-interactive", script: `
		mawk -W interactive '{ print $1 + 1; fflush() }' <"$P" >"$WQ" & a=$!
		exec 5>"$WP" 6<"$Q"; for i in {1..50}; do echo "$i" >&5; read -r x <&6; done; echo "$x"; exec 5>&-; end $a mawk`},
	{name: "grep", script: `cat "$IN" >"$WP" & grep -n 'broker broker' "$P" >"$OUT/o"; end $! writer`},
	{name: "grep-count", script: `cat "$IN" >"$WP" & grep -c credit <"$P"; end $! writer`},
	{name: "grep-quiet", script: `yes "a line" >"$WP" & grep -q line "$P"; echo $?; end $! yes`},
	{name: "grep-max", script: `yes "a line" >"$WP" & grep -m 2 line "$P"; end $! yes`},
	{name: "grep-patterns", script: `printf '00100\n00200\n' >"$WP" & grep -F -f "$P" "$IN"; end $! writer`},
	{name: "grep-named", script: `cat "$IN" >"$WP" & a=$!; seq 99 >"$WQ" & b=$!; grep -H '99' "$P" "$Q" | tail -n 3; end $a p; end $b q`},
	{name: "grep-to-pipe", script: `cat "$IN" >"$WP" & a=$!; grep pipe "$P" >"$WQ" & b=$!; cat "$Q" >"$OUT/o"; end $a writer; end $b grep`},
	{name: "grep-binary", script: `cat "$BIN" >"$WP" & grep -c -a x "$P"; end $! writer`},
	{name: "grep-line-buffered", script: `
		grep --line-buffered x <"$P" >"$WQ" & a=$!
		exec 5>"$WP" 6<"$Q"; for i in {1..30}; do echo "x $i" >&5; read -r l <&6; done; echo "$l"; exec 5>&-; end $a grep`},
}
