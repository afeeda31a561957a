// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package service

import "sync/atomic"

// Stats counts what a service has done since Start.
type Stats struct {
	Clients   int64  `json:"clients"`   // known now
	Readers   int64  `json:"readers"`   // of them with a reader open
	Writers   int64  `json:"writers"`   // of them with a writer open
	Queued    int64  `json:"queued"`    // bytes of requests that are unanswered
	Requests  uint64 `json:"requests"`  // received, PINGs too
	BytesIn   uint64 `json:"bytesIn"`   // taken from WRITEs
	BytesOut  uint64 `json:"bytesOut"`  // given to READs
	Malformed uint64 `json:"malformed"` // messages that are no request of the protocol
	Expired   uint64 `json:"expired"`   // clients dropped for their silence
	Gone      uint64 `json:"gone"`      // clients whose connection ended
	Flooded   uint64 `json:"flooded"`   // times a client had more requests unanswered than it may
	Stuck     uint64 `json:"stuck"`     // clients dropped since they did not read their answers
	Refused   uint64 `json:"refused"`   // connections of users who may not
}

// counters are Stats as the loop counts them and anybody reads them.
type counters struct {
	clients, readers, writers, queued      atomic.Int64
	requests, bytesIn, bytesOut, malformed atomic.Uint64
	expired, gone, flooded, stuck, refused atomic.Uint64
}

// Stats returns the counts of this moment.
func (s *Service) Stats() Stats {
	c := &s.loop.stats
	return Stats{
		Clients: c.clients.Load(), Readers: c.readers.Load(), Writers: c.writers.Load(), Queued: c.queued.Load(),
		Requests: c.requests.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		Malformed: c.malformed.Load(), Expired: c.expired.Load(), Gone: c.gone.Load(),
		Flooded: c.flooded.Load(), Stuck: c.stuck.Load(), Refused: c.refused.Load(),
	}
}
