// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zpipesfs/zpipesfs/broker"
)

// model is a broker's tree and a cluster's arbiter, strict about what it is told:
// directories come before what they hold and go after it.
type model struct {
	t    testing.TB
	name string

	mu      sync.Mutex // guards below
	names   map[string]broker.Entry
	open    map[string]bool
	retired []string
	lax     bool // the tree may have dropped transient names by itself
}

func newModel(t testing.TB, name string) *model {
	return &model{t: t, name: name, names: map[string]broker.Entry{}, open: map[string]bool{}}
}

func parentOf(p string) string {
	if d := path.Dir(p); d != "." {
		return d
	}
	return ""
}

func (m *model) Apply(e broker.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := parentOf(e.Path); d != "" {
		if up, ok := m.names[d]; !ok || up.Kind != broker.Dir {
			m.t.Errorf("%s: %q applied, but %q is %+v", m.name, e.Path, d, up)
		}
	}
	if old, ok := m.names[e.Path]; ok && old.Kind != e.Kind {
		m.t.Errorf("%s: %q was not erased before it became another kind", m.name, e.Path)
	}
	m.names[e.Path] = e
}

func (m *model) Erase(p string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.names[p]; !ok && !m.lax {
		m.t.Errorf("%s: %q erased, and it is not there", m.name, p)
	}
	for q := range m.names {
		if strings.HasPrefix(q, p+"/") {
			m.t.Errorf("%s: %q erased before %q", m.name, p, q)
		}
	}
	delete(m.names, p)
}

func (m *model) Move(from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.names[from]; !ok {
		m.t.Errorf("%s: %q moved, and it is not there", m.name, from)
	}
	maps.DeleteFunc(m.names, func(p string, _ broker.Entry) bool { return p == to || strings.HasPrefix(p, to+"/") })
	for p, e := range maps.Clone(m.names) {
		if p == from || strings.HasPrefix(p, from+"/") {
			delete(m.names, p)
			e.Path = to + strings.TrimPrefix(p, from)
			m.names[e.Path] = e
		}
	}
}

func (m *model) Open(path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open[path]
}

func (m *model) setOpen(path string, open bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open[path] = open
}

func (m *model) Retire(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = append(m.retired, path)
}

// drop removes a transient name as the broker's tree does by itself.
func (m *model) drop(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lax = true
	delete(m.names, path)
}

func (m *model) get(path string) (broker.Entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.names[path]
	return e, ok
}

func (m *model) has(path string) bool {
	_, ok := m.get(path)
	return ok
}

func (m *model) list(dir string) (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.names {
		if parentOf(p) == dir {
			names = append(names, path.Base(p))
		}
	}
	slices.Sort(names)
	return names
}

func (m *model) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(m.names)) {
		e := m.names[p]
		fmt.Fprintf(&b, "%s kind %d mode %d %o %d:%d transient %v\n", p, e.Kind, e.Mode, e.Owner.Perm, e.Owner.UID, e.Owner.GID, e.Transient)
	}
	return b.String()
}
