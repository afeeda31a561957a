// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/zpipesfs/zpipesfs/wire/zpl"
)

const pathTimeout, pathVerbose = "server/timeout", "server/verbose"

func defaultConfig() *zpl.Item {
	root := &zpl.Item{}
	if err := root.Put(pathTimeout, strconv.FormatInt(DefaultTimeout.Milliseconds(), 10)); err != nil {
		panic(err) // a constant that is no ZPL
	}
	return root
}

// settings are what a configuration means.
type settings struct {
	timeout time.Duration
	verbose bool
}

// read checks a configuration. It knows server/timeout, in milliseconds (0: clients
// are never dropped), and server/verbose, 0 or 1.
func read(root *zpl.Item) (settings, error) {
	var s settings
	ms, err := strconv.ParseUint(root.Get(pathTimeout, strconv.FormatInt(DefaultTimeout.Milliseconds(), 10)), 10, 31)
	if err != nil {
		return s, fmt.Errorf("%w: %s: want milliseconds", ErrConfig, pathTimeout)
	}
	s.timeout = time.Duration(ms) * time.Millisecond
	verbose, err := strconv.ParseUint(root.Get(pathVerbose, "0"), 10, 8)
	if err != nil {
		return s, fmt.Errorf("%w: %s: want 0 or 1", ErrConfig, pathVerbose)
	}
	s.verbose = verbose != 0
	return s, nil
}

// apply puts settings into effect.
func (l *loop) apply(s settings) {
	l.timeout = s.timeout
	l.verbose = l.verbose || s.verbose
	for _, c := range l.clients {
		l.watch(c)
	}
	for _, r := range l.remotes {
		if r.phase != down {
			l.timers.set(&r.timer, l.now.Add(l.heartbeat()))
		}
	}
}

// Set sets a value of the configuration: "server/timeout" and "server/verbose"
// take effect at once, others are kept.
func (n *Node) Set(path, value string) error {
	return n.do(func(l *loop) error {
		root := clone(l.config)
		if err := root.Put(path, value); err != nil {
			return fmt.Errorf("set %s: %w", path, err)
		}
		s, err := read(root)
		if err != nil {
			return fmt.Errorf("set: %w", err)
		}
		l.config = root
		l.apply(s)
		return nil
	})
}

// Load reads a configuration file in the place of all that was set or loaded. Its
// section "zgossip" is carried out, as CZMQ does:
//
//	zgossip
//	    echo = a line for the log
//	    security
//	        mechanism = curve           # or null; none: the keys stay
//	        domain = the ZAP domain
//	        secret-key = a file of zcert's format
//	    bind
//	        endpoint = tcp://*:9999
//
// If it fails, the configuration is what it was before; endpoints that were bound
// stay so.
func (n *Node) Load(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("load configuration: %w", err)
	}
	root, err := zpl.Parse(text)
	if err != nil {
		return fmt.Errorf("load configuration: %s: %w", file, err)
	}
	err = n.configure(root)
	if err != nil {
		return fmt.Errorf("load configuration: %s: %w", file, err)
	}
	return nil
}

func (n *Node) configure(root *zpl.Item) error {
	s, err := read(root)
	if err != nil {
		return err
	}
	var orders []*zpl.Item
	if section := root.Child("zgossip"); section != nil {
		orders = section.Items
	}
	secure := func(*security) {}
	for _, it := range orders {
		if it.Name == "security" {
			// Before anything is bound, wherever it stands.
			if secure, err = readSecurity(it); err != nil {
				return err
			}
		}
	}
	return n.do(func(l *loop) error {
		changed := l.security
		secure(&changed)
		if changed.on() {
			if _, _, err := changed.pair(); err != nil {
				return err
			}
		}
		l.security = changed
		for _, it := range orders {
			switch it.Name {
			case "echo":
				l.log.Info(it.Value)
			case "bind":
				endpoint := it.Get("endpoint", "")
				if _, err := l.bind(endpoint); err != nil {
					return fmt.Errorf("bind %q: %w", endpoint, err)
				}
			}
		}
		l.config = root
		l.apply(s)
		return nil
	})
}

// readSecurity returns what a section makes of a node's security.
func readSecurity(it *zpl.Item) (func(*security), error) {
	var public, secret string
	switch mechanism := it.Get("mechanism", ""); mechanism {
	case "": // keys that were set before are not lost by a domain
		return func(s *security) { s.domain = it.Get("domain", s.domain) }, nil
	case "null":
	case "curve":
		var err error
		if public, secret, err = ReadCert(it.Get("secret-key", "")); err != nil {
			return nil, err
		}
		if secret == "" {
			return nil, fmt.Errorf("%w: security: the file has no secret key", ErrConfig)
		}
	default:
		return nil, fmt.Errorf("%w: security: mechanism %q: want null or curve", ErrConfig, mechanism)
	}
	return func(s *security) {
		s.public, s.secret = public, secret
		s.domain = it.Get("domain", s.domain)
	}, nil
}

// SetPublicKey sets the node's public CURVE key (Z85), for what is bound and
// connected afterwards.
func (n *Node) SetPublicKey(key string) error {
	return n.secure("set public key", key, func(s *security) { s.public = key })
}

// SetSecretKey sets the node's secret CURVE key (Z85): what is bound afterwards
// takes clients with CURVE only.
func (n *Node) SetSecretKey(key string) error {
	return n.secure("set secret key", key, func(s *security) { s.secret = key })
}

func (n *Node) secure(op, key string, change func(*security)) error {
	if !ValidKey(key) {
		return fmt.Errorf("%s: %w", op, ErrKey)
	}
	return n.do(func(l *loop) error { change(&l.security); return nil })
}

// SetZAPDomain sets the ZAP domain of what is bound afterwards with CURVE, which
// Config.Allow is told.
func (n *Node) SetZAPDomain(domain string) error {
	if domain == "" || len(domain) > 255 {
		return fmt.Errorf("set ZAP domain: %w: want 1 to 255 octets", ErrConfig)
	}
	return n.do(func(l *loop) error { l.security.domain = domain; return nil })
}

// clone copies a configuration.
func clone(it *zpl.Item) *zpl.Item {
	c := *it
	c.Items = make([]*zpl.Item, len(it.Items))
	for i, child := range it.Items {
		c.Items[i] = clone(child)
	}
	return &c
}
