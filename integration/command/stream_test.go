// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package command

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// random is a stream of bytes that is the same each time.
func random(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{'z', 'p'}), n)
}

const streamSize = 64 << 20

func streamSum(t *testing.T) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, random(streamSize)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x  -\n", h.Sum(nil))
}

// Every byte arrives, whichever door it goes in and out by.
func TestStreams(t *testing.T) {
	s := mounted(t)
	want := streamSum(t)
	in := map[string]func(string) job{
		"client": func(pipe string) job { return s.zpipes("write", pipe) },
		"mount":  func(pipe string) job { return sh(`exec cat >"$1"`, s.at(pipe)) },
	}
	out := map[string]func(string) job{
		"client": func(pipe string) job {
			return sh(`set -e; "$1" read "$2" --name "$3" | sha256sum`, binary, pipe, s.name)
		},
		"mount": func(pipe string) job { return sh(`exec sha256sum <"$1"`, s.at(pipe)) },
	}
	for from, write := range in {
		for to, read := range out {
			t.Run(from+" to "+to, func(t *testing.T) {
				pipe := from + to
				if from == "mount" || to == "mount" {
					ok(t, s.zpipes("create", pipe))
				}
				r := start(t, read(pipe))
				j := write(pipe)
				j.stdin = random(streamSize)
				w := start(t, j)
				if got := w.wait(); got.code != 0 {
					t.Errorf("writer: %v", got)
				}
				if got := r.wait(); got.code != 0 || got.stdout != want {
					t.Errorf("reader: %v; want %q", got, want)
				}
			})
		}
	}
}

// What a writer leaves behind waits for its reader.
func TestWriterMayGoFirst(t *testing.T) {
	s := brokered(t)
	j := s.zpipes("write", "talk", "--timeout", "10s")
	j.stdin = strings.NewReader("hello\n")
	w := start(t, j)
	if got := ok(t, s.zpipes("read", "talk")); got != "hello\n" {
		t.Errorf("read says %q", got)
	}
	if r := w.wait(); r.code != 0 || r.stdout+r.stderr != "" {
		t.Errorf("write: %v", r)
	}
}

// A reader that cannot put out what it reads leaves the rest in the pipe.
func TestReadTakesLittleAhead(t *testing.T) {
	s := brokered(t)
	ok(t, s.zpipes("create", "p"))
	start(t, sh(`mkfifo "$1" && exec 3<>"$1" && exec "$2" read p --name "$3" >&3`, filepath.Join(folder(t), "out"), binary, s.name))
	j := s.zpipes("write", "p")
	j.stdin = random(8 << 20)
	start(t, j)
	var buffered, written int
	until(t, "the pipe is full", func() bool {
		f := strings.Fields(lastLine(ok(t, s.zpipes("ls", "-l"))))
		if len(f) != 9 {
			return false
		}
		buffered, _ = strconv.Atoi(f[5])
		written, _ = strconv.Atoi(f[6])
		return buffered > 1<<20-256<<10 // no whole chunk more goes in
	})
	if taken := written - buffered; taken == 0 || taken > 640<<10 { // of which 64 KiB are out
		t.Errorf("the reader has taken %d bytes", taken)
	}
}

func TestEmptyStream(t *testing.T) {
	s := mounted(t)
	ok(t, s.zpipes("create", "p"))
	r := start(t, s.zpipes("read", "p"))
	ok(t, sh(`: >"$1"`, s.at("p"))) // it meets the reader
	if got := r.wait(); got.code != 0 || got.stdout+got.stderr != "" {
		t.Errorf("read: %v; want nothing, in silence", got)
	}
}

func TestTimeouts(t *testing.T) {
	s := brokered(t)
	refused(t, 8, s.zpipes("read", "p", "--timeout", "100ms"), "read p", "100ms")
	j := s.zpipes("write", "--timeout=100ms", "p")
	j.stdin = strings.NewReader("hello")
	refused(t, 8, j, "write p", "100ms")
	j.stdin = random(8 << 20)
	refused(t, 8, j, "write p", "100ms")
}

// The time counts from the last byte, not from the start.
func TestTimeoutIsOfSilence(t *testing.T) {
	s := brokered(t)
	r := start(t, s.zpipes("read", "p", "--timeout", "3s"))
	in, feed := io.Pipe()
	j := s.zpipes("write", "p")
	j.stdin = in
	w := start(t, j)
	t.Cleanup(func() { feed.Close() })
	for i := range 3 {
		fmt.Fprintln(feed, i)
		until(t, "the line arrives", func() bool { return strings.Count(r.stdout.String(), "\n") == i+1 })
	}
	if got, want := r.wait(), "0\n1\n2\n"; got.code != 8 || got.stdout != want || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("%v; want exit 8 after %q", got, want)
	}
	feed.Close()
	w.wait()
}

func TestReaderClosesEarly(t *testing.T) {
	s := mounted(t)
	ok(t, s.zpipes("create", "p"))
	for _, read := range []job{s.zpipes("read", "p"), sh(`exec cat "$1"`, s.at("p"))} {
		r := start(t, read)
		j := s.zpipes("write", "p")
		j.stdin = random(1 << 40)
		w := start(t, j)
		until(t, "bytes arrive", func() bool { return len(r.stdout.String()) > 0 })
		r.signal(syscall.SIGKILL)
		r.wait()
		w.wait().is(t, w.cmd.Args, 9, "write p", "reader")
	}
}

