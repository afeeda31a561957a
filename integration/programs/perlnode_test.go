// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// perlNode has perl and node.
var perlNode = []program{
	{name: "perl-lines", script: `cat "$IN" >"$WP" & perl -ne '$n += length; END { print "$n $.\n" }' "$P"; end $! writer`},
	{name: "perl-slurp", script: `cat "$BIN" >"$WP" & perl -0777 -ne 'print length, "\n"' <"$P"; end $! writer`},
	{name: "perl-sysread", script: `
		cat "$BIN" >"$WP" & perl -MDigest::SHA=sha256_hex -e '
			open my $f, "<", $ENV{P} or die; my ($all, $b) = "";
			$all .= $b while sysread $f, $b, 70000;
			print sha256_hex($all), " ", (defined sysseek($f, 0, 1) ? "seeks" : int($!)), "\n"'; end $! writer`},
	{name: "perl-syswrite", script: `
		cat "$P" >"$OUT/o" & perl -e '
			open my $f, ">>", $ENV{WP} or die; select $f; $| = 1; print "line $_\n" for 1..3000; syswrite $f, "x" x 500000'; end $! reader`},
	{name: "perl-read-write", script: `
		perl -e 'open my $f, "+<", $ENV{P} or die; select $f; $| = 1; print "hello\n"; my $l = <$f>; print STDOUT "got $l"'`},
	{name: "perl-select", script: `
		(echo one; cat "$Q" >"$TMP/q"; echo two) >"$WP" & perl -MIO::Select -MIO::Handle -e '
			open my $p, "<", $ENV{P} or die; my $s = IO::Select->new($p);
			my @r = $s->can_read(10); sysread $p, my $b, 100; print scalar(@r), " $b";
			print scalar(my @none = $s->can_read(0.1)), "\n";
			open my $q, ">", $ENV{WQ} or die; close $q;
			@r = $s->can_read(10); sysread $p, $b, 100; print scalar(@r), " $b";
			@r = $s->can_read(10); print scalar(@r), " ", sysread($p, $b, 100), "\n"'; end $! writer`},
	{name: "perl-sigpipe", script: `head -n 1 "$P" & perl -e 'open F, ">", $ENV{WP}; print F "a line\n" while 1'; echo $?; wait`},
	{name: "perl-alarm", script: `perl -e '$SIG{ALRM} = sub { die "alarm\n" }; alarm 1; eval { open my $f, "<", $ENV{P} }; print "open: $@"'`},
	{name: "node-read-stream", script: `
		cat "$BIN" >"$WP" & node -e '
			const h = require("crypto").createHash("sha256");
			require("fs").createReadStream(process.env.P).on("data", b => h.update(b)).on("end", () => console.log(h.digest("hex")))'; end $! writer`},
	{name: "node-write-stream", script: `
		cat "$P" >"$OUT/o" & node -e '
			const s = require("fs").createWriteStream(process.env.WP);
			for (let i = 0; i < 20000; i++) s.write("line " + i + "\n");
			s.end(() => console.log("written"))'; end $! reader`},
	{name: "node-pipeline", script: `
		cat "$BIN" >"$WP" & a=$!; cat "$Q" >"$TMP/gz" & b=$!; node -e '
			const fs = require("fs"), zlib = require("zlib"), { pipeline } = require("stream");
			pipeline(fs.createReadStream(process.env.P), zlib.createGzip({ level: 1 }), fs.createWriteStream(process.env.WQ), e => console.log("done", e))'
		end $a p; end $b q; gunzip <"$TMP/gz" >"$OUT/o"`},
	{name: "node-sync", script: `
		cat "$IN" >"$WP" & a=$!; cat "$Q" >"$OUT/q" & b=$!; node -e '
			const fs = require("fs"); const t = fs.readFileSync(process.env.P, "utf8");
			console.log(t.length); fs.writeFileSync(process.env.WQ, t); fs.copyFileSync'; end $a p; end $b q`},
	{name: "node-promises", script: `
		cat "$BIN" >"$WP" & a=$!; cat "$Q" >"$OUT/q" & b=$!; node -e '
			const fs = require("fs/promises");
			fs.readFile(process.env.P).then(d => { console.log(d.length); return fs.writeFile(process.env.WQ, d) })'; end $a p; end $b q`},
	{name: "node-readline", script: `
		cat "$IN" >"$WP" & node -e '
			const rl = require("readline").createInterface({ input: require("fs").createReadStream(process.env.P) });
			let n = 0, last; rl.on("line", l => { n++; last = l }); rl.on("close", () => console.log(n, last))'; end $! writer`},
	{name: "node-stdin-stdout", script: `
		cat "$IN" >"$WP" & a=$!; cat "$Q" >"$OUT/o" & b=$!; node -e '
			process.stdin.on("data", d => process.stdout.write(d.toString().toUpperCase()))' <"$P" >"$WQ"; end $a p; end $b q`},
	{name: "node-epipe", script: `
		head -n 1 "$P" & node -e '
			const s = require("fs").createWriteStream(process.env.WP);
			s.on("error", e => { console.log(e.code); process.exit(0) });
			const more = () => { while (s.write("a line of text\n".repeat(1000))); s.once("drain", more) }; more()'; wait`},
}

// goPrograms runs testdata/gopipe, whose descriptors the Go runtime puts into
// epoll.
var goPrograms = []program{
	{name: "copy", script: `cat "$BIN" >"$WP" & "$GOPIPE" copy "$P" "$OUT/o"; end $! writer`},
	{name: "copy-to-pipe", script: `cat "$P" >"$OUT/o" & "$GOPIPE" copy "$BIN" "$WP"; end $! reader`},
	{name: "copy-relay", script: `
		"$GOPIPE" copy "$BIN" "$WP" & a=$!; "$GOPIPE" copy "$P" "$WQ" & b=$!; "$GOPIPE" copy "$Q" "$OUT/o"; end $a first; end $b second`},
	{name: "copy-stdin", script: `cat "$BIN" >"$WP" & "$GOPIPE" copy /dev/stdin "$OUT/o" <"$P"; end $! writer`},
	{name: "scan", script: `cat "$IN" >"$WP" & "$GOPIPE" scan "$P"; end $! writer`},
	{name: "read-all", script: `cat "$BIN" >"$WP" & "$GOPIPE" readall "$P"; end $! writer`},
	{name: "deadline", script: `"$GOPIPE" deadline "$P"`},
	{name: "nonblock", script: `"$GOPIPE" nonblock "$P" "$WP"`},
	{name: "close-unblocks", script: `"$GOPIPE" close "$P"`},
	{name: "many-goroutines", script: `"$GOPIPE" many "$P" "$WP"`},
	{name: "ping-pong", script: `"$GOPIPE" echo "$P" "$WQ" & "$GOPIPE" ping "$WP" "$Q"; end $! echo`},
	{name: "exec", script: `seq 1000 >"$WP" & "$GOPIPE" exec "$P" "$OUT/o"; end $! writer`},
	{name: "epipe", script: `head -n 1 "$P" >"$OUT/o" & "$GOPIPE" flood "$WP"; wait`},
}
