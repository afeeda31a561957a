// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// archives has what packs and unpacks, with the archive going through the pipe.
// Some programs stop reading before the padding at an archive's end: there the
// writer's status is a matter of luck and is not looked at. Some open a pipe with
// O_NONBLOCK, where without a writer it is empty: there feed has a writer first.
var archives = []program{
	{name: "gzip", script: `gzip -c "$BIN" >"$WP" & gunzip <"$P" >"$OUT/o"; end $! gzip`},
	{name: "gzip-named", script: `
		feed "$BIN"; gzip -nc1 "$P" >"$OUT/o.gz"; end $! writer
		feed "$OUT/o.gz"; zcat "$P" >"$OUT/o"; end $! writer`},
	{name: "gzip-truncated", script: `gzip -c "$BIN" | head -c 100000 >"$WP" & gunzip <"$P" >"$TMP/o" 2>"$TMP/e"; echo $?; cut -d: -f3 "$TMP/e"; wait`},
	{name: "xz", script: `xz -0 -c "$IN" >"$WP" & xz -dc <"$P" >"$OUT/o"; end $! xz`},
	{name: "xz-named", script: `
		feed "$BIN"; xz -0 -c "$P" >"$TMP/x"; end $! writer; feed "$TMP/x"; xz -dc "$P" >"$OUT/o"; end $! writer`},
	{name: "zstd", script: `zstd -q -c "$BIN" >"$WP" & zstd -q -dc <"$P" >"$OUT/o"; end $! zstd`},
	{name: "zstd-decompress", script: `zstd -q -c "$BIN" >"$WP" & zstd -q -dc "$P" >"$OUT/o"; end $! zstd`},
	{name: "bzip2", script: `bzip2 -1 -c "$IN" >"$WP" & bzip2 -dc "$P" >"$OUT/o"; end $! bzip2`},
	{name: "tar", script: `
		mkdir "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"
		tar -cf "$WP" -C "$TMP" a & tar -xf "$P" -C "$OUT"; wait`},
	{name: "tar-list", script: `
		mkdir "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"
		tar -cf "$WP" -C "$TMP" --sort=name --mtime=@0 --owner=a --group=a a & tar -tvf "$P"; wait`},
	{name: "tar-compressed", script: `
		mkdir "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"
		tar -czf "$WP" -C "$TMP" a & tar -xzf "$P" -C "$OUT" a/text; wait`},
	{name: "tar-stdin", script: `
		mkdir "$TMP/a"; cp "$IN" "$TMP/a"; ln -s text "$TMP/a/link"
		tar -cf - -C "$TMP" a >"$WP" & tar -xvf - -C "$OUT" <"$P"; wait`},
	{name: "tar-compare", script: `
		mkdir "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"
		tar -cf "$WP" -C "$TMP" a & tar -df "$P" -C "$TMP"; echo $?; wait`},
	{name: "tar-names-from", script: `
		mkdir "$TMP/a"; cp "$IN" "$TMP/a/x"; cp "$IN" "$TMP/a/y"
		printf 'a/x\na/y\n' >"$WP" & tar -cf - -C "$TMP" -T "$P" | tar -tf -; end $! writer`},
	{name: "cpio", script: `
		mkdir "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"; cd "$TMP"
		find a -type f | sort | cpio --quiet -o -H newc >"$WP" & (cd "$OUT" && cpio --quiet -id <"$P"); wait`},
	{name: "cpio-named", script: `
		mkdir "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"; cd "$TMP"
		find a -type f | sort | cpio --quiet -o -H ustar -F "$WP" & cpio --quiet -t -F "$P"; wait`},
	{name: "zip", script: `(cd "${IN%/*}"; zip -q - text) >"$WP" & funzip <"$P" >"$OUT/o"; end $! zip`},
	{name: "openssl-enc", script: `
		openssl enc -aes-256-ctr -pbkdf2 -pass pass:x -S 0011223344556677 -in "$BIN" -out "$WP" & a=$!
		openssl enc -d -aes-256-ctr -pbkdf2 -pass pass:x -S 0011223344556677 -in "$P" -out "$WQ" & b=$!
		cat "$Q" >"$OUT/o"; end $a encrypt; end $b decrypt`},
	{name: "openssl-digest", script: `cat "$BIN" >"$WP" & openssl dgst -sha256 "$P"; end $! writer; cat "$BIN" >"$WP" & openssl dgst -sha512 -r <"$P"; end $! writer`},
	{name: "openssl-base64", script: `openssl base64 -in "$IN" -out "$WP" & openssl base64 -d -in "$P" >"$OUT/o"; end $! openssl`},
	{name: "git-fast-export", script: `
		git init -q "$TMP/a"; cp "$IN" "$BIN" "$TMP/a"; git -C "$TMP/a" add .; git -C "$TMP/a" commit -qm one
		git init -q --bare "$TMP/b"
		git -C "$TMP/a" fast-export --all >"$WP" & git -C "$TMP/b" fast-import --quiet <"$P"; echo $?; end $! export
		git -C "$TMP/b" ls-tree -r --full-tree "$(git -C "$TMP/a" rev-parse HEAD)"`},
	{name: "git-bundle", script: `
		git init -q -b main "$TMP/a"; cp "$IN" "$TMP/a"; git -C "$TMP/a" add .; git -C "$TMP/a" commit -qm one
		git init -q --bare "$TMP/b"
		git -C "$TMP/a" bundle create -q - main >"$WP" & git -C "$TMP/b" bundle verify -q "$P"; echo $?; wait`},
	{name: "git-apply", script: `
		cp "$IN" "$OUT/text"; cd "$OUT"
		sed 5d text | diff -u --label a/text --label b/text text - >"$WP" & git apply "$P"; echo $?; wait`},
}
