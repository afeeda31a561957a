// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"golang.org/x/sys/unix"
)

// transferScenarios are about how bytes are cut into reads.
func transferScenarios() []scenario {
	return []scenario{
		{"transfer/short read", transferShort},
		{"transfer/reads of no, one and all bytes", transferSizes},
		{"transfer/a read joins several writes", transferJoin},
		{"transfer/a write is split over several reads", transferSplit},
		{"transfer/blocked read takes what comes first", transferBlocked},
		{"transfer/write of nothing", transferNothing},
		{"transfer/2 MiB read with 64 KiB there", func(s *script) { transferHuge(s, 64<<10) }},
		{"transfer/2 MiB read with 1 MiB there", func(s *script) { transferHuge(s, 1<<20) }},
		{"transfer/2 MiB read with one byte there", func(s *script) { transferHuge(s, 1) }},
		{"transfer/large write waits for the reader", transferLarge},
		{"transfer/large write then close", transferLargeClose},
		{"transfer/every size around a page", transferPages},
		{"transfer/writev", transferWritev},
		{"transfer/readv", transferReadv},
		{"transfer/large writev to large readv", transferVectors},
		{"transfer/byte by byte over a page boundary", transferBytewise},
	}
}

func transferShort(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 100))
	w.do(write(wfd, "again"))
	r.do(read(rfd, 1<<20))
}

func transferSizes(s *script) {
	w, wfd, r, rfd := s.pair()
	r.do(read(rfd, 0))
	w.do(write(wfd, "hello"))
	r.do(read(rfd, 0))
	r.do(read(rfd, 1))
	r.do(read(rfd, 4))
	r.do(read(rfd, 0))
	w.do(closing(wfd))
	r.do(read(rfd, 0))
	r.do(read(rfd, 1))
}

func transferJoin(s *script) {
	w, wfd, r, rfd := s.pair()
	for _, part := range []string{"one ", "two ", "three"} {
		w.do(write(wfd, part))
	}
	r.do(poll(rfd, unix.POLLIN, long))
	r.do(drain(rfd, 13, 100))
	for range 100 {
		w.quiet(write(wfd, "0123456789"))
	}
	r.do(read(rfd, 2000))
}

func transferSplit(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "0123456789"))
	for _, size := range []int{1, 2, 3, 4} {
		r.do(read(rfd, size))
	}
}

func transferBlocked(s *script) {
	w, wfd, r, rfd := s.pair()
	for _, text := range []string{"a", "bc", "def"} {
		waiting := r.start(read(rfd, 1<<20))
		waiting.blocks()
		w.do(write(wfd, text))
		waiting.wait()
	}
}

// An empty write is no data, no end-of-file and no SIGPIPE.
func transferNothing(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, ""))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.do(write(wfd, ""))
	waiting.blocks()
	w.do(write(wfd, "x"))
	waiting.wait()
	r.do(closing(rfd))
	w.do(poll(wfd, 0, long))
	w.do(write(wfd, ""))
}

// transferHuge reads more than one request of a FUSE mount can carry.
func transferHuge(s *script, size int) {
	w, wfd, r, rfd := s.pair()
	// A FIFO has to be enlarged for the most; a mount's pipe is large enough.
	w.quiet(onFD("fcntl", wfd, unix.F_SETPIPE_SZ, 1<<20))
	w.do(writePattern(wfd, size, 3))
	r.do(read(rfd, 2<<20))
	waiting := r.start(read(rfd, 2<<20))
	waiting.blocks()
	w.do(write(wfd, "more"))
	waiting.wait()
}

func transferLarge(s *script) {
	w, wfd, r, rfd := s.pair()
	waiting := w.start(writePattern(wfd, oversize, 3))
	waiting.blocks()
	r.do(drain(rfd, oversize, 0))
	waiting.wait()
	r.do(nonblock(rfd, true))
	r.do(read(rfd, 10))
}

func transferLargeClose(s *script) {
	w, wfd, r, rfd := s.pair()
	reading := r.start(drain(rfd, 2*oversize, 50_000))
	w.do(writePattern(wfd, oversize, 3))
	w.do(closing(wfd))
	reading.wait()
	r.do(read(rfd, 10))
}

func transferPages(s *script) {
	w, wfd, r, rfd := s.pair()
	for _, size := range []int{4095, 4096, 4097, 8191, 8192, 8193, 32767, 32768, 32769} {
		w.do(writePattern(wfd, size, int64(size)))
		r.do(drain(rfd, int64(size), 4096))
		w.do(writePattern(wfd, size, int64(size)))
		r.do(drain(rfd, int64(size), 5000))
	}
}

func transferWritev(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(writev(wfd, "one ", "", "two ", "three"))
	r.do(drain(rfd, 13, 100))
	w.do(writev(wfd, "", ""))
	waiting := r.start(read(rfd, 10))
	waiting.blocks()
	w.do(writev(wfd, "x"))
	waiting.wait()
}

func transferReadv(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(write(wfd, "0123456789"))
	r.do(readv(rfd, 3, 0, 4))
	r.do(readv(rfd, 1, 100))
	waiting := r.start(readv(rfd, 2, 2))
	waiting.blocks()
	w.do(write(wfd, "abc"))
	waiting.wait()
	w.do(closing(wfd))
	r.do(readv(rfd, 2, 2))
}

func transferVectors(s *script) {
	w, wfd, r, rfd := s.pair()
	sizes := []int64{1, 4095, 4096, 4097, 100_000}
	parts := []string{string(make([]byte, 3000)), "mark", string(make([]byte, 100_000)), "end"}
	waiting := w.start(writev(wfd, parts...))
	waiting.op.text = "writev of 103007"
	r.do(drain(rfd, 103_007, 20_000))
	waiting.wait()
	w.do(writePattern(wfd, 20_000, 2))
	r.do(readv(rfd, sizes...))
}

func transferBytewise(s *script) {
	w, wfd, r, rfd := s.pair()
	w.do(writePattern(wfd, 8200, 2))
	r.do(drain(rfd, 4090, 4090))
	r.do(drain(rfd, 20, 1))
	r.do(drain(rfd, 4090, 4090))
}
