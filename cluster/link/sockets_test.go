// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/broker/pipe"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// listenAs makes a broker with ZeroMQ links on loopback.
func listenAs(t testing.TB, node string, shape ...func(*Config)) *party {
	t.Helper()
	p := &party{recorder: newRecorder(), id: peer.ID{Node: node, Boot: 1}}
	cfg := Config{ID: p.id, Handler: p.recorder, Bind: "tcp://127.0.0.1:0", Log: logger(t)}
	for _, s := range shape {
		s(&cfg)
	}
	p.id = cfg.ID
	links, err := Listen(cfg)
	must(t, err)
	t.Cleanup(func() { links.Close() })
	p.Links = links
	return p
}

func withCurve(c *Config) { c.Curve = true }

func within(timeout time.Duration) func(*Config) {
	return func(c *Config) { c.FailureTimeout = timeout }
}

func TestSocketsDeliver(t *testing.T) {
	for _, curve := range []bool{false, true} {
		t.Run(fmt.Sprint("curve ", curve), func(t *testing.T) {
			shape := func(c *Config) { c.Curve = curve }
			a, b := listenAs(t, "a", shape), listenAs(t, "b", shape)
			acquaint(a, b)
			var want []string
			for i := range 1000 {
				head := fmt.Sprint("m", i)
				want = append(want, head)
				a.Send(b.id, note(head, "body"))
			}
			b.until(t, "all messages", func() bool { return len(b.got(a.id)) == len(want) })
			if got := b.got(a.id); !slices.Equal(got, want) {
				t.Errorf("got %q", got)
			}
			a.until(t, "all is acknowledged", func() bool { return a.stat(b.id).Unacked == 0 })
			a.until(t, "the round-trip time is known", func() bool { return a.stat(b.id).RTT > 0 })
			a.Down(b.id, errors.New("gone"))
			a.until(t, "a knows", func() bool { return len(a.lost(b.id)) == 1 })
			b.until(t, "b knows", func() bool { return len(b.lost(a.id)) == 1 })
		})
	}
}

// torrent is a Source of random octets, in messages of various lengths.
type torrent struct {
	mu   sync.Mutex // guards below
	rand *rand.Rand
	left int
	sum  hash.Hash
	pool pipe.Pool
}

func newTorrent(size int) *torrent {
	return &torrent{rand: rand.New(rand.NewPCG(uint64(size), 5)), left: size, sum: sha256.New()}
}

func (s *torrent) Next(limit int) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return Message{}, false
	}
	n := min(limit, s.left, 1+s.rand.IntN(200<<10))
	s.left -= n
	m := Message{Head: []byte("data")}
	for n > 0 {
		buf := s.pool.Segment()
		k := min(n, 1+s.rand.IntN(pipe.SegmentSize))
		b := buf.Bytes()[:k]
		for i := range b {
			b[i] = byte(i) ^ byte(s.left>>8)
		}
		b[0] = byte(s.rand.Uint32())
		s.sum.Write(b)
		m.Body = append(m.Body, buf.Chunk(0, k))
		buf.Release()
		n -= k
	}
	return m, true
}

func (s *torrent) total() string { return fmt.Sprintf("%x", s.sum.Sum(nil)) }

// sink sums up what comes from a source.
type sink struct {
	mu  sync.Mutex // guards below
	sum hash.Hash
	n   int
}

func (p *party) sinks() *sink {
	k := &sink{sum: sha256.New()}
	p.on = func(_ peer.ID, m Message) {
		k.mu.Lock()
		for _, c := range m.Body {
			k.sum.Write(c.Bytes())
			k.n += c.Len()
		}
		k.mu.Unlock()
		m.Release()
		p.tell()
	}
	return k
}

func (k *sink) got() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n
}

