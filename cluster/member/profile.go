// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// Profile is how fast a broker's death is noticed. All brokers of a cluster
// should have the same one.
type Profile string

const (
	// LAN is for hosts in one data centre. A broker that died is noticed after 9 to
	// 11 seconds if the cluster has up to ten.
	LAN Profile = "lan"

	// WAN is for hosts that are far apart. A broker that died is noticed after 65 to
	// 75 seconds if the cluster has up to ten.
	WAN Profile = "wan"

	// Local is for one machine or one rack: a broker that died is noticed after two
	// seconds if the cluster has up to ten. A host that stands still for so long is
	// taken for dead.
	Local Profile = "local"
)

// timing is a profile's numbers.
type timing struct {
	probe      time.Duration // each broker probes one other in this time
	ack        time.Duration // until others are asked to probe it, too
	suspicion  int           // probe times until a suspect is dead if others confirm it ...
	patience   int           // ... times this if nobody does
	gossip     time.Duration
	sync       time.Duration // whole states are exchanged with one other
	stream     time.Duration // to connect, and to exchange a state
	remember   time.Duration // gossip is still sent to the dead, for them to object
	broadcast  time.Duration // waits for a leave to be told
	linger     time.Duration // after a leave was told, to answer probes of who has not heard
	join       time.Duration // between tries to join while alone
	joinRarely time.Duration // and while there are other members
}

var timings = map[Profile]timing{
	LAN: {
		probe: time.Second, ack: 500 * time.Millisecond, suspicion: 8, patience: 1,
		gossip: 100 * time.Millisecond, sync: 30 * time.Second, stream: 5 * time.Second, remember: 30 * time.Second,
		broadcast: time.Second, linger: 500 * time.Millisecond,
		join: 2 * time.Second, joinRarely: 30 * time.Second,
	},
	WAN: {
		probe: 5 * time.Second, ack: 3 * time.Second, suspicion: 12, patience: 1,
		gossip: 250 * time.Millisecond, sync: time.Minute, stream: 15 * time.Second, remember: time.Minute,
		broadcast: 2 * time.Second, linger: time.Second,
		join: 5 * time.Second, joinRarely: time.Minute,
	},
	Local: {
		probe: 200 * time.Millisecond, ack: 100 * time.Millisecond, suspicion: 8, patience: 1,
		gossip: 20 * time.Millisecond, sync: 5 * time.Second, stream: time.Second, remember: 5 * time.Second,
		broadcast: 500 * time.Millisecond, linger: 100 * time.Millisecond,
		join: 500 * time.Millisecond, joinRarely: 2 * time.Second,
	},
}

// ParseProfile returns the profile of that name.
func ParseProfile(name string) (Profile, error) {
	p := Profile(name)
	if _, ok := timings[p]; !ok {
		return "", fmt.Errorf("%w: profile %q: want lan, wan or local", ErrConfig, name)
	}
	return p, nil
}

// FailureTimeout returns the time in which a cluster of that many brokers
// notices that one has died, as long as the others get their share of CPU and
// network: until somebody probes it, until that probe fails, and as long as it
// is only suspected.
func (p Profile) FailureTimeout(brokers int) time.Duration {
	t := timings[p]
	scale := math.Max(1, math.Log10(math.Max(1, float64(brokers)))) // memberlist's
	suspected := float64(t.suspicion*t.patience) * scale * float64(t.probe)
	return 3*t.probe + time.Duration(suspected)
}

// configure sets what the profile decides.
func (p Profile) configure(s *serf.Config, m *memberlist.Config) {
	t := timings[p]
	m.ProbeInterval, m.ProbeTimeout = t.probe, t.ack
	// No less patience because others agree, and no more because this broker has seen
	// failures: a link that is cut for half of FailureTimeout must not be a death.
	m.SuspicionMult, m.SuspicionMaxTimeoutMult = t.suspicion, t.patience
	m.AwarenessMaxMultiplier = 1
	m.GossipInterval, m.GossipToTheDeadTime = t.gossip, t.remember
	m.PushPullInterval, m.TCPTimeout = t.sync, t.stream
	s.BroadcastTimeout, s.LeavePropagateDelay = t.broadcast, t.linger
}
