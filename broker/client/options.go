// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package client

import (
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/wire/zpipes"
)

// What is used unless an Option says otherwise.
const (
	DefaultConnectTimeout = 5 * time.Second
	DefaultBrokerTimeout  = 5 * time.Second
	DefaultCloseTimeout   = 10 * time.Second
	DefaultReadAhead      = 4 << 20
	DefaultChunk          = 256 << 10
)

// Option changes how an end is opened or works.
type Option func(*options)

type options struct {
	context                *zmq.Context
	connect, broker, close time.Duration
	ahead, chunk, window   int
}

func collect(opts []Option) options {
	o := options{
		connect: DefaultConnectTimeout, broker: DefaultBrokerTimeout, close: DefaultCloseTimeout,
		ahead: DefaultReadAhead, chunk: DefaultChunk,
	}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// Context has the end use a ZeroMQ context of the caller, who keeps it until the
// end is closed, in place of one of its own.
func Context(ctx *zmq.Context) Option { return func(o *options) { o.context = ctx } }

// ConnectTimeout bounds how long an open waits for the broker's answer.
func ConnectTimeout(d time.Duration) Option {
	return func(o *options) { o.connect = positive(d, DefaultConnectTimeout) }
}

// BrokerTimeout is how long a broker may leave a PING unanswered before it is
// taken for gone.
func BrokerTimeout(d time.Duration) Option {
	return func(o *options) { o.broker = positive(d, DefaultBrokerTimeout) }
}

// CloseTimeout bounds how long Close waits for the broker to take what was
// written, and to answer.
func CloseTimeout(d time.Duration) Option {
	return func(o *options) { o.close = positive(d, DefaultCloseTimeout) }
}

// ReadAhead is how many bytes a Reader asks for and keeps before Read wants
// them. They are gone when it closes. With 0 a Reader asks for no more than the
// Read that waits has room for, which leaves the rest to other readers of the
// pipe.
func ReadAhead(bytes int) Option { return func(o *options) { o.ahead = max(bytes, 0) } }

// Chunk is the longest chunk in bytes that a Writer sends: at most 16 MiB
// (zpipes.DefaultMaxChunk), which is what a broker allows.
func Chunk(bytes int) Option {
	return func(o *options) {
		if bytes <= 0 {
			bytes = DefaultChunk
		}
		o.chunk = min(bytes, zpipes.DefaultMaxChunk)
	}
}

// Window lets a Writer return from Write with up to n chunks not yet taken by
// the broker. An error is told by the next call, at the latest by Close, which
// waits for them. With 0, the default, Write returns when the broker has taken
// all of its bytes. At most 512 chunks and 32 MiB are with the broker at a time;
// the rest of the window waits here.
func Window(n int) Option { return func(o *options) { o.window = max(n, 0) } }

func positive(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}
