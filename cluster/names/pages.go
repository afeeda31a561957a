// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package names

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strings"
)

// pages reads a file of bbolt's and takes nothing in it for granted. bbolt has no
// checksums and follows what a page says wherever that leads: one that is damaged
// makes it fault, leave names out, or write over pages that are in use. So it gets
// only files in which every page was found to be what and where it should be.
//
// The layout is version 2 of bbolt's: go.etcd.io/bbolt/internal/common, meta.go,
// page.go and bucket.go. Numbers are in the host's order.
type pages struct {
	file io.ReaderAt
	top  boltMeta
	use  []pageUse // up to the high-water mark
	take func(bucket, key, value []byte)
	*faults
}

// Sizes of parts of a page, and marks in it, as bbolt has them.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	boltHeader  = 16 // of a page, an element, a bucket
	boltMeta64  = 56 // what a meta page's checksum is of
	boltBranch  = 0x01
	boltLeaf    = 0x02
	boltFree    = 0x10
	boltBucket  = 0x01 // on an element
	boltMany    = 0xFFFF
)

var native = binary.NativeEndian

// pageUse is what has been found of a page so far.
type pageUse uint8

const (
	useNone pageUse = iota
	useHead         // something points to it
	useTail         // it continues the one before
	useFree
)

// boltMeta is a meta page: where all else is.
type boltMeta struct {
	unit           int64 // octets a page
	root, freelist uint64
	high           uint64 // all pages are below
	tx             uint64 // the transaction that wrote it
}

// boltPage is any other page, with those that continue it.
type boltPage struct {
	id           uint64
	flags, count uint16
	overflow     uint32
	data         []byte
}

// faults are what is wrong with a file.
type faults struct {
	first []string
	more  int
}

// faultsSaid is how many are told of, so that one line of a log has them.
const faultsSaid = 3

func (f *faults) fault(format string, args ...any) {
	if len(f.first) == faultsSaid {
		f.more++
		return
	}
	f.first = append(f.first, fmt.Sprintf(format, args...))
}

// err returns errDamaged with what is wrong, nil if nothing is.
func (f *faults) err() error {
	switch {
	case len(f.first) == 0:
		return nil
	case f.more > 0:
		return fmt.Errorf("%w: %s, and %d more faults", errDamaged, strings.Join(f.first, "; "), f.more)
	}
	return fmt.Errorf("%w: %s", errDamaged, strings.Join(f.first, "; "))
}

// readPages reads all of a file of size octets: take gets each element, which is its
// own, of each bucket. Where the file is damaged it goes on with what can still be
// read: also with pages that nothing leads to any more, whose elements come as those
// of the bucket orphans. It reports whether the file is as new: nothing was ever written to it.
func readPages(file io.ReaderAt, size int64, orphans []byte, f *faults, take func(bucket, key, value []byte)) (fresh bool) {
	p := pages{file: file, faults: f, take: take}
	if !p.open(size) {
		return false
	}
	root := bucket{pages: &p}
	root.tree(p.top.root, nil)
	if p.freelist() {
		p.orphans(orphans)
	}
	// bbolt makes a file with the transactions 0 and 1.
	return len(f.first) == 0 && root.last == nil && p.top.tx == 1
}

// open finds the newer meta page. bbolt falls back to the older one, that is to what
// the file had before the last transaction, and does not tell.
func (p *pages) open(size int64) bool {
	found, unit := false, int64(os.Getpagesize())
	for i := range int64(2) {
		m, err := readMeta(p.file, i*unit)
		if err != nil {
			p.fault("meta page %d: %v", i, err)
			continue
		}
		unit = m.unit
		if !found || m.tx > p.top.tx {
			found, p.top = true, m
		}
	}
	if !found {
		return false
	}
	have := uint64(size / p.top.unit)
	if have < p.top.high {
		p.fault("the file is cut off: it has %d pages of %d", have, p.top.high)
	}
	p.use = make([]pageUse, min(have, p.top.high))
	return true
}

