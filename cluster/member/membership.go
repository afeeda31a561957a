// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import "context"

// Membership is this broker as a member of the cluster.
type Membership struct{}

// Start makes this broker a member. A broker that finds nobody is a cluster of
// one, and goes on looking. Start waits a little for the first try to join; ctx
// bounds the start alone. The caller calls Close.
func Start(ctx context.Context, cfg Config) (*Membership, error) { panic("to come") }

// Members returns the live brokers in the order of their nodes, this one included.
func (m *Membership) Members() []Member { panic("to come") }

// Addr returns the address that others join at, "ip:port".
func (m *Membership) Addr() string { panic("to come") }

// UpdateTags tells the others this broker's endpoint and public key anew.
func (m *Membership) UpdateTags(endpoint, publicKey string) error { panic("to come") }

// Leave says goodbye to the others: they see this broker as Left. Close still
// has to be called.
func (m *Membership) Leave() error { panic("to come") }

// Done is closed when the membership has ended, by Close or on its own: see Err.
func (m *Membership) Done() <-chan struct{} { panic("to come") }

// Err returns why the membership has ended: nil before, and after Close.
func (m *Membership) Err() error { panic("to come") }

// Close ends the membership. Without a Leave before it the others see a failure.
func (m *Membership) Close() error { panic("to come") }
