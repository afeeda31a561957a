// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// network has the programs that poll before they read and write: socat, nc and
// pv.
var network = []program{
	{name: "socat-open-read", script: `cat "$BIN" >"$WP" & socat -u "OPEN:$P,rdonly" STDOUT >"$OUT/o"; end $! writer`},
	{name: "socat-open-write", script: `cat "$P" >"$OUT/o" & socat -u "OPEN:$BIN" "OPEN:$WP,wronly"; echo $?; end $! reader`},
	{name: "socat-pipe-read", script: `cat "$BIN" >"$WP" & socat -u "PIPE:$P" STDOUT,ignoreeof >"$OUT/o" & s=$!
		arrived() { [ "$(wc -c <"$OUT/o")" -eq "$(wc -c <"$BIN")" ]; }
		await arrived; wait %1; echo $?; kill $s; wait $s; echo $?`},
	{name: "socat-pipe-write", script: `cat "$P" >"$OUT/o" & socat -u "FILE:$BIN" "PIPE:$WP,wronly"; echo $?; end $! reader`},
	{name: "socat-pipe-creates", script: `socat -u "PIPE:$D/new,rdonly" STDOUT >"$OUT/o" & await test -e "$D/new"; cat "$IN" >"$WD/new"; end $! socat
		rm -f "$D/new"`},
	{name: "socat-pipe-to-pipe", script: `
		cat "$BIN" >"$WP" & a=$!; socat -u -b 65536 "OPEN:$P,rdonly" "OPEN:$WQ,wronly" & b=$!; cat "$Q" >"$OUT/o"; end $a writer; end $b socat`},
	{name: "socat-both-ways", script: `
		socat "OPEN:$P,rdonly!!OPEN:$WQ,wronly" "SYSTEM:tr a-z A-Z" & s=$!
		exec 5>"$WP" 6<"$Q"; cat "$IN" >&5 & exec 5>&-; cat <&6 >"$OUT/o"; end $s socat`},
	{name: "socat-poll-idle", script: `
		socat -u -T 5 "OPEN:$P,rdonly" STDOUT >"$OUT/o" & s=$!; exec 5>"$WP"
		for i in 1 2 3; do echo "line $i" >&5; await has_lines "$OUT/o" $i; done; exec 5>&-; end $s socat`},
	{name: "socat-unix-socket", script: `
		socat -u "UNIX-LISTEN:$TMP/s" "OPEN:$WP,wronly" & a=$!
		cat "$P" >"$OUT/o" & b=$!; await test -S "$TMP/s"; socat -u "FILE:$BIN" "UNIX-CONNECT:$TMP/s"; end $a socat; end $b cat`},
	{name: "nc-unix-socket", script: `
		nc -lU "$TMP/s" >"$OUT/o" </dev/null & l=$!; await test -S "$TMP/s"
		cat "$BIN" >"$WP" & w=$!; nc -NU "$TMP/s" <"$P"; echo $?; end $w writer; end $l listener`},
	{name: "nc-loopback", script: `
		nc -nvl 127.0.0.1 0 >"$WP" </dev/null 2>"$TMP/e" & l=$!; cat "$P" >"$OUT/o" & r=$!
		await grep -q Listening "$TMP/e"; port=$(sed -n 's/Listening.* //p' "$TMP/e")
		nc -nN 127.0.0.1 "$port" <"$BIN"; echo $?; end $l listener; end $r reader`},
	{name: "busybox-nc", script: `
		nc -nvl 127.0.0.1 0 >"$OUT/o" </dev/null 2>"$TMP/e" & l=$!
		await grep -q Listening "$TMP/e"; port=$(sed -n 's/Listening.* //p' "$TMP/e")
		cat "$IN" >"$WP" & w=$!; busybox nc 127.0.0.1 "$port" <"$P"; end $w writer; end $l listener`},
	{name: "pv", script: `pv -q "$BIN" >"$WP" & pv -q "$P" >"$OUT/o"; end $! pv`},
	{name: "pv-stdin", script: `cat "$BIN" >"$WP" & pv -q <"$P" >"$OUT/o"; end $! writer`},
	{name: "pv-rate", script: `cat "$IN" >"$WP" & pv -q -L 400k "$P" >"$OUT/o"; end $! writer`},
	{name: "pv-bytes", script: `cat "$BIN" >"$WP" & pv -n -b -i 30 "$P" 2>&1 >"$OUT/o" | tail -n 1; end $! writer`},
	{name: "pv-splice-to-pipe", script: `cat "$BIN" >"$WP" & pv -q "$P" | sha256sum; end $! writer; pv -q "$BIN" | pv -q >"$WP" & sha256sum <"$P"; end $! pv`},
}

// tools has single programs that take a file.
var tools = []program{
	{name: "sqlite3-import", script: `
		cut -d' ' -f1,2,3 "$IN" >"$WP" &
		sqlite3 "$TMP/db" 'create table t(n, a, b)' '.separator " "' ".import $P t" 'select count(*), max(n), count(distinct a) from t'; end $! writer`},
	{name: "sqlite3-read", script: `
		echo 'create table t(x); insert into t values(42); select x*2 from t;' >"$WP" & sqlite3 :memory: ".read $P"; end $! writer
		echo 'select 6*7;' >"$WP" & sqlite3 :memory: <"$P"; end $! writer`},
	{name: "sqlite3-output", script: `
		cat "$P" >"$OUT/o" & sqlite3 :memory: ".output $WP" 'with recursive c(x) as (select 1 union all select x+1 from c limit 20000) select x, x*x from c'; end $! reader`},
	{name: "jq", script: `jq -nc 'range(3000) | {n: ., s: "value \(.)"}' >"$WP" & jq -c 'select(.n % 500 == 0)' "$P"; end $! jq`},
	{name: "jq-slurp", script: `jq -n '[range(3000)]' >"$WP" & a=$!; cat "$IN" >"$WQ" & b=$!; jq -n --slurpfile x "$P" --rawfile y "$Q" '($x[0] | add), ($y | length)'; end $a p; end $b q`},
	{name: "jq-stream", script: `jq --unbuffered -c '.+1' <"$P" >"$WQ" & a=$!; exec 5>"$WP" 6<"$Q"; for i in {1..30}; do echo "$i" >&5; read -r x <&6; done; echo "$x"; exec 5>&-; end $a jq`},
	{name: "file-stdin", script: `cat "$IN" >"$WP" & file -b - <"$P"; wait; gzip -nc "$BIN" >"$WP" & file -b - <"$P"; wait`},
	{name: "bc", script: `echo '2^200; scale=20; 4*a(1)' >"$WP" & bc -lq <"$P"; end $! writer`},
	{name: "patch", script: `
		cp "$IN" "$OUT/text"; sed '7d;30s/^/x/' "$IN" | diff -u "$IN" - >"$WP" & patch -s "$OUT/text" <"$P"; echo $?; wait
		sed '7d;30s/^/x/' "$IN" | diff -u - "$IN" >"$WP" & patch -s -i "$P" "$OUT/text"; echo $?; wait`},
	{name: "xxd", script: `xxd -p "$BIN" >"$WP" & xxd -r -p "$P" >"$OUT/o"; end $! xxd`},
	{name: "xxd-skip", script: `head -c 3000 "$BIN" >"$WP" & xxd -s 1000 -l 64 "$P"; end $! writer`},
	{name: "env-and-find", script: `
		printf '%s\0' "$OUT" >"$WP" & touch "$OUT/f"; find -files0-from "$P" -type f -printf '%f\n'; end $! writer`},
}