// Connections that break and return within the failure timeout cost nothing.
func TestTransferOutlivesCuts(t *testing.T) {
	for _, size := range []int{1 << 20, 64 << 20} {
		for _, curve := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d MiB, curve %v", size>>20, curve), func(t *testing.T) {
				shape := func(c *Config) { c.Curve = curve }
				a, b := listenAs(t, "a", shape), listenAs(t, "b", shape)
				to, toB := relayTo(t, b.Endpoint())
				from, toA := relayTo(t, a.Endpoint())
				a.Up(Peer{ID: b.id, Endpoint: toB, Key: b.PublicKey()})
				b.Up(Peer{ID: a.id, Endpoint: toA, Key: a.PublicKey()})
				a.stands(t, b)
				src, k := newTorrent(size), b.sinks()
				a.Wake(b.id, src)
				for i := range 5 {
					part := size * (i + 1) / 7
					b.until(t, "a part of it", func() bool { return k.got() >= part })
					cut := []*relay{to, from}[i%2]
					cut.setCut(true)
					if i == 4 {
						to.setCut(true)
						from.setCut(true)
					}
					<-time.After(100 * time.Millisecond) // how long the link is cut
					to.setCut(false)
					from.setCut(false)
				}
				b.until(t, "all", func() bool { return k.got() >= size })
				if got, want := fmt.Sprintf("%x", k.sum.Sum(nil)), src.total(); got != want || k.got() != size {
					t.Errorf("%d octets came, of %d; sha256 %s, not %s", k.got(), size, got, want)
				}
				if n := len(a.lost(b.id)) + len(b.lost(a.id)); n != 0 {
					t.Errorf("the session was lost: %v, %v", a.lost(b.id), b.lost(a.id))
				}
				if n := to.connections(); n < 3 {
					t.Errorf("%d connections were made: the test cut nothing", n)
				}
				t.Logf("sent again: %d messages", a.stat(b.id).Resent)
			})
		}
	}
}

// A link that is dead for longer is an end for both, and another session follows.
func TestLongCutIsALoss(t *testing.T) {
	for _, how := range []string{"cut", "frozen", "one direction"} {
		t.Run(how, func(t *testing.T) {
			a, b := listenAs(t, "a", within(500*time.Millisecond)), listenAs(t, "b", within(500*time.Millisecond))
			to, toB := relayTo(t, b.Endpoint())
			from, toA := relayTo(t, a.Endpoint())
			a.Up(Peer{ID: b.id, Endpoint: toB})
			b.Up(Peer{ID: a.id, Endpoint: toA})
			a.stands(t, b)
			b.stands(t, a)
			set := func(on bool) {
				switch how {
				case "cut":
					to.setCut(on)
					from.setCut(on)
				case "frozen":
					to.setFrozen(on)
					from.setFrozen(on)
				default:
					to.setCut(on)
				}
			}
			set(true)
			a.until(t, "a knows", func() bool { return len(a.lost(b.id)) > 0 })
			b.until(t, "b knows", func() bool { return len(b.lost(a.id)) > 0 })
			set(false)
			a.until(t, "another session", func() bool { return a.stat(b.id).Standing && b.stat(a.id).Standing })
			b.until(t, "a message arrives", func() bool {
				a.Send(b.id, note("after"))
				return slices.Contains(b.got(a.id), "after")
			})
		})
	}
}

func TestRestartedPeerIsAnother(t *testing.T) {
	a, b := listenAs(t, "a"), listenAs(t, "b")
	acquaint(a, b)
	a.Send(b.id, note("one"))
	b.until(t, "a message", func() bool { return len(b.got(a.id)) == 1 })
	endpoint := b.Endpoint()
	must(t, b.Close())
	again := listenAs(t, "b", func(c *Config) { c.ID.Boot = 2; c.Bind = endpoint })
	a.Send(b.id, note("for the former life"))
	again.Up(a.peer()) // it knows of a before a knows of it
	a.Up(again.peer())
	a.Send(again.id, note("two"))
	again.until(t, "a message", func() bool { return len(again.got(a.id)) > 0 })
	if got := again.got(a.id); !slices.Equal(got, []string{"two"}) {
		t.Errorf("the new life got %q", got)
	}
	if lost := a.lost(b.id); len(lost) != 1 || !errors.Is(lost[0], ErrRestarted) {
		t.Errorf("a lost %v", lost)
	}
	a.Down(b.id, errors.New("late")) // membership says so at last
	a.Send(again.id, note("three"))
	again.until(t, "another", func() bool { return len(again.got(a.id)) == 2 })
}

