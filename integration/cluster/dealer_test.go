// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/service"
	"github.com/zpipesfs/zpipesfs/integration/lab"
	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// dealer is a ZPIPES client on a host: a process that sends the frames it is
// told to, and tells what comes.
type dealer struct {
	t      testing.TB
	host   *lab.Host
	in     *os.File
	frames chan zpipes.Message
}

func newDealer(t testing.TB, h *lab.Host) *dealer {
	t.Helper()
	inRead, inWrite := pipe(t)
	outRead, outWrite := pipe(t)
	env := []string{roleSetting + "=dealer", "GORACE=atexit_sleep_ms=0"}
	proc := lab.Start(t, h.On(lab.Command{Args: []string{os.Args[0]}, Env: env, Stdin: inRead, Stdout: outWrite}))
	inRead.Close()
	outWrite.Close()
	d := &dealer{t: t, host: h, in: inWrite, frames: make(chan zpipes.Message, 1000)}
	go d.listen(outRead)
	t.Cleanup(func() {
		t.Helper()
		inWrite.Close()
		if !proc.Wait(soon) {
			t.Errorf("a ZPIPES client does not end:\n%s", proc.Describe())
			proc.Kill()
		}
		for range d.frames { // until it has ended
		}
		outRead.Close()
		if said := proc.Stderr(); said != "" {
			t.Errorf("a ZPIPES client says %s", said)
		}
	})
	return d
}

func (d *dealer) listen(out io.Reader) {
	defer close(d.frames)
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		frame, err := hex.AppendDecode(nil, line[:len(line)-1])
		if err != nil {
			d.t.Errorf("%s: %q: %v", d.host.Name, line, err)
			return
		}
		m, err := zpipes.Limits{}.Decode(frame)
		if err != nil {
			d.t.Errorf("%s: the broker sends %x: %v", d.host.Name, frame, err)
			return
		}
		d.frames <- m
	}
}

// send sends requests without waiting for answers.
func (d *dealer) send(requests ...zpipes.Message) {
	d.t.Helper()
	for _, m := range requests {
		frame, err := zpipes.Limits{}.Append(nil, m)
		if err == nil {
			_, err = fmt.Fprintf(d.in, "%x\n", frame)
		}
		if err != nil {
			d.t.Fatalf("%s: send %v: %v", d.host.Name, m.ID, err)
		}
	}
}

// gets waits for an answer and requires it to be this one.
func (d *dealer) gets(id zpipes.ID, chunk string) {
	d.t.Helper()
	if m := d.next(); m.ID != id || string(m.Chunk) != chunk {
		d.t.Fatalf("%s: want %v %q, got %v %q %s", d.host.Name, id, chunk, m.ID, m.Chunk, m.Reason)
	}
}

func (d *dealer) next() zpipes.Message {
	d.t.Helper()
	select {
	case m, ok := <-d.frames:
		if !ok {
			d.t.Fatalf("%s: the client has ended", d.host.Name)
		}
		return m
	case <-time.After(soon):
		d.t.Fatalf("%s: no answer", d.host.Name)
	}
	return zpipes.Message{}
}

// ask sends a request and requires this answer.
func (d *dealer) ask(m zpipes.Message, id zpipes.ID, chunk string) {
	d.t.Helper()
	d.send(m)
	d.gets(id, chunk)
}

func input(name string) zpipes.Message  { return zpipes.Message{ID: zpipes.Input, Name: name} }
func output(name string) zpipes.Message { return zpipes.Message{ID: zpipes.Output, Name: name} }
func closeEnd() zpipes.Message          { return zpipes.Message{ID: zpipes.Close} }
func readChunk(size uint32) zpipes.Message {
	return zpipes.Message{ID: zpipes.Read, Size: size}
}
func writeChunk(chunk string) zpipes.Message {
	return zpipes.Message{ID: zpipes.Write, Chunk: []byte(chunk)}
}

// relay is the client's process: lines of hexadecimal frames on standard input
// go to the broker, what comes from it to standard output. It ends with its
// input.
func relay() error {
	ctx, err := zmq.NewContext()
	if err != nil {
		return err
	}
	commands, err := ctx.NewSocket(zmq.PAIR)
	if err != nil {
		return err
	}
	if err := commands.Bind("inproc://commands"); err != nil {
		return err
	}
	broker, err := ctx.NewSocket(zmq.DEALER)
	if err != nil {
		return err
	}
	if err := broker.Connect(service.DefaultEndpoint("local")); err != nil {
		return err
	}
	go feed(ctx)
	poller := zmq.NewPoller()
	poller.Add(commands, zmq.POLLIN)
	poller.Add(broker, zmq.POLLIN)
	for {
		ready, err := poller.Poll(-1)
		if err != nil {
			return err
		}
		for _, p := range ready {
			frame, err := p.Socket.RecvBytes(0)
			switch {
			case err != nil:
				return err
			case p.Socket == broker:
				fmt.Printf("%x\n", frame)
			case len(frame) == 0:
				return nil
			default:
				if _, err := broker.SendBytes(frame, 0); err != nil {
					return err
				}
			}
		}
	}
}

// feed sends each line of standard input, and an empty frame at its end.
func feed(ctx *zmq.Context) {
	commands, err := ctx.NewSocket(zmq.PAIR)
	if err == nil {
		err = commands.Connect("inproc://commands")
	}
	for lines := bufio.NewReader(os.Stdin); err == nil; {
		var line []byte
		if line, err = lines.ReadBytes('\n'); err == nil {
			var frame []byte
			if frame, err = hex.AppendDecode(nil, line[:len(line)-1]); err == nil {
				_, err = commands.SendBytes(frame, 0)
			}
		}
	}
	if err != io.EOF {
		end(err)
	}
	if _, err := commands.SendBytes(nil, 0); err != nil {
		end(err)
	}
}
