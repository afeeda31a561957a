// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

// between is a difference that there is besides when a pipe's ends are on two hosts, in
// one of the ways of TestBetweenHosts.
type between struct {
	way string // empty: all
	difference
}

// betweenHosts are all of them.
func betweenHosts() map[string]between {
	return map[string]between{
		"open/three writers wait for one reader": {mixed, difference{
			reason: "what writers of one host write is read in that order, but not what those of several do",
			fifo: []string{
				`w: open(p, WRONLY) blocks`,
				`w2: open(p, WRONLY) blocks`,
				`w3: open(p, WRONLY) blocks`,
				`r: open(p, RDONLY) = fd`,
				`w: open(p, WRONLY) = fd`,
				`w: write("w ") = 2`,
				`w2: open(p, WRONLY) = fd`,
				`w2: write("w2 ") = 3`,
				`w3: open(p, WRONLY) = fd`,
				`w3: write("w3 ") = 3`,
				`r: read 8 in blocks of 100 = 8 bytes 328edbcf7e903c85`, // "w w2 w3 "
			},
			mount: []string{
				`w: open(p, WRONLY) blocks`,
				`w2: open(p, WRONLY) blocks`,
				`w3: open(p, WRONLY) blocks`,
				`r: open(p, RDONLY) = fd`,
				`w: open(p, WRONLY) = fd`,
				`w: write("w ") = 2`,
				`w2: open(p, WRONLY) = fd`,
				`w2: write("w2 ") = 3`,
				`w3: open(p, WRONLY) = fd`,
				`w3: write("w3 ") = 3`,
				`r: read 8 in blocks of 100 = 8 bytes ed4b6ca92c18f386`, // "w2 w w3 ": w2 is on the reader's host
			},
		}},
	}
}

// known are all differences of a pipe whose ends are on two hosts in this way.
func known(way string) map[string]difference {
	all := differences()
	for name, b := range betweenHosts() {
		if b.way == "" || b.way == way {
			all[name] = b.difference
		}
	}
	return all
}
