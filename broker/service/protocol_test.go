// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"strings"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// step is a request of one of two clients, or an answer that is due.
type step struct {
	who  byte // 'r' or 'w', capital: the answer is to be awaited
	what zpipes.Message
}

func r(m zpipes.Message) step { return step{'r', m} }
func w(m zpipes.Message) step { return step{'w', m} }
func R(m zpipes.Message) step { return step{'R', m} }
func W(m zpipes.Message) step { return step{'W', m} }

// play runs the steps with two clients of a fresh service.
func play(t *testing.T, steps []step) {
	h := serve(t, nil)
	one, two := h.dial(t), h.dial(t)
	for i, s := range steps {
		d := one
		if s.who|0x20 == 'w' {
			d = two
		}
		t.Logf("%d %c %s", i, s.who, show(s.what))
		if s.who < 'a' {
			d.expect(s.what)
		} else {
			d.send(s.what)
		}
	}
	one.silent()
	two.silent()
}

// TestConversation plays what zbroker's clients rely on.
func TestConversation(t *testing.T) {
	open := []step{r(input("p")), R(inputOK), w(output("p")), W(outputOK)}
	opened := func(more ...step) []step { return append(append([]step{}, open...), more...) }
	long := strings.Repeat("n", 255)
	for name, steps := range map[string][]step{
		"input opens at once":  {r(input("p")), R(inputOK)},
		"output opens at once": {w(output("p")), W(outputOK)},
		"second reader":        {r(input("p")), R(inputOK), w(input("p")), W(inputFailed("taken"))},
		"second writer":        {r(output("p")), R(outputOK), w(output("p")), W(outputFailed("taken"))},
		"try again on the same socket": {r(input("p")), R(inputOK), w(input("p")), W(inputFailed("taken")),
			r(closeIt), R(closeOK), w(input("p")), W(inputOK)},
		"failed open leaves nothing open": {r(input("p")), R(inputOK), w(input("p")), W(inputFailed("")),
			w(readN(1, 1)), W(invalid), w(closeIt), W(invalid)},
		"name of 255":          {r(input(long)), R(inputOK)},
		"name with ..":         {r(input("a/../b")), R(inputFailed("name"))},
		"name with empty part": {r(output("/a")), R(outputFailed("name"))},
		"name with NUL":        {r(output("a\x00b")), R(outputFailed("name"))},
		"name below a pipe":    {r(input("p")), R(inputOK), w(output("p/q")), W(outputFailed("directory"))},

		"read joins chunks":   opened(w(write("abc", 0)), W(writeOK), w(write("defg", 0)), W(writeOK), r(readN(5, 0)), R(readOK("abcde"))),
		"read splits a chunk": opened(w(write("abcdef", 0)), W(writeOK), r(readN(2, 0)), R(readOK("ab")), r(readN(4, 0)), R(readOK("cdef"))),
		"read waits for all":  opened(r(readN(4, 0)), w(write("ab", 0)), W(writeOK), w(write("cd", 0)), W(writeOK), R(readOK("abcd"))),
		"short read at the end, then end for ever": opened(w(write("abc", 0)), W(writeOK), w(closeIt), W(closeOK),
			r(readN(10, 0)), R(readOK("abc")), r(readN(10, 0)), R(readEnd), r(readN(1, 5)), R(readEnd), r(readN(1, 0)), R(readEnd), r(closeIt), R(closeOK)),
		"pending read ends with the writer":    opened(r(readN(10, 0)), w(write("abc", 0)), W(writeOK), w(closeIt), W(closeOK), R(readOK("abc"))),
		"pending read of nothing ends as well": opened(r(readN(10, 0)), w(closeIt), W(closeOK), R(readEnd)),
		"read 0":                               opened(r(readN(0, 0)), R(readEnd), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
		"read timeout leaves the bytes":        opened(w(write("abc", 0)), W(writeOK), r(readN(4, 30)), R(readTimeout), r(readN(3, 0)), R(readOK("abc"))),
		"read timeout without a writer":        {r(input("p")), R(inputOK), r(readN(1, 20)), R(readTimeout)},
		"requests are served in order": opened(r(readN(1, 0)), r(readN(2, 0)), r(readN(3, 0)), w(write("abbccc", 0)), W(writeOK),
			R(readOK("a")), R(readOK("bb")), R(readOK("ccc"))),
		"close during a read": opened(r(readN(1, 0)), r(closeIt), R(readFailed("closed")), R(closeOK)),
		"close during a read, more behind": opened(r(readN(4, 0)), r(readN(1, 0)), r(closeIt), r(readN(1, 0)), r(readN(1, 0)),
			R(readFailed("closed")), R(readFailed("closed")), R(closeOK), R(invalid), R(invalid)),
		"close with bytes left fails only what waits": opened(w(write("abc", 0)), W(writeOK), r(readN(2, 0)), R(readOK("ab")),
			r(readN(2, 0)), r(readN(1, 0)), r(closeIt), R(readFailed("")), R(readFailed("")), R(closeOK)),
		"close and open in one go": opened(r(readN(4, 0)), r(closeIt), r(input("q")), r(readN(1, 10)),
			R(readFailed("")), R(closeOK), R(inputOK), R(readTimeout)),

		"write waits for a reader":      {w(output("p")), W(outputOK), w(write("abc", 0)), r(input("p")), R(inputOK), W(writeOK), r(readN(3, 0)), R(readOK("abc"))},
		"write timeout drops the chunk": {w(output("p")), W(outputOK), w(write("abc", 20)), W(writeTimeout), r(input("p")), R(inputOK), w(write("def", 0)), W(writeOK), r(readN(3, 0)), R(readOK("def"))},
		"write after the reader":        opened(r(closeIt), R(closeOK), w(write("abc", 0)), W(writeFailed("no reader")), w(write("abc", 9)), W(writeFailed("no reader")), w(closeIt), W(closeOK)),
		"write ok before it is read":    opened(w(write("abc", 0)), W(writeOK)),
		"close during a write":          {w(output("p")), W(outputOK), w(write("abc", 0)), w(closeIt), W(writeFailed("closed")), W(closeOK), r(input("p")), R(inputOK), r(readN(1, 20)), R(readTimeout)},
		"close during writes, more behind": {w(output("p")), W(outputOK), w(write("abc", 0)), w(write("d", 0)), w(closeIt), w(write("e", 0)),
			W(writeFailed("closed")), W(writeFailed("closed")), W(closeOK), W(invalid)},
		"empty write":                   opened(w(write("", 0)), W(writeOK), w(write("", 1)), W(writeOK), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
		"empty write after the reader":  opened(r(closeIt), R(closeOK), w(write("", 0)), W(writeFailed("no reader"))),
		"empty write before any reader": {w(output("p")), W(outputOK), w(write("", 20)), W(writeTimeout), w(write("", 0)), r(input("p")), R(inputOK), W(writeOK)},
		"empty write in its turn": {w(output("p")), W(outputOK), w(write("a", 0)), w(write("", 0)), w(ping), W(pingOK),
			r(input("p")), R(inputOK), W(writeOK), W(writeOK)},

		"writer closes before the read": {w(output("p")), W(outputOK), r(input("p")), R(inputOK), w(write("abc", 0)), W(writeOK), w(closeIt), W(closeOK),
			w(output("p")), W(outputOK), r(readN(3, 0)), R(readOK("abc")), r(readN(1, 0)), R(readEnd), w(write("new", 20)), W(writeTimeout),
			r(closeIt), R(closeOK), r(input("p")), R(inputOK), w(write("new", 0)), W(writeOK), r(readN(3, 0)), R(readOK("new"))},

		"input while reading":  opened(r(input("q")), R(inputFailed("\"p\" open")), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
		"output while reading": opened(r(output("q")), R(outputFailed("\"p\" open")), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
		"input while writing":  opened(w(input("p")), W(inputFailed("open")), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
		"output while writing": opened(w(output("q")), W(outputFailed("open")), w(write("a", 0)), W(writeOK)),
		"write on a reader":    opened(r(write("x", 0)), R(invalid), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
		"read on a writer":     opened(w(readN(1, 0)), W(invalid), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
		"before an open":       {r(readN(1, 0)), R(invalid), r(write("a", 0)), R(invalid), r(closeIt), R(invalid), r(input("p")), R(inputOK)},
		"after a close":        opened(r(closeIt), R(closeOK), r(readN(1, 0)), R(invalid), r(closeIt), R(invalid), r(input("p")), R(inputOK), r(closeIt), R(closeOK)),
		"ping in every state":  {r(ping), R(pingOK), r(input("p")), R(inputOK), r(ping), R(pingOK), r(readN(1, 0)), r(ping), R(pingOK), w(ping), W(pingOK), w(output("p")), W(outputOK), w(ping), W(pingOK), w(write("a", 0)), W(writeOK), R(readOK("a")), w(write("b", 0)), W(writeOK), r(closeIt), R(closeOK), r(ping), R(pingOK)},
		"answers are not requests": {r(readOK("x")), R(invalid), r(inputOK), R(invalid), r(pingOK), R(invalid), r(invalid), R(invalid),
			r(input("p")), R(inputOK)},
		"a READ that is too large": opened(r(readN(1<<30, 0)), R(readFailed("at most")), w(write("a", 0)), W(writeOK), r(readN(1, 0)), R(readOK("a"))),
	} {
		t.Run(name, func(t *testing.T) { play(t, steps) })
	}
}

// TestLocalReader crosses the doors: bytes of a client reach an end inside the
// process, and the other way round.
func TestOtherDoor(t *testing.T) {
	h := serve(t, nil)
	d := h.dial(t)
	d.ask(output("dir/p"), outputOK)
	d.send(write("hello", 0))
	d.silent()
	in := h.local(t, "dir/p", &pipe.OpenOp{Read: true})
	d.expect(writeOK)
	chunks, err := in.Reader.Read(t.Context(), 5, 5)
	must(t, err)
	if got := string(chunks[0].Bytes()); got != "hello" {
		t.Fatalf("read %q", got)
	}
	in.Reader.Close()
	d.ask(write("x", 0), writeFailed("no reader"))
	d.ask(closeIt, closeOK)

	d.ask(input("dir/p"), inputOK)
	d.send(readN(5, 0))
	d.silent()
	out := h.local(t, "dir/p", &pipe.OpenOp{Write: true})
	if _, err := out.Writer.Write(t.Context(), []byte("world")); err != nil {
		t.Fatal(err)
	}
	d.expect(readOK("world"))
	out.Writer.Close()
	d.ask(readN(1, 0), readEnd)
}
