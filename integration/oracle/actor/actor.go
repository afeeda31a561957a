// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package actor is a process that makes single system calls on command.
//
// A script which examines a named pipe needs processes that block, die by
// signals and share descriptors, and must never block itself. It starts actors
// and tells each, one line of JSON at a time, which call to make on which of
// its threads; the actor answers with what the kernel answered. Nothing is
// retried or smoothed over: EINTR, short counts and SIGPIPE reach the script
// as they are.
package actor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Request asks one thread of an actor for one call.
type Request struct {
	ID     int      // chosen by the script, repeated in the Result
	Thread int      // which thread makes the call; it is started by its first request
	Op     string   // the call's name
	Path   string   `json:",omitempty"`
	Path2  string   `json:",omitempty"`
	FD     int      `json:",omitempty"`
	Args   []int64  `json:",omitempty"` // flags, sizes and seeds, in the order the call documents
	Data   []byte   `json:",omitempty"` // what to write
	Words  []string `json:",omitempty"` // a command line
}

// Result is the answer to the Request with the same ID.
type Result struct {
	ID     int
	TID    int     // the thread that made the call
	Ret    int64   // the call's return value; -1 when Errno is set
	Errno  string  `json:",omitempty"` // the error's name, as EAGAIN, or its text when it has none
	Data   []byte  `json:",omitempty"` // the bytes read, when they are few
	Sum    string  `json:",omitempty"` // a hash over all bytes read or written
	Values []int64 `json:",omitempty"` // further results, as the call documents
	Text   string  `json:",omitempty"`
}

// An op makes one call. Its Result needs no ID and no TID.
type op func(Request) Result

// Main serves requests until in ends or cannot be parsed. Calls in progress
// are then abandoned: the process is expected to exit.
func Main(in io.Reader, out io.Writer) error {
	unix.Umask(0o022)
	a := &actor{ops: ops(), threads: map[int]chan Request{}, out: json.NewEncoder(out)}
	lines := json.NewDecoder(bufio.NewReaderSize(in, 1<<16))
	for {
		var r Request
		if err := lines.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		a.thread(r.Thread) <- r
	}
}

type actor struct {
	ops     map[string]op
	threads map[int]chan Request // used by Main alone

	mu  sync.Mutex // guards out
	out *json.Encoder
}

func (a *actor) thread(n int) chan<- Request {
	if a.threads[n] == nil {
		a.threads[n] = make(chan Request, 16)
		go a.serve(a.threads[n])
	}
	return a.threads[n]
}

// serve makes the calls of one thread. It never gives its OS thread back, so
// that signal masks and user ids set by a call stay with it alone.
func (a *actor) serve(requests <-chan Request) {
	runtime.LockOSThread()
	for r := range requests {
		call, ok := a.ops[r.Op]
		res := Result{Ret: -1, Errno: "no such op: " + r.Op}
		if ok {
			res = call(r)
		}
		res.ID, res.TID = r.ID, unix.Gettid()
		a.answer(res)
	}
}

func (a *actor) answer(res Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// A script that has gone takes this process with it by closing in.
	_ = a.out.Encode(res)
}

func ops() map[string]op {
	all := map[string]op{
		"hello": func(Request) Result { return Result{} },
	}
	for _, group := range []map[string]op{
		fileOps(), ioOps(), waitOps(), signalOps(), lockOps(), bulkOps(), recordOps(), programOps(),
	} {
		for name, op := range group {
			all[name] = op
		}
	}
	return all
}

// answer turns a call's return value and error into a Result.
func answer(ret int, err error) Result {
	if err == nil {
		return Result{Ret: int64(ret)}
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return Result{Ret: -1, Errno: err.Error()}
	}
	if name := unix.ErrnoName(errno); name != "" {
		return Result{Ret: -1, Errno: name}
	}
	return Result{Ret: -1, Errno: errno.Error()}
}