// A peer that does not read is its own trouble.
func TestSlowPeerHoldsUpNobodyElse(t *testing.T) {
	a := listenAs(t, "a", func(c *Config) { c.MaxQueue = 1 << 20 })
	b, slow := listenAs(t, "b"), listenAs(t, "slow")
	block := make(chan struct{})
	stuck := make(chan struct{})
	var once sync.Once
	slow.on = func(_ peer.ID, m Message) {
		m.Release()
		once.Do(func() { close(stuck) })
		<-block
	}
	defer close(block)
	acquaint(a, b, slow)
	a.stands(t, b, slow)
	flood := newTorrent(1 << 30)
	a.Wake(slow.id, flood)
	<-stuck
	a.until(t, "the window is full", func() bool { return a.stat(slow.id).Unacked >= DefaultWindow })
	src, k := newTorrent(32<<20), b.sinks()
	a.Wake(b.id, src)
	b.until(t, "all for b", func() bool { return k.got() >= 32<<20 })
	flood.mu.Lock()
	taken := 1<<30 - flood.left
	flood.mu.Unlock()
	if taken > DefaultWindow+4*frameSize {
		t.Errorf("%d bytes were taken for the peer that does not read", taken)
	}
	for range 300 {
		a.Send(slow.id, note("control", strings.Repeat("x", 10_000)))
	}
	a.until(t, "the session with the slow peer is lost", func() bool { return len(a.lost(slow.id)) > 0 })
	if lost := a.lost(slow.id); !errors.Is(lost[0], ErrOverflow) && !errors.Is(lost[0], ErrSilent) {
		t.Errorf("a lost %v", lost)
	}
	if lost := a.lost(b.id); len(lost) > 0 {
		t.Errorf("b was lost: %v", lost)
	}
}

// journal is a log to look things up in.
type journal struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) has(parts ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			return true
		}
	}
	return false
}

func (j *journal) keep(c *Config) { c.Log = slog.New(slog.NewTextHandler(j, nil)) }

func TestStrangersAreRefused(t *testing.T) {
	var logA, logB journal
	a, b := listenAs(t, "a", withCurve, logA.keep), listenAs(t, "b", withCurve, logB.keep)
	stranger, _, err := zmq.NewCurveKeypair()
	must(t, err)
	b.Up(a.peer())
	a.Up(Peer{ID: b.id, Endpoint: b.Endpoint(), Key: stranger}) // b's is another
	b.until(t, "a tells", func() bool { return logA.has("WARN", "refused a connection", "key") })
	b.until(t, "b tells", func() bool { return logB.has("WARN", "connection to a peer failed", "peer=a/1") })
	b.Send(a.id, note("let me in"))
	if a.stat(b.id).Standing || len(a.got(b.id)) > 0 {
		t.Error("b was let in")
	}
	a.Up(b.peer()) // a learns of b's key
	a.until(t, "b is let in", func() bool { return len(a.got(b.id)) == 1 })
}

// A peer that is known a little later is let in a little later.
func TestPeersLearnOfEachOtherInTurn(t *testing.T) {
	var log journal
	a, b := listenAs(t, "a", withCurve, log.keep), listenAs(t, "b", withCurve, log.keep)
	b.Up(a.peer())
	<-time.After(150 * time.Millisecond) // how long a does not know of b
	a.Up(b.peer())
	start := time.Now()
	a.stands(t, b)
	b.stands(t, a)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	if log.has("WARN") {
		t.Error("there was a warning")
	}
}

func TestPlainAndCurveDoNotMix(t *testing.T) {
	var logA, logB journal
	a, b := listenAs(t, "a", withCurve, logA.keep), listenAs(t, "b", logB.keep)
	a.Up(Peer{ID: b.id, Endpoint: b.Endpoint()})
	a.until(t, "a does not call in plain text", func() bool { return logA.has("ERROR", "cannot connect", "cluster key") })
	b.Up(a.peer())
	b.until(t, "b has no key to call with", func() bool { return logB.has("ERROR", "cannot connect", "cluster key") })
	b.Up(Peer{ID: a.id, Endpoint: a.Endpoint()}) // it does not know that a has one
	a.until(t, "a tells", func() bool { return logA.has("WARN", "came in failed", "cluster key") })
	b.until(t, "b tells", func() bool { return logB.has("WARN", "connection to a peer failed", "cluster key") })
	if a.stat(b.id).Standing || b.stat(a.id).Standing {
		t.Error("they have a session")
	}
}

// rawPeer is a DEALER that says it is a broker.
func rawPeer(t testing.TB, id peer.ID, endpoint string) *zmq.Socket {
	t.Helper()
	ctx, err := zmq.NewContext()
	must(t, err)
	s, err := ctx.NewSocket(zmq.DEALER)
	must(t, err)
	must(t, s.SetLinger(0))
	must(t, s.SetIdentity(routingID(id)))
	must(t, s.Connect(endpoint))
	t.Cleanup(func() { s.Close(); ctx.Term() })
	return s
}

