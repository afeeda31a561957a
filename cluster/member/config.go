// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/memberlist"

	"github.com/zpipesfs/zpipesfs/cluster/key"
)

var (
	// ErrConfig is a setting that cannot be used.
	ErrConfig = errors.New("membership settings")

	// ErrTags is what a member tells of itself being over 512 bytes.
	ErrTags = errors.New("the endpoint is too long to be told to other brokers")
)

// maxNode is the longest name of a node, in bytes.
const maxNode = 128

// Config is what a broker's membership is started with.
type Config struct {
	Node    string // the broker's name, unique in the cluster: 1 to 128 bytes, no space and no "/"
	Boot    uint64 // random, new at each start; not 0
	Version uint8  // of the peer protocol: brokers of another version are refused; not 0

	Bind      string   // "ip:port" to listen on, TCP and UDP; port 0 takes a free one; empty: all addresses, a free port
	Advertise string   // "ip" or "ip:port" that other brokers reach it at; empty: the address it is bound to
	Join      []string // "host:port" of other brokers, resolved again at each try; may be empty, may hold this broker

	Endpoint  string // see Member.Endpoint; may be told later, see UpdateTags
	PublicKey string // see Member.Key

	Profile Profile   // empty is LAN
	Key     *key.Ring // nil: plain text, and everybody may join

	// Changed is handed each new view, the first when Start has just begun. Calls
	// come one at a time from one goroutine; while one runs, changes gather for the
	// next. The view is the callee's. It must not call Leave or Close.
	Changed func(View)

	Log *slog.Logger // nil: no log

	// Transport takes the place of the network, for simulations: then Bind and
	// Advertise are not used. The membership shuts it down.
	Transport memberlist.Transport
}

// check fills in defaults and refuses what cannot be used.
func (c *Config) check() error {
	if c.Profile == "" {
		c.Profile = LAN
	}
	if _, err := ParseProfile(string(c.Profile)); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func(View) {}
	}
	if c.Boot == 0 || c.Version == 0 {
		return fmt.Errorf("%w: boot %d, version %d: want neither to be 0", ErrConfig, c.Boot, c.Version)
	}
	for _, seed := range c.Join {
		if err := checkSeed(seed); err != nil {
			return err
		}
	}
	return checkNode(c.Node)
}

func checkNode(node string) error {
	odd := func(r rune) bool {
		return r == '/' || r == unicode.ReplacementChar || !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}
	if node == "" || len(node) > maxNode || strings.ContainsFunc(node, odd) {
		return fmt.Errorf("%w: node %q: want 1 to %d bytes without spaces and \"/\": give another --node", ErrConfig, node, maxNode)
	}
	return nil
}

// parseBind returns the address to listen on.
func parseBind(bind string) (netip.AddrPort, error) {
	if bind == "" {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0), nil
	}
	a, err := netip.ParseAddrPort(bind)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: bind %q: want an address of this host and a port, as 10.9.0.1:7947", ErrConfig, bind)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// parseAdvertise returns the address to tell to others; port is the default.
func parseAdvertise(advertise string, port uint16) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(advertise); err == nil && !ip.IsUnspecified() {
		return netip.AddrPortFrom(ip.Unmap(), port), nil
	}
	a, err := netip.ParseAddrPort(advertise)
	if err != nil || a.Addr().IsUnspecified() || a.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%w: advertise %q: want the address that other hosts reach this one at, as 192.0.2.7 or 192.0.2.7:7947",
			ErrConfig, advertise)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// checkSeed refuses an address to join at that no resolver could make sense of.
func checkSeed(seed string) error {
	host, port, err := net.SplitHostPort(seed)
	if err == nil {
		var n uint64
		n, err = strconv.ParseUint(port, 10, 16)
		if err == nil && (n == 0 || host == "") {
			err = errors.New("an empty host or port 0")
		}
	}
	if err != nil {
		return fmt.Errorf("%w: join %q: want a host and a port, as 10.9.0.1:7947", ErrConfig, seed)
	}
	return nil
}
