// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package member knows which brokers of the cluster are alive. It is an adapter
// of hashicorp/serf: see DESIGN.md.
package member

import "github.com/zpipesfs/zpipesfs/wire/peer"

// Member is a live broker.
type Member struct {
	peer.ID

	Endpoint string // of its links, "tcp://ip:port"; empty until it is known
	Key      string // the CURVE public key of its links, Z85; empty: its links are plain
	Addr     string // where its membership listens, "ip:port"
	Version  uint8  // of the peer protocol: always this broker's own
}

// Reason is why a broker is no member any more.
type Reason int

const (
	// Failed is a broker that does not answer, or that was restarted.
	Failed Reason = iota
	// Left is a broker that has said goodbye.
	Left
)

func (r Reason) String() string {
	if r == Left {
		return "left"
	}
	return "failed"
}

// Departure is a broker that was in the last view and is not in this one.
type Departure struct {
	Member
	Reason Reason
}

// View is the cluster as this broker sees it.
type View struct {
	Members []Member    // live ones in the order of their nodes, this broker included
	Gone    []Departure // since the view before, in the order of their nodes
}
