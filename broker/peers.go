// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package broker

import (
	"context"
	"sync/atomic"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// Entry is a name as hosts tell each other of it.
type Entry struct {
	Path      string // from the root, without a leading slash
	Kind      Kind
	Mode      pipe.Mode // pipes only
	Owner     Owner
	Transient bool // made by a client's open; goes when nothing holds it
}

// Peers lets the ends of a pipe meet those on other hosts. A broker without one is
// a whole product on one host.
type Peers interface {
	// Enter arranges that ends which are about to open on p, which path names, meet
	// their partners elsewhere, and then decides e.
	Enter(p *pipe.Pipe, path string, e *Entering)
	// Leave tells that e, undecided, was withdrawn. It is decided soon: as if it were
	// not, for it may have met a partner, or with context.Canceled.
	Leave(p *pipe.Pipe, e *Entering)
}

// Entering is an open on its way into a pipe. Peers decide it once, and call Done then.
type Entering struct {
	Read, Write bool
	Voice       *pipe.Voice // for the writer; Peers may set it
	// Done runs with no lock held. With nil it opens the ends before it returns, unless
	// they were withdrawn and would have to wait; with pipe.ErrSpent the path stands for
	// a new pipe.
	Done func(error)

	withdrawn atomic.Bool
	decided   atomic.Bool
}

// withdraw notes that e need not open. It reports whether that is news, and of use.
func (e *Entering) withdraw() bool { return !e.withdrawn.Swap(true) && !e.Decided() }

// Withdrawn reports that e need not open. It may be so before Enter is called, and
// Leave may be, too.
func (e *Entering) Withdrawn() bool { return e.withdrawn.Load() }

// Decide reports whether it is the first call.
func (e *Entering) Decide() bool { return !e.decided.Swap(true) }

// Decided reports whether Decide was called.
func (e *Entering) Decided() bool { return e.decided.Load() }

// Names decides about names together with the other hosts. A broker without one
// is a whole product on one host.
//
// Each call returns when the outcome is known everywhere it must be, and has by
// then put it into the broker's tree with Apply, Erase and Move: nobody else
// changes the tree on a call's behalf. Calls come from many goroutines at once,
// with no lock of the broker held, and may wait; they end, within a limit of
// their own, also when another host is silent.
//
// Errors: those of the broker's method that asks, and the context's cause. A call
// that failed, or whose context has ended, may still come true.
type Names interface {
	// Find asks for a name that is not here, or that may have gone elsewhere:
	// fs.ErrNotExist if no host has it.
	Find(ctx context.Context, path string) error
	// List brings a directory up to date; the root is "".
	List(ctx context.Context, dir string) error
	// Make makes a pipe or a directory.
	Make(ctx context.Context, e Entry) error
	// Set changes owner and permissions; the times in c are nil.
	Set(ctx context.Context, path string, c Change) error
	// SetMode sets how a pipe's ends share its bytes; ErrOpen while it has any.
	SetMode(ctx context.Context, path string, m pipe.Mode) error
	// Remove removes a pipe's name or an empty directory, as k says.
	Remove(ctx context.Context, path string, k Kind) error
	// Rename moves a name with all below it; keep: not onto one that exists.
	Rename(ctx context.Context, from, to string, keep bool) error
	// Drop tells that a transient name has gone here, since its last end has closed.
	// It is called with the broker's lock held: it notes that and returns.
	Drop(path string)
}
