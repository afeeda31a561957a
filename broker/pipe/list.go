// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

// list is a queue of operations linked through their own nodes, so that parking
// one allocates nothing and any can leave from the middle.
type list[T comparable] struct {
	first, last *node[T]
}

type node[T comparable] struct {
	prev, next *node[T]
	op         T
}

func (l *list[T]) push(n *node[T], op T) {
	n.op, n.prev, n.next = op, l.last, nil
	if l.last != nil {
		l.last.next = n
	} else {
		l.first = n
	}
	l.last = n
}

func (l *list[T]) remove(n *node[T]) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		l.last = n.prev
	}
	n.prev, n.next = nil, nil
}

// pop takes the first operation off, or returns the zero T.
func (l *list[T]) pop() (op T) {
	if n := l.first; n != nil {
		l.remove(n)
		op = n.op
	}
	return op
}
