// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// A record is a block of bytes that shows whether it arrived whole: length,
// writer and number, 4 octets each, then a filler that follows from them.
const recordHeader = 12

// recordOps write and read records.
func recordOps() map[string]op {
	return map[string]op{
		"put_records":  putRecords,
		"get_records":  getRecords,
		"read_records": readRecords,
	}
}

func record(size, writer, number int) []byte {
	rec := make([]byte, size)
	binary.BigEndian.PutUint32(rec[0:], uint32(size))
	binary.BigEndian.PutUint32(rec[4:], uint32(writer))
	binary.BigEndian.PutUint32(rec[8:], uint32(number))
	for i := recordHeader; i < size; i++ {
		rec[i] = byte(writer*31 + number*7 + i)
	}
	return rec
}

// parse checks the record at the start of b and answers its size and its mark,
// writer<<32 + number. The size is 0 when b does not hold it whole.
func parse(b []byte) (size int, mark int64, err error) {
	if len(b) < recordHeader {
		return 0, 0, nil
	}
	size = int(binary.BigEndian.Uint32(b))
	if size < recordHeader || size > 1<<20 {
		return 0, 0, fmt.Errorf("torn record: length %d", size)
	}
	if len(b) < size {
		return 0, 0, nil
	}
	writer, number := int(binary.BigEndian.Uint32(b[4:])), int(binary.BigEndian.Uint32(b[8:]))
	if !bytes.Equal(b[:size], record(size, writer, number)) {
		return 0, 0, fmt.Errorf("torn record: writer %d number %d", writer, number)
	}
	return size, int64(writer)<<32 + int64(number), nil
}

// putRecords writes records one write each, Args: count, writer, size. With
// size 0 they have all sizes up to PIPE_BUF.
func putRecords(r Request) Result {
	for i := range int(r.Args[0]) {
		size := int(r.Args[2])
		if size == 0 {
			size = recordHeader + (i*1009+int(r.Args[1])*311)%(4096-recordHeader+1)
		}
		n, err := unix.Write(r.FD, record(size, int(r.Args[1]), i))
		if err != nil {
			return ended(int64(i), "", err)
		}
		if n != size {
			return ended(int64(i), "", fmt.Errorf("wrote %d of %d bytes", n, size))
		}
	}
	return Result{Ret: r.Args[0]}
}

// getRecords reads a stream of records until end-of-file, in reads of odd
// sizes. Ret is the number of records, Values their marks as they came.
func getRecords(r Request) Result {
	var pending []byte
	var marks []int64
	block := make([]byte, 10_000)
	for i := 0; ; i++ {
		n, err := unix.Read(r.FD, block[:1+(i*2731)%len(block)])
		if err != nil {
			return ended(int64(len(marks)), "", err)
		}
		pending = append(pending, block[:n]...)
		for {
			size, mark, err := parse(pending)
			if err != nil {
				return ended(int64(len(marks)), "", err)
			}
			if size == 0 {
				break
			}
			marks, pending = append(marks, mark), pending[size:]
		}
		if n > 0 {
			continue
		}
		if len(pending) > 0 {
			return ended(int64(len(marks)), "", fmt.Errorf("end-of-file within a record"))
		}
		return Result{Ret: int64(len(marks)), Values: marks}
	}
}

// readRecords reads records of Args[0] bytes, one read each, until
// end-of-file. Ret is the number of records, Values their marks as they came.
func readRecords(r Request) Result {
	var marks []int64
	block := make([]byte, r.Args[0])
	for {
		n, err := unix.Read(r.FD, block)
		if err != nil {
			return ended(int64(len(marks)), "", err)
		}
		if n == 0 {
			return Result{Ret: int64(len(marks)), Values: marks}
		}
		size, mark, err := parse(block[:n])
		if err == nil && size != n {
			err = fmt.Errorf("read %d bytes of a record", n)
		}
		if err != nil {
			return ended(int64(len(marks)), "", err)
		}
		marks = append(marks, mark)
	}
}
