// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import (
	"testing"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// FuzzFrames lets one client send any sequence of frames while an honest pair
// moves bytes: nothing crashes, and the pair is served.
func FuzzFrames(f *testing.F) {
	encode := func(messages ...zpipes.Message) []byte {
		var out []byte
		for _, m := range messages {
			frame, err := zpipes.Limits{}.Append(nil, m)
			if err != nil {
				f.Fatal(err)
			}
			out = append(append(out, byte(len(frame))), frame...)
		}
		return out
	}
	f.Add(encode(input("x"), readN(1, 1), closeIt, ping))
	f.Add(encode(output("x"), write("a", 1), write("", 0), closeIt, closeIt))
	f.Add(encode(input("x"), readN(3, 0), readN(3, 0), closeIt, output("x"), write("abc", 0), input("y")))
	f.Add(encode(readN(0, 0), write("a", 0), input("../x"), readOK("x"), invalid))
	f.Add([]byte{0, 0x83, 0xAA, 0xA0, 19, 3, 0xAA, 0xA0, 19, 0x80, 0, 1, 0xAA})
	h := serve(f, func(c *Config) { c.MaxChunk, c.MaxRequests, c.MaxQueue = 1<<16, 20, 1<<17 })
	const secret = "honest/7f1c0b0c9f3d4f0e8d6b"
	r, w := h.openPair(f, secret)
	f.Fuzz(func(t *testing.T, data []byte) {
		r.t, w.t = t, t
		d := h.dial(t)
		// Each frame is its length, with the top bit if more of the message
		// follow, and its octets.
		for len(data) > 0 {
			n, more := int(data[0]&0x7f), data[0]&0x80 != 0
			data = data[1:]
			n = min(n, len(data))
			frames := [][]byte{data[:n]}
			data = data[n:]
			for more && len(data) > 0 {
				n, more = int(data[0]&0x7f), data[0]&0x80 != 0
				data = data[1:]
				n = min(n, len(data))
				frames = append(frames, data[:n])
				data = data[n:]
			}
			d.sendFrame(frames...)
			w.ask(write("honest", 0), writeOK)
			r.ask(readN(6, 0), readOK("honest"))
		}
		d.send(ping)
		for d.recv().ID != zpipes.PingOK {
		}
		d.hangUp()
	})
}