func TestOtherVersionsAreTold(t *testing.T) {
	var log journal
	a := listenAs(t, "a", log.keep)
	id := peer.ID{Node: "b", Boot: 9}
	a.Up(Peer{ID: id, Endpoint: "tcp://127.0.0.1:9"})
	s := rawPeer(t, id, a.Endpoint())
	f := peer.Frame{Kind: peer.FrameHello, To: 1, Mine: 1, Seq: 1}
	b := f.Append(nil)
	b[2] = peer.FrameVersion + 1
	_, err := s.SendBytes(b, 0)
	must(t, err)
	a.until(t, "a tells", func() bool { return log.has("ERROR", "same version", "peer=b/9") })
}

func TestDamagedFramesEndTheSession(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts [][]byte
	}{
		{"garbage", [][]byte{[]byte("hello")}},
		{"empty", [][]byte{{}}},
		{"several parts", [][]byte{(&peer.Frame{Kind: peer.FrameHello, To: 1, Mine: 1, Seq: 1}).Append(nil), []byte("x")}},
		{"cut short", [][]byte{(&peer.Frame{Kind: peer.FrameData, To: 1, Mine: 1, Yours: 1, Seq: 1, Count: 3}).Append(nil)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := listenAs(t, "a")
			id := peer.ID{Node: "b", Boot: 9}
			a.Up(Peer{ID: id, Endpoint: "tcp://127.0.0.1:9"})
			s := rawPeer(t, id, a.Endpoint())
			_, err := s.SendMessage(c.parts)
			must(t, err)
			a.until(t, "the session is lost", func() bool { return len(a.lost(id)) > 0 })
			if lost := a.lost(id); !errors.Is(lost[0], ErrProtocol) {
				t.Errorf("a lost %v", lost)
			}
		})
	}
}

func TestListenRefuses(t *testing.T) {
	taken := listenAs(t, "a")
	for _, c := range []struct {
		name  string
		shape func(*Config)
		want  string
	}{
		{"no handler", func(c *Config) { c.Handler = nil }, "no handler"},
		{"no node", func(c *Config) { c.ID.Node = "" }, "node name"},
		{"long node", func(c *Config) { c.ID.Node = strings.Repeat("n", 241) }, "node name"},
		{"short timeout", within(time.Millisecond), "at least 200 ms"},
		{"slow heartbeat", func(c *Config) { c.Heartbeat = 4 * time.Second }, "heartbeat"},
		{"negative", func(c *Config) { c.MaxQueue = -1 }, "negative"},
		{"not tcp", func(c *Config) { c.Bind = "ipc:///x" }, "not tcp://"},
		{"no port", func(c *Config) { c.Bind = "tcp://127.0.0.1" }, "not tcp://"},
		{"wildcard", func(c *Config) { c.Bind = "tcp://*:0" }, "peers cannot connect"},
		{"other host's", func(c *Config) { c.Bind = "tcp://192.0.2.1:0" }, "no interface"},
		{"taken", func(c *Config) { c.Bind = taken.Endpoint() }, "another port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{ID: peer.ID{Node: "x", Boot: 1}, Handler: newRecorder(), Bind: "tcp://127.0.0.1:0"}
			c.shape(&cfg)
			l, err := Listen(cfg)
			if err == nil {
				l.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	t.Run("advertised", func(t *testing.T) {
		a := listenAs(t, "a", func(c *Config) { c.Bind = "tcp://*:0"; c.Advertise = "127.0.0.1" })
		b := listenAs(t, "b")
		acquaint(a, b)
		b.stands(t, a)
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	cycle := func() {
		a, b := listenAs(t, "a", withCurve), listenAs(t, "b", withCurve)
		acquaint(a, b)
		a.stands(t, b)
		a.Up(Peer{ID: peer.ID{Node: "nobody", Boot: 1}, Endpoint: "tcp://127.0.0.1:9", Key: b.PublicKey()})
		a.Wake(b.id, newTorrent(1<<20))
		a.Send(b.id, note("x"))
		must(t, a.Close())
		if err := a.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		a.Send(b.id, note("x"))
		a.Wake(b.id, newTorrent(1<<20))
		a.Up(b.peer())
		a.Down(b.id, nil)
		must(t, b.Close())
	}
	cycle()
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for range 5 {
		cycle()
	}
	newRecorder().until(t, "nothing is left", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
}

func descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(names)
}
