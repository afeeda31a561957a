// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

// Peers is what a broker needs of the cluster it is in. A broker without one is
// a whole product on one host.
//
// Both methods are called with the broker's lock held: they note and return.
type Peers interface {
	// Changed tells that a name was made here or has new attributes.
	Changed(path string, a Attr)
	// Gone tells that a name was removed here.
	Gone(path string)
}

func (b *Broker) changed(n *Node) {
	if b.cfg.Peers != nil && n.parent != nil {
		b.cfg.Peers.Changed(n.path(), b.attr(n))
	}
}

func (b *Broker) gone(n *Node) {
	if b.cfg.Peers != nil {
		b.cfg.Peers.Gone(n.path())
	}
}

// allChanged and allGone tell of a directory that moves, with all it holds.
func (b *Broker) allChanged(n *Node) {
	b.changed(n)
	for _, c := range n.children {
		b.allChanged(c)
	}
}

func (b *Broker) allGone(n *Node) {
	for _, c := range n.children {
		b.allGone(c)
	}
	b.gone(n)
}
