// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"
)

// largest is the size of the biggest block that stream and drain move at random.
const largest = 200_000

// bulkOps repeat calls until an amount has moved. Ret is the bytes moved, Sum
// the hash over them, Errno what ended it early.
func bulkOps() map[string]op {
	return map[string]op{
		"fill":         fill,
		"stream":       stream,
		"drain":        drain,
		"count_bytes":  countBytes,
		"churn_writer": churnWriter,
		"churn_reader": churnReader,
	}
}

// fill writes blocks until one fails, Args: block size, seed.
func fill(r Request) Result {
	source, h := Pattern(r.Args[1]), sha256.New()
	block := make([]byte, r.Args[0])
	var total int64
	for {
		_, _ = source.Read(block)
		n, err := unix.Write(r.FD, block)
		if err != nil {
			return ended(total, sum(h), err)
		}
		h.Write(block[:n])
		total += int64(n)
		if n < len(block) {
			return ended(total, sum(h), nil)
		}
	}
}

// stream writes a pattern in blocks of random size, Args: total, seed.
func stream(r Request) Result {
	source, h := Pattern(r.Args[1]), sha256.New()
	sizes := rand.New(Pattern(r.Args[1] + 1))
	block := make([]byte, largest)
	var total int64
	for total < r.Args[0] {
		part := block[:min(r.Args[0]-total, 1+sizes.Int64N(largest))]
		_, _ = source.Read(part)
		h.Write(part)
		for len(part) > 0 {
			n, err := unix.Write(r.FD, part)
			if carriesOn(r, unix.POLLOUT, err) {
				continue
			}
			if err != nil {
				return ended(total, sum(h), err)
			}
			total += int64(n)
			part = part[n:]
		}
	}
	return ended(total, sum(h), nil)
}

// drain reads until it has an amount, end-of-file or an error. Args: total,
// size of a read (0 for random sizes), seed of the sizes.
func drain(r Request) Result {
	h, sizes := sha256.New(), rand.New(Pattern(r.Args[2]))
	block := make([]byte, max(largest, r.Args[1]))
	var total int64
	for total < r.Args[0] {
		size := r.Args[1]
		if size == 0 {
			size = 1 + sizes.Int64N(largest)
		}
		n, err := unix.Read(r.FD, block[:min(size, r.Args[0]-total)])
		if n == 0 && err == nil {
			err = io.EOF
		}
		if carriesOn(r, unix.POLLIN, err) {
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return ended(total, sum(h), err)
		}
		h.Write(block[:n])
		total += int64(n)
	}
	return ended(total, sum(h), nil)
}

// carriesOn tells whether the request names the error in Words as one that
// does not end it. After EAGAIN it waits in poll for the event.
func carriesOn(r Request, event int16, err error) bool {
	if err == nil || !slices.Contains(r.Words, answer(0, err).Errno) {
		return false
	}
	if err != unix.EAGAIN {
		return true
	}
	fds := []unix.PollFd{{Fd: int32(r.FD), Events: event}}
	n, err := unix.Ppoll(fds, timespec(10_000), nil)
	return n > 0 || err == unix.EINTR
}

func ended(total int64, sum string, err error) Result {
	res := answer(0, err)
	res.Ret, res.Sum = total, sum
	return res
}

// countBytes reads to end-of-file. Text says how often which byte came.
func countBytes(r Request) Result {
	var counts [256]int
	block := make([]byte, largest)
	for {
		n, err := unix.Read(r.FD, block)
		if err != nil {
			return answer(n, err)
		}
		if n == 0 {
			break
		}
		for _, b := range block[:n] {
			counts[b]++
		}
	}
	var res Result
	for b, n := range counts {
		if n > 0 {
			res.Text += fmt.Sprintf("%q: %d ", byte(b), n)
		}
	}
	return res
}

// churnWriter opens Path, writes one block and closes, again and again, Args:
// rounds, block size, seed.
func churnWriter(r Request) Result {
	source, h := Pattern(r.Args[2]), sha256.New()
	block := make([]byte, r.Args[1])
	var total int64
	for range r.Args[0] {
		fd, err := unix.Open(r.Path, unix.O_WRONLY, 0)
		if err != nil {
			return ended(total, sum(h), err)
		}
		_, _ = source.Read(block)
		n, err := unix.Write(fd, block)
		total += int64(max(n, 0))
		h.Write(block[:max(n, 0)])
		if closed := unix.Close(fd); err == nil {
			err = closed
		}
		if err != nil {
			return ended(total, sum(h), err)
		}
	}
	return ended(total, sum(h), nil)
}

// churnReader opens Path, reads one block and closes, again and again, Args:
// rounds, block size.
func churnReader(r Request) Result {
	h := sha256.New()
	block := make([]byte, r.Args[1])
	var total int64
	for range r.Args[0] {
		fd, err := unix.Open(r.Path, unix.O_RDONLY, 0)
		if err != nil {
			return ended(total, sum(h), err)
		}
		n, err := unix.Read(fd, block)
		total += int64(max(n, 0))
		h.Write(block[:max(n, 0)])
		if closed := unix.Close(fd); err == nil {
			err = closed
		}
		if err != nil {
			return ended(total, sum(h), err)
		}
	}
	return ended(total, sum(h), nil)
}
