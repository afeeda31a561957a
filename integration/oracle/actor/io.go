// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"math/rand/v2"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// shown is how many bytes of a read a Result carries; of more it has the hash.
const shown = 128

// ioOps are the calls that move bytes, and those that a pipe refuses.
func ioOps() map[string]op {
	return map[string]op{
		// read, Args: size.
		"read": func(r Request) Result {
			buf := make([]byte, r.Args[0])
			n, err := unix.Read(r.FD, buf)
			return readAnswer(n, err, buf)
		},
		// readv, Args: the size of each part.
		"readv": func(r Request) Result {
			n, buf, err := scatter(r.Args, func(parts [][]byte) (int, error) { return unix.Readv(r.FD, parts) })
			return readAnswer(n, err, buf)
		},
		// write writes Data, or Args: size and seed of a Pattern. Sum is over what
		// was taken.
		"write": func(r Request) Result {
			data := payload(r)
			n, err := unix.Write(r.FD, data)
			res := answer(n, err)
			h := sha256.New()
			h.Write(data[:max(n, 0)])
			res.Sum = sum(h)
			return res
		},
		// writev writes each of Words as a part.
		"writev": func(r Request) Result { return answer(unix.Writev(r.FD, parts(r.Words))) },
		"pread": func(r Request) Result {
			buf := make([]byte, r.Args[0])
			n, err := unix.Pread(r.FD, buf, r.Args[1])
			return readAnswer(n, err, buf)
		},
		"pwrite": func(r Request) Result { return answer(unix.Pwrite(r.FD, r.Data, r.Args[0])) },
		"preadv": func(r Request) Result {
			buf := make([]byte, r.Args[0])
			n, err := unix.Preadv(r.FD, [][]byte{buf}, r.Args[1])
			return readAnswer(n, err, buf)
		},
		"pwritev": func(r Request) Result {
			return answer(unix.Pwritev(r.FD, [][]byte{r.Data}, r.Args[0]))
		},
		// lseek, Args: offset, whence.
		"lseek": func(r Request) Result {
			n, err := unix.Seek(r.FD, r.Args[0], int(r.Args[1]))
			return answer(int(n), err)
		},
		"ftruncate": func(r Request) Result { return answer(0, unix.Ftruncate(r.FD, r.Args[0])) },
		"truncate":  func(r Request) Result { return answer(0, unix.Truncate(r.Path, r.Args[0])) },
		"fallocate": func(r Request) Result { return answer(0, unix.Fallocate(r.FD, 0, 0, r.Args[0])) },
		"fsync":     func(r Request) Result { return answer(0, unix.Fsync(r.FD)) },
		"fdatasync": func(r Request) Result { return answer(0, unix.Fdatasync(r.FD)) },
		"mmap":      mapped,
	}
}

// Pattern is an endless, reproducible stream of bytes: an io.Reader.
func Pattern(seed int64) *rand.ChaCha8 {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// PatternSum is the Sum of n bytes of a Pattern after the first skip.
func PatternSum(seed, skip, n int64) string {
	block, h := make([]byte, skip+n), sha256.New()
	_, _ = Pattern(seed).Read(block) // it cannot fail
	h.Write(block[skip:])
	return sum(h)
}

func payload(r Request) []byte {
	if len(r.Args) == 0 {
		return r.Data
	}
	buf := make([]byte, r.Args[0])
	_, _ = Pattern(r.Args[1]).Read(buf) // it cannot fail
	return buf
}

func parts(words []string) [][]byte {
	bufs := make([][]byte, len(words))
	for i, w := range words {
		bufs[i] = []byte(w)
	}
	return bufs
}

// scatter calls read with one buffer of each size and joins what it filled.
func scatter(sizes []int64, read func([][]byte) (int, error)) (int, []byte, error) {
	bufs := make([][]byte, len(sizes))
	for i, size := range sizes {
		bufs[i] = make([]byte, size)
	}
	n, err := read(bufs)
	var all []byte
	for _, b := range bufs {
		all = append(all, b...)
	}
	return n, all, err
}

func readAnswer(n int, err error, buf []byte) Result {
	res := answer(n, err)
	if err != nil {
		return res
	}
	if n <= shown {
		res.Data = buf[:n]
	}
	h := sha256.New()
	h.Write(buf[:n])
	res.Sum = sum(h)
	return res
}

// sum shortens a hash to what a transcript needs to tell streams apart.
func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:8]) }

// mapped maps one page, Args: MAP_SHARED or MAP_PRIVATE, and reads its first
// byte. A fault kills the process by SIGBUS, as it would a C program.
func mapped(r Request) Result {
	page, err := unix.Mmap(r.FD, 0, os.Getpagesize(), unix.PROT_READ, int(r.Args[0]))
	if err != nil {
		return answer(0, err)
	}
	if err := disposition(unix.SIGBUS, sigDefault); err != nil {
		return answer(0, err)
	}
	return Result{Ret: int64(page[0])}
}

// names lists the directory Path.
func names(r Request) Result {
	entries, err := os.ReadDir(r.Path)
	if err != nil {
		return answer(0, err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	sort.Strings(all)
	return Result{Ret: int64(len(all)), Text: strings.Join(all, " ")}
}