func TestOutputClosesEarly(t *testing.T) {
	s := brokered(t)
	j := s.zpipes("write", "p")
	j.stdin = random(1 << 40)
	w := start(t, j)
	r := run(t, sh(`{ "$1" read p --name "$2"; echo $? >&2; } | head -c 5 | wc -c`, binary, s.name))
	if want := fmt.Sprintln(128 + int(syscall.SIGPIPE)); r.stdout != "5\n" || r.stderr != want {
		t.Errorf("%v; want silence and status %s", r, want)
	}
	w.wait().is(t, w.cmd.Args, 9, "write p")
}

func TestBusyPipe(t *testing.T) {
	s := brokered(t)
	ok(t, s.zpipes("create", "p", "--mode", "exclusive"))
	ends := func(column int) func() bool {
		return func() bool { return strings.Fields(lastLine(ok(t, s.zpipes("ls", "-l"))))[column] == "1" }
	}
	r := start(t, s.zpipes("read", "p"))
	until(t, "the reader is there", ends(3))
	refused(t, 7, s.zpipes("read", "p"), "read p", "exclusive")
	in, feed := io.Pipe()
	j := s.zpipes("write", "p")
	j.stdin = in
	w := start(t, j)
	until(t, "the writer is there", ends(4))
	refused(t, 7, s.zpipes("write", "p"), "write p", "exclusive")
	feed.Close()
	if got := w.wait(); got.code != 0 {
		t.Errorf("writer: %v", got)
	}
	if got := r.wait(); got.code != 0 {
		t.Errorf("reader: %v", got)
	}
	ok(t, s.zpipes("create", "-p", "d/x"))
	refused(t, 7, s.zpipes("read", "d"), "read d", "directory")
}

// A client that ends by a signal leaves its end at once.
func TestInterruptedClient(t *testing.T) {
	s := brokered(t)
	ok(t, s.zpipes("create", "p", "--mode", "exclusive"))
	readers := func() string { return strings.Fields(lastLine(ok(t, s.zpipes("ls", "-l"))))[3] }
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		r := start(t, s.zpipes("read", "p"))
		until(t, "the reader is there", func() bool { return readers() == "1" })
		r.signal(sig)
		if got := r.wait(); got.signal != sig || got.stderr != "" {
			t.Errorf("%v: %v; want it to end by that, in silence", sig, got)
		}
		until(t, "the reader has gone", func() bool { return readers() == "0" })
	}
}

func TestBrokerDiesUnderClients(t *testing.T) {
	s := brokered(t)
	r := start(t, s.zpipes("read", "p"))
	j := s.zpipes("write", "q")
	j.stdin = random(1 << 40)
	w := start(t, j)
	until(t, "both are there", func() bool { return strings.Count(ok(t, s.zpipes("ls")), "\n") == 2 })
	s.signal(syscall.SIGKILL)
	s.process.wait()
	r.wait().is(t, r.cmd.Args, 9, "read p")
	w.wait().is(t, w.cmd.Args, 9, "write q")
}

// A broker that ends in order tells its clients.
func TestBrokerEndsUnderClients(t *testing.T) {
	s := brokered(t)
	r := start(t, s.zpipes("read", "p"))
	until(t, "the reader is there", func() bool { return strings.Contains(ok(t, s.zpipes("ls")), "p") })
	s.stop()
	if got := r.wait(); got.code != 0 && got.code != 9 || got.stdout != "" || strings.Count(got.stderr, "\n") > 1 {
		t.Errorf("read: %v; want the end of the data or a broker that has gone", got)
	}
}

func TestEndpointSelectsTheBroker(t *testing.T) {
	socket := filepath.Join(folder(t), "s")
	s := brokered(t, "--endpoint", "ipc://"+socket, "--endpoint", "ipc://@/zpipes/"+newName()+"-b")
	r := start(t, zpipes("read", "p", "--endpoint", "ipc://"+socket))
	j := job{args: []string{binary, "write", "p"}, env: []string{"ZPIPES_ENDPOINT=ipc://" + socket, "ZPIPES_NAME=none"}, stdin: strings.NewReader("hello")}
	ok(t, j)
	if got := r.wait(); got.code != 0 || got.stdout != "hello" {
		t.Errorf("read: %v", got)
	}
	s.stop()
	refused(t, 3, zpipes("read", "p", "--endpoint", "ipc://"+socket), socket)
	refused(t, 3, zpipes("read", "p", "--endpoint", "tcp://127.0.0.1:9"), "127.0.0.1:9")
	refused(t, 1, zpipes("read", "p", "--endpoint", "nonsense"), "nonsense")
}

// A broker that was stopped is noticed, and goes on where it was.
func TestStoppedBroker(t *testing.T) {
	s := brokered(t)
	in, feed := io.Pipe()
	j := s.zpipes("write", "p")
	j.stdin = in
	w, r := start(t, j), start(t, s.zpipes("read", "p"))
	t.Cleanup(func() { feed.Close() })
	io.WriteString(feed, "one ")
	until(t, "bytes arrive", func() bool { return r.stdout.String() == "one " })
	s.signal(syscall.SIGSTOP)
	io.WriteString(feed, "two ")
	s.signal(syscall.SIGCONT)
	io.Copy(feed, bytes.NewReader([]byte("three")))
	feed.Close()
	if got := w.wait(); got.code != 0 {
		t.Errorf("writer: %v", got)
	}
	if got := r.wait(); got.code != 0 || got.stdout != "one two three" {
		t.Errorf("reader: %v", got)
	}
}
