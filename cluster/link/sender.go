// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import "fmt"

// sender is what a session has to send and has sent.
//
// flight holds the messages numbered acked+1 and on, kept until the peer has
// them; those before next were sent in this round. To go back is to set next
// to 0 and begin another round.
type sender struct {
	cfg   *Config
	round uint32
	acked uint64

	queue       fifo[Message] // messages that have no number yet
	queueBytes  int
	flight      fifo[Message]
	flightBytes int
	next        int

	sources []Source // in turn
	waiting map[Source]bool
	resent  uint64
	fault   error // what makes the session lost

	gathered []*Message // its memory is used again
}

// put queues messages. It takes them over in any case.
func (q *sender) put(messages []Message) error {
	for _, m := range messages {
		q.queue.push(m)
		q.queueBytes += cost(m)
	}
	if n := q.queueBytes + q.flightBytes; n > q.cfg.MaxQueue+q.cfg.Window {
		return fmt.Errorf("%w: %d bytes, in %d messages and %d unacknowledged ones", ErrOverflow, n, q.queue.len(), q.flight.len())
	}
	return nil
}

// wake has s asked when there is room.
func (q *sender) wake(s Source) {
	if q.waiting[s] {
		return
	}
	if q.waiting == nil {
		q.waiting = make(map[Source]bool)
	}
	q.waiting[s] = true
	q.sources = append(q.sources, s)
}

// acknowledge gives up what the peer has.
func (q *sender) acknowledge(ack uint64) error {
	if ack <= q.acked {
		return nil
	}
	n := ack - q.acked
	if n > uint64(q.flight.len()) {
		return fmt.Errorf("%w: it acknowledges message %d, and the last one sent is %d", ErrProtocol, ack, q.acked+uint64(q.flight.len()))
	}
	for range n {
		m := q.flight.pop()
		q.flightBytes -= cost(m)
		m.Release()
	}
	q.acked = ack
	q.next = max(0, q.next-int(n))
	return nil
}

// goBack begins to send again what is not acknowledged, unless that was done
// since the round the peer speaks of.
func (q *sender) goBack(round uint32) {
	if round == q.round && q.next > 0 {
		q.round++
		q.resent += uint64(q.next)
		q.next = 0
	}
}

// ready reports that gather would find something.
func (q *sender) ready() bool {
	return q.next < q.flight.len() || q.queue.len() > 0 || len(q.sources) > 0 && q.flightBytes < q.cfg.Window
}

// gather returns messages for one frame, of about limit octets, and the number
// of the first: what is to be sent again, then what is queued, then what sources
// have. If there are none it returns the number of the next.
func (q *sender) gather(limit int) (uint64, []*Message) {
	first := q.next
	b := budget{octets: limit, messages: frameMessages}
	for q.next < q.flight.len() && b.left() {
		b.spend(*q.flight.at(q.next))
		q.next++
	}
	for q.next == q.flight.len() && q.queue.len() > 0 && b.left() {
		m := q.queue.pop()
		q.queueBytes -= cost(m)
		b.spend(m)
		q.number(m)
	}
	q.pull(&b, limit)
	return q.acked + uint64(first) + 1, q.take(first)
}

// pull asks sources in turn. Too little room is left to others: asking for a few
// octets would make many messages of little.
func (q *sender) pull(b *budget, limit int) {
	for q.next == q.flight.len() && len(q.sources) > 0 && b.left() && b.octets > limit/4 && q.flightBytes < q.cfg.Window {
		s := q.sources[0]
		q.sources[0] = nil
		q.sources = q.sources[1:]
		m, ok := s.Next(b.octets)
		if !ok {
			delete(q.waiting, s)
			continue
		}
		if n := m.Len(); n > q.cfg.MaxMessage {
			m.Release()
			q.fault = fmt.Errorf("%w: a source gave %d bytes; the limit is %d", ErrTooLong, n, q.cfg.MaxMessage)
			return
		}
		q.sources = append(q.sources, s)
		b.spend(m)
		q.number(m)
	}
}

func (q *sender) number(m Message) {
	q.flight.push(m)
	q.flightBytes += cost(m)
	q.next++
}

// take returns the messages of the flight from first to next.
func (q *sender) take(first int) []*Message {
	clear(q.gathered)
	q.gathered = q.gathered[:0]
	for i := first; i < q.next; i++ {
		q.gathered = append(q.gathered, q.flight.at(i))
	}
	return q.gathered
}

func (q *sender) release() {
	for q.queue.len() > 0 {
		q.queue.pop().Release()
	}
	for q.flight.len() > 0 {
		q.flight.pop().Release()
	}
	q.queueBytes, q.flightBytes, q.next = 0, 0, 0
	q.sources, q.waiting = nil, nil
}

// budget is what a frame may still take.
type budget struct{ octets, messages int }

func (b *budget) left() bool { return b.octets > 0 && b.messages > 0 }

func (b *budget) spend(m Message) {
	b.octets -= m.Len()
	b.messages--
}