func readMeta(file io.ReaderAt, at int64) (m boltMeta, err error) {
	var b [boltHeader + boltMeta64 + 8]byte
	switch _, err := file.ReadAt(b[:], at); {
	case errors.Is(err, io.EOF):
		return m, errors.New("the file ends before it")
	case err != nil:
		return m, err
	}
	body := b[boltHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(body[:boltMeta64])
	switch {
	case native.Uint32(body) != boltMagic:
		return m, errors.New("no database")
	case native.Uint64(body[boltMeta64:]) != sum.Sum64():
		return m, errors.New("wrong checksum")
	case native.Uint32(body[4:]) != boltVersion:
		return m, fmt.Errorf("the database's version is %d, not %d", native.Uint32(body[4:]), boltVersion)
	}
	m = boltMeta{
		unit: int64(native.Uint32(body[8:])), root: native.Uint64(body[16:]), freelist: native.Uint64(body[32:]),
		high: native.Uint64(body[40:]), tx: native.Uint64(body[48:]),
	}
	if m.unit < 1024 {
		return m, fmt.Errorf("pages of %d octets", m.unit)
	}
	return m, nil
}

// page reads a page that something points to: one thing only may.
func (p *pages) page(id uint64) (pg boltPage, ok bool) {
	if id < 2 || id >= uint64(len(p.use)) {
		p.fault("page %d: there is none", id)
		return pg, false
	}
	if p.use[id] != useNone {
		p.fault("page %d: used twice", id)
		if p.use[id] != useTail {
			return pg, false
		}
	}
	p.use[id] = useHead
	pg.data = make([]byte, p.top.unit)
	at := int64(id) * p.top.unit
	if _, err := p.file.ReadAt(pg.data, at); err != nil {
		p.fault("page %d: %v", id, err)
		return pg, false
	}
	pg.parse()
	if pg.id != id {
		p.fault("page %d: says that it is page %d", id, pg.id)
	}
	tail := uint64(0)
	for tail < uint64(pg.overflow) && p.tail(id+tail+1) {
		tail++
	}
	if tail < uint64(pg.overflow) {
		p.fault("page %d: goes on over %d pages", id, pg.overflow)
	}
	if tail > 0 {
		rest := make([]byte, int64(tail)*p.top.unit)
		if _, err := p.file.ReadAt(rest, at+p.top.unit); err != nil {
			p.fault("page %d: %v", id, err)
			return pg, false
		}
		pg.data = append(pg.data, rest...)
	}
	return pg, true
}

// tail marks a page that continues another, if it may.
func (p *pages) tail(id uint64) bool {
	if id >= uint64(len(p.use)) || p.use[id] != useNone {
		return false
	}
	p.use[id] = useTail
	return true
}

// parse reads the header of what is in data.
func (pg *boltPage) parse() {
	pg.id = native.Uint64(pg.data)
	pg.flags = native.Uint16(pg.data[8:])
	pg.count = native.Uint16(pg.data[10:])
	pg.overflow = native.Uint32(pg.data[12:])
}

// freelist reads which pages are free, and reports whether it can be believed.
func (p *pages) freelist() bool {
	pg, ok := p.page(p.top.freelist)
	if !ok {
		return false
	}
	n, ids := uint64(pg.count), pg.data[boltHeader:]
	if n == boltMany {
		n, ids = native.Uint64(ids), ids[8:]
	}
	if pg.flags != boltFree || n > uint64(len(ids)/8) {
		p.fault("page %d: not a list of free pages", p.top.freelist)
		return false
	}
	for i := range n {
		id := native.Uint64(ids[8*i:])
		if id < 2 || id >= uint64(len(p.use)) || p.use[id] != useNone {
			p.fault("page %d: free, but is none or in use", id)
			ok = false
			continue
		}
		p.use[id] = useFree
	}
	return ok
}

// orphans reads the pages that are not free and nothing leads to.
func (p *pages) orphans(name []byte) {
	for id := range uint64(len(p.use)) {
		if id < 2 || p.use[id] != useNone {
			continue
		}
		p.fault("page %d: nothing leads to it", id)
		if pg, ok := p.page(id); ok && pg.id == id && pg.flags == boltLeaf {
			b := bucket{pages: p, name: name}
			b.leaf(&pg, nil)
		}
	}
}

// bucket is a tree of pages that is being read.
type bucket struct {
	*pages
	name []byte // nil: the one that holds the buckets
	last []byte // the key that was read last
}

// tree reads what is in and below a page. One that a branch points to begins with the
// key that is there.
func (b *bucket) tree(id uint64, first []byte) {
	pg, ok := b.page(id)
	switch {
	case !ok:
	case pg.flags == boltBranch:
		b.branch(&pg, first)
	default:
		b.leaf(&pg, first)
	}
}

func (b *bucket) branch(pg *boltPage, first []byte) {
	type child struct {
		key []byte
		id  uint64
	}
	var children []child
	for i := range int(pg.count) {
		at := boltHeader + boltHeader*i
		if at+boltHeader > len(pg.data) {
			break
		}
		pos, ksize := native.Uint32(pg.data[at:]), native.Uint32(pg.data[at+4:])
		var key []byte // also of one that has lost it the child is read
		if from, to := int64(at)+int64(pos), int64(at)+int64(pos)+int64(ksize); to <= int64(len(pg.data)) {
			key = pg.data[from:to]
		}
		children = append(children, child{key, native.Uint64(pg.data[at+8:])})
	}
	if len(children) == 0 || len(children) < int(pg.count) {
		b.fault("page %d: a branch with %d elements", pg.id, pg.count)
	}
	for i, c := range children {
		b.ordered(pg, i, c.key, first)
		b.tree(c.id, c.key)
	}
}

func (b *bucket) leaf(pg *boltPage, first []byte) {
	if pg.flags != boltLeaf {
		b.fault("page %d: of kind %#x", pg.id, pg.flags)
	}
	if pg.count == 0 && first != nil {
		b.fault("page %d: an empty leaf", pg.id)
	}
	kind := uint32(0)
	if b.name == nil {
		kind = boltBucket
	}
	for i := range int(pg.count) {
		at := boltHeader + boltHeader*i
		if at+boltHeader > len(pg.data) {
			b.fault("page %d: a leaf with %d elements", pg.id, pg.count)
			return
		}
		flags, pos := native.Uint32(pg.data[at:]), native.Uint32(pg.data[at+4:])
		ksize, vsize := native.Uint32(pg.data[at+8:]), native.Uint32(pg.data[at+12:])
		from := int64(at) + int64(pos)
		mid := from + int64(ksize)
		to := mid + int64(vsize)
		if to > int64(len(pg.data)) {
			b.fault("page %d: element %d goes beyond it", pg.id, i)
			continue
		}
		key, value := pg.data[from:mid], pg.data[mid:to]
		b.ordered(pg, i, key, first)
		b.last = key
		if flags != kind {
			b.fault("page %d: element %d is of kind %#x", pg.id, i, flags)
		}
		if b.name == nil {
			b.inner(key, value)
		} else {
			b.take(b.name, key, value)
		}
	}
}

// inner reads a bucket in the one that holds them; a small one is in the value.
func (b *bucket) inner(name, value []byte) {
	if len(value) < boltHeader {
		b.fault("bucket %q: of %d octets", name, len(value))
		return
	}
	in := bucket{pages: b.pages, name: name}
	root, inline := native.Uint64(value), value[boltHeader:]
	if root != 0 {
		if len(inline) > 0 {
			b.fault("bucket %q: of %d octets", name, len(value))
		}
		in.tree(root, nil)
		return
	}
	if len(inline) < boltHeader {
		b.fault("bucket %q: of %d octets", name, len(value))
		return
	}
	pg := boltPage{data: inline}
	pg.parse()
	if pg.id != 0 || pg.overflow != 0 {
		b.fault("bucket %q: says that it is page %d with %d more", name, pg.id, pg.overflow)
	}
	in.leaf(&pg, nil)
}

// ordered checks the key of a page's element i: it is after all that were read, and in
// the first one what the branch above says. bbolt would look for it, and write it, elsewhere.
func (b *bucket) ordered(pg *boltPage, i int, key, first []byte) {
	if len(key) == 0 || b.last != nil && bytes.Compare(key, b.last) <= 0 || i == 0 && first != nil && !bytes.Equal(key, first) {
		b.fault("page %d: the key %q is out of order", pg.id, key)
	}
}
