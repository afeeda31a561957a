// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// shells has what bash and dash do themselves.
var shells = []program{
	{name: "dash-read-loop", shell: "sh", script: `
		head -n 500 "$IN" >"$WP" &
		n=0; while read -r a b; do n=$((n + ${#b})); done <"$P"; echo $n; wait $!; echo $?`},
	{name: "dash-redirections", shell: "sh", script: `
		{ echo one; (echo two); cat <<END; } >"$WP" &
three
END
		cat "$P"; wait $!; echo $?
		exec 3<>"$P"; echo four >&3; echo five >>"$WP"; head -n 2 <&3`},
	{name: "dash-script-from-pipe", shell: "sh", script: `
		printf 'echo hello\nread x\nthis line is for read\necho "got $x"\nexit 7\n' >"$WP" &
		sh <"$P"; echo $?; wait`},
	{name: "dash-sigpipe", shell: "sh", script: `
		head -n 1 <"$P" & (while echo line; do :; done) >"$WP"; echo $?; wait`},
	{name: "read", script: `echo "one two three" >"$WP" & read -r a b <"$P"; echo "$b/$a"; end $! writer`},
	{name: "read-eof-without-newline", script: `printf 'no newline' >"$WP" & read -r a <"$P"; echo "$? $a"; end $! writer`},
	{name: "read-count", script: `
		exec 3<>"$P"; printf 'abcdefghij' >&3
		read -r -n 3 a <&3; read -r -N 4 b <&3; read -r -d j c <&3; echo "$a $b $c"`},
	{name: "read-loop", script: `head -n 700 "$IN" >"$WP" & n=0; while read -r _ w _; do ((n += ${#w})); done <"$P"; echo $n; end $! writer`},
	{name: "read-loop-two-pipes", script: `
		seq 300 >"$WP" & a=$!; seq 301 600 >"$WQ" & b=$!
		s=0; while read -r x <&3 && read -r y <&4; do ((s += x * y)); done 3<"$P" 4<"$Q"; echo $s; end $a p; end $b q`},
	{name: "mapfile", script: `head -n 900 "$IN" >"$WP" & mapfile -t lines <"$P"; echo "${#lines[@]} ${lines[899]}"; end $! writer`},
	{name: "substitution", script: `cat "$IN" >"$WP" & x=$(<"$P"); echo "${#x}"; end $! writer; seq 9 >"$WP" & echo $(cat "$P")`},
	{name: "read-write-descriptor", script: `
		exec 3<>"$P"
		for i in {1..300}; do echo "message $i" >&3; read -r m <&3; done; echo "$m"
		exec 3>&-; agree; echo last >"$WP" & cat "$P"`},
	{name: "ping-pong", script: `
		(while read -r x; do echo $((x * 2 % 99991)); done) <"$P" >"$WQ" & server=$!
		exec 5>"$WP" 6<"$Q"; x=3
		for i in {1..300}; do echo "$x" >&5; read -r x <&6; done; echo "$x"
		exec 5>&- 6<&-; end $server server`},
	{name: "append", script: `
		exec 3<>"$P"; echo first >>"$WP"; printf 'second\n' >>"$WP"; for i in 3 4; do echo "$i"; done >>"$WP"
		head -n 4 <&3`},
	{name: "append-large", script: `cat "$P" >"$OUT/o" & { cat "$IN"; cat "$BIN"; } >>"$WP"; end $! reader`},
	{name: "here-document", script: `
		cat >"$WP" <<-END &
		PATH is a $((6 * 7))
		END
		cat "$P"; end $! writer`},
	{name: "here-string", script: `cat >"$WP" <<<"a here string" & cat "$P"; end $! writer`},
	{name: "background-writers", script: `
		cat "$P" >"$TMP/o" & reader=$!
		exec 3>"$WP"; pids=
		for w in {1..8}; do for i in {1..50}; do echo "$w $i"; done >"$WP" 3>&- & pids+=" $!"; done
		wait $pids; echo $?; exec 3>&-; end $reader cat; sort "$TMP/o"`},
	{name: "group-shares-descriptor", script: `
		{ echo a; (echo b; exec echo c); { echo d; } ; bash -c 'echo e' & wait; echo f; } >"$WP" &
		cat "$P"; end $! group`},
	{name: "group-reads-in-turn", script: `
		cat "$IN" >"$WP" & { read -r a; (read -r b; echo "$b"); read -r c; echo "$a"; echo "$c"; wc -l; } <"$P"; end $! writer`},
	{name: "close-does-not-end", script: `
		cat "$P" & exec 3>"$WP" 4>&3 5>&3
		echo one >&3; exec 3>&-; echo two >&4; exec 4>&-; (exec 5>&-); echo three >&5; exec 5>&-; end $! reader`},
	{name: "exec-output", script: `cat "$P" & exec >"$WP"; echo from bash; echo from a child | cat; exec >&2; wait`},
	{name: "process-substitution", script: `
		tee >(sort -r >"$WP") >(wc -l >"$WQ") <"$IN" >"$TMP/o" & paste <(tail -n 1 "$P") "$Q"; wait`},
	{name: "script-from-pipe", script: `printf 'x=41\necho $((x + 1))\nexit 3\n' >"$WP" & bash "$P"; echo $?; wait`},
	{name: "source", script: `printf 'x=41\nf() { echo "$1"; }\n' >"$WP" & . <(cat "$P"); end $! writer; f "${x-unset}"`},
	{name: "script-on-stdin", script: `printf 'echo $$ >"$TMP/pid"; read -r l\nline for read\necho "$l"' >"$WP" & bash <"$P"; echo $?; wait`},
	{name: "sigpipe", script: `head -n 1 "$P" & while echo line; do :; done >"$WP"; echo not reached`, status: "signal: broken pipe"},
	{name: "sigpipe-trapped", script: `
		trap 'echo trapped >&2' PIPE
		head -n 1 "$P" & for ((i = 0; i < 3000000; i++)); do echo "line $i" || break; done 2>"$TMP/e" >"$WP"
		grep -q 'Broken pipe' "$TMP/e" && echo refused; wait`},
	{name: "reopened-after-end", script: `
		for word in first second third; do
			{ echo "$word"; } >"$WP" & read -r got <"$P"; end $! writer; echo "$got"
		done`},
	{name: "unread-bytes-vanish", script: `
		exec 3<>"$P"; echo unread >&3; exec 3>&-
		exec 3<>"$P"; echo fresh >&3; read -r got <&3; echo "$got"`},
	{name: "descriptor-of-another-process", script: `
		exec 3<>"$P"; echo hello >/proc/self/fd/3; read -r got <&3; echo "$got"
		echo again | tee /dev/fd/3 >"$TMP/o"; read -r got <&3; echo "$got"`},
	{name: "dev-stdin-stdout", script: `
		cat "$BIN" >"$WP" & a=$!; { cat /dev/stdin <"$P" >/dev/stdout; } >"$WQ" & b=$!; cat /dev/fd/0 <"$Q" >"$OUT/o"; end $a p; end $b q`},
	{name: "kill-writer", script: `
		(exec yes >"$WP") & w=$!; exec 3<"$P"; read -r x <&3; kill -9 $w; wait $w; echo $?
		cat <&3 >"$TMP/o"; echo "end of file $x"`},
	{name: "kill-reader", script: `
		(exec sleep 15 <"$P") & r=$!; exec 3>"$WP"; kill -9 $r; wait $r; echo $?
		(while echo x; do :; done >&3) 2>"$TMP/e"; echo $?`},
	{name: "interrupted-open", script: `
		trap 'echo got USR1' USR1; (sleep 0.2; kill -USR1 $$; await test -e "$TMP/go"; echo line >"$WP") &
		touch "$TMP/go"; read -r x <"$P"; echo "$x"; wait`},
	{name: "job-stop-and-continue", script: `
		cat "$P" >"$OUT/o" & r=$!; exec 3>"$WP"; kill -STOP $r; echo one >&3; kill -CONT $r; cat "$IN" >&3; exec 3>&-; end $r reader`},
	{name: "flock", script: `
		exec 3<>"$P"; flock -n 3; echo $?; flock -n "$P" true; echo $?
		flock -u 3; flock -n "$P" echo locked; flock -w 5 3; echo $?`},
	{name: "setsid", script: `setsid cat "$P" >"$OUT/o" & cat "$IN" >"$WP"; end $! reader`},
}
