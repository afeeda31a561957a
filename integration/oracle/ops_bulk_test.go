// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import (
	"fmt"

	"golang.org/x/sys/unix"

	proto "github.com/zpipesfs/zpipesfs/integration/oracle/actor"
)

// formatBulk shows how much moved, its hash and, like a plain error, what
// ended it.
func formatBulk(res proto.Result) string { return fmt.Sprintf("%d bytes %s", res.Ret, res.Sum) }

// fill writes blocks until one does not fit.
func fill(fd, size int) op {
	o := onFD("fill", fd, int64(size), 1)
	o.text = fmt.Sprintf("write blocks of %d until", size)
	o.sleeps = []int{unix.SYS_WRITE}
	o.format = func(proto.Result) string { return "short write" }
	return o
}

func formatText(res proto.Result) string { return res.Text }

// stream writes total bytes of a pattern in writes of random size.
func stream(fd int, total, seed int64) op {
	o := onFD("stream", fd, total, seed)
	o.text = fmt.Sprintf("write %d in random blocks", total)
	o.sleeps = []int{unix.SYS_WRITE}
	o.format = formatBulk
	return o
}

// drain reads total bytes, in reads of size or, when that is 0, of random size.
func drain(fd int, total, size int64) op {
	o := onFD("drain", fd, total, size, 7)
	o.text = fmt.Sprintf("read %d in blocks of %d", total, size)
	o.sleeps = []int{unix.SYS_READ}
	o.format = formatBulk
	return o
}

// drainAgain reads what fill or another op with a hash wrote and shows whether
// it is the same: the amount depends on the capacity of the pipe.
func drainAgain(fd int, written result) op {
	o := drain(fd, written.Ret, 65536)
	o.text = "read what was written"
	o.format = func(res proto.Result) string {
		if res.Ret == written.Ret && res.Sum == written.Sum {
			return "the same"
		}
		return fmt.Sprintf("%d of %d bytes, not the same", res.Ret, written.Ret)
	}
	return o
}

// churn opens, moves a block and closes, rounds times: churn_writer or
// churn_reader.
func churn(call, name string, rounds, size int64) op {
	return op{
		text:   fmt.Sprintf("%s(%s) %d times", call, name, rounds),
		req:    proto.Request{Op: call, Path: name, Args: []int64{rounds, size, 3}},
		sleeps: []int{unix.SYS_OPENAT, unix.SYS_READ, unix.SYS_WRITE},
		format: formatBulk,
	}
}

// putRecords writes count records of one writer, one write each; of all sizes
// up to PIPE_BUF when size is 0.
func putRecords(fd, count, writer, size int) op {
	o := onFD("put_records", fd, int64(count), int64(writer), int64(size))
	o.text = fmt.Sprintf("write %d records", count)
	o.sleeps = []int{unix.SYS_WRITE}
	return o
}

// getRecords reads records to the end of the pipe: in odd reads, or one read
// each when size is their size.
func getRecords(fd, size int) op {
	o := onFD("get_records", fd)
	o.text = "read records"
	if size != 0 {
		o = onFD("read_records", fd, int64(size))
		o.text = fmt.Sprintf("read records of %d", size)
	}
	o.sleeps = []int{unix.SYS_READ}
	o.format = func(proto.Result) string { return "whole records, then the end" }
	return o
}

// execute runs a shell command that inherits the actor's descriptors.
func execute(command string) op {
	return op{
		text: "sh -c",
		req:  proto.Request{Op: "exec", Words: []string{"sh", "-c", command}},
		format: func(res proto.Result) string {
			return fmt.Sprintf("exit %d %q", res.Ret, res.Text)
		},
	}
}

// goProgram does I/O through Go's package os: go_write, go_read, go_deadline.
func goProgram(call, name string, args ...int64) op {
	o := onName(call, name)
	o.req.Args = args
	o.format = formatBulk
	o.sleeps = []int{unix.SYS_OPENAT}
	return o
}
