// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// FuzzRemote runs steps that data spells on a pipe with ends here and elsewhere, and
// keeps a ledger of where each record is: it must be at one place, and every end's
// state must be what the ledger says.
func FuzzRemote(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomSteps(seed, 800))
	}
	pool := stockedPool()
	f.Fuzz(func(t *testing.T, data []byte) {
		newLedger(t, pool, data).run()
		checkStock(t, pool)
	})
}

// TestRemoteAgainstLedger is FuzzRemote on longer random sequences.
func TestRemoteAgainstLedger(t *testing.T) {
	pool := stockedPool()
	for seed := range uint64(150) {
		newLedger(t, pool, randomSteps(100+seed, 1500)).run()
		checkStock(t, pool)
		if t.Failed() {
			t.Fatalf("seed %d", 100+seed)
		}
	}
}

func randomSteps(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// unit is the size of all records: all that is asked for is a multiple of it, so that
// a record is torn only by a fault.
const unit = 1024

// page is what the ledger knows of one writer.
type page struct {
	id     int
	near   *opened // here
	far    *Writer // elsewhere
	voice  *Voice
	closed bool
	wrote  int         // records made
	at     map[int]int // how often each was read, by a record's number
	open   []*ledgerWrite
	took   int // bytes that the pipe took, apart from what open writes tell
}

type ledgerWrite struct {
	x     *writing
	first int // its first record
	n     int // records
}

// borrower is a remote reader.
type borrower struct {
	r     *Reader
	of    *page // fanout
	lent  []Chunk
	armed bool
	told  flag
}

type hearer struct {
	o     *opened
	reads []*reading
	next  map[int]int // fanout: the record of each writer that comes next
	lost  int
}

type ledger struct {
	t       *testing.T
	r       *rig
	data    []byte
	mode    Mode
	limit   int
	pages   []*page
	far     []*borrower
	near    []*hearer
	losses  int
	gone    int // bytes that vanished with the last end
	goneOwn int // of them: of writers here
	spare   int // the most that was granted beyond the limit since the pipe was empty
}

func newLedger(t *testing.T, pool *Pool, data []byte) *ledger {
	l := &ledger{t: t, data: data}
	l.mode = []Mode{Fifo, Fifo, Fanout}[l.pick(3)]
	l.limit = []int{4, 20, 100}[l.pick(3)] * unit
	l.r = newRigOn(t, pool, l.mode, l.limit)
	return l
}

func (l *ledger) pick(n int) int {
	if len(l.data) == 0 {
		return 0
	}
	b := l.data[0]
	l.data = l.data[1:]
	return int(b) % n
}

func (l *ledger) run() {
	for len(l.data) > 0 && !l.t.Failed() {
		l.step()
		l.check()
	}
	for len(l.far) > 0 {
		l.giveUp(l.far[0])
	}
	for _, w := range l.pages {
		l.closePage(w, nil)
	}
	l.r.closeAll()
	for _, h := range l.near {
		l.collect(h)
	}
}

func (l *ledger) step() {
	switch l.pick(16) {
	case 0:
		l.openNear()
	case 1:
		l.openFar()
	case 2:
		if w := l.writer(); w != nil && l.pick(2) == 0 {
			l.closePage(w, []error{nil, nil, ErrPeerLost}[l.pick(3)])
		}
	case 3:
		if h := l.hearer(); h != nil && l.pick(2) == 0 {
			l.closeHearer(h)
		}
	case 4, 5, 6:
		l.write()
	case 7, 8:
		l.read()
	case 9:
		l.cancelRead()
	case 10, 11:
		l.lend()
	case 12:
		l.settle()
	case 13:
		l.giveBack()
	case 14:
		l.recall()
	case 15:
		if b := l.borrower(); b != nil {
			switch l.pick(6) {
			case 0:
				l.giveUp(b)
			case 1:
				b.r.SetWindow(l.pick(60) * unit)
			}
		}
	}
}

func (l *ledger) openNear() {
	if len(l.pages) > 400 {
		return
	}
	switch l.pick(2) {
	case 0:
		if len(l.near) < 3 {
			l.near = append(l.near, &hearer{o: l.r.open(rd | nb), next: make(map[int]int)})
		}
	case 1:
		w := &page{id: len(l.pages), at: make(map[int]int)}
		o := &opened{OpenOp: OpenOp{Write: true, Patient: true, Voice: new(Voice)}}
		o.Done = func(*OpenOp) { o.dones++ }
		if err := l.r.Open(&o.OpenOp); err != nil || o.Err != nil {
			l.t.Fatal(err, o.Err)
		}
		l.r.ends = append(l.r.ends, o)
		w.near, w.voice = o, o.Voice
		l.pages = append(l.pages, w)
	}
}

func (l *ledger) openFar() {
	switch l.pick(2) {
	case 0:
		b := &borrower{}
		if l.mode == Fanout {
			if b.of = l.writer(); b.of == nil || b.of.near == nil || b.of.wrote > 0 {
				return
			}
			for _, other := range l.far {
				if other.of == b.of {
					return
				}
			}
		}
		if len(l.far) >= 3 {
			return
		}
		var v *Voice
		if b.of != nil {
			v = b.of.voice
		}
		var err error
		if b.r, err = l.r.AttachReader(Info{Host: "far"}, v); err != nil {
			l.t.Fatal(err)
		}
		l.far = append(l.far, b)
	case 1:
		w := &page{id: len(l.pages), at: make(map[int]int)}
		var err error
		if w.far, err = l.r.AttachWriter(Info{Host: fmt.Sprint("far", l.pick(3))}, func() {}); err != nil {
			l.t.Fatal(err)
		}
		l.pages = append(l.pages, w)
	}
}

// writer picks one that is open.
func (l *ledger) writer() *page {
	open := pending(l.pages, func(w *page) bool { return !w.closed })
	if len(open) == 0 {
		return nil
	}
	return open[l.pick(len(open))]
}

func (l *ledger) hearer() *hearer {
	if len(l.near) == 0 {
		return nil
	}
	return l.near[l.pick(len(l.near))]
}

func (l *ledger) borrower() *borrower {
	if len(l.far) == 0 {
		return nil
	}
	return l.far[l.pick(len(l.far))]
}

func (l *ledger) closePage(w *page, cause error) {
	if w.closed {
		return
	}
	w.closed = true
	if cause != nil && w.far != nil {
		l.losses++
	}
	if w.far != nil {
		l.r.Close(nil, w.far, cause)
	} else {
		w.near.Writer.Close()
	}
}

func (l *ledger) closeHearer(h *hearer) {
	l.r.Close(h.o.Reader, nil, nil)
	l.collect(h)
	for i, x := range l.near {
		if x == h {
			l.near = append(l.near[:i], l.near[i+1:]...)
			break
		}
	}
}

func (w *page) records(n int) []byte {
	b := make([]byte, n*unit)
	for i := range n {
		r := b[i*unit : (i+1)*unit]
		for j := range r {
			r[j] = byte(w.id + j)
		}
		binary.BigEndian.PutUint32(r, uint32(w.id))
		binary.BigEndian.PutUint32(r[4:], uint32(w.wrote+i))
	}
	return b
}

func (l *ledger) write() {
	w := l.writer()
	n := []int{1, 2, 4, 4, 9, 30, 70}[l.pick(7)]
	if w == nil || len(w.open) > 3 || l.inside() > 400*unit {
		return
	}
	b := w.records(n)
	if w.far != nil {
		if l.r.basin.bytes()+n*unit > 200*unit {
			return // it was granted no more
		}
		w.far.Feed(chunks(l.r.pool, b))
		w.wrote += n
		w.took += n * unit
		return
	}
	x := &ledgerWrite{first: w.wrote, n: n}
	how := l.pick(4)
	x.x = l.r.write(w.near.Writer, b, func(op *WriteOp) { op.NonBlock, op.Whole = how&1 != 0, how&2 != 0 })
	w.open = append(w.open, x)
	w.wrote += n
}

func (l *ledger) inside() int { return l.r.Stat().Buffered }

func (l *ledger) read() {
	h := l.hearer()
	least, most, now := 1, unit*(1+l.pick(80)), l.pick(2) == 0
	if l.pick(4) == 0 {
		least = unit * (1 + l.pick(most/unit))
	}
	if h == nil || len(h.reads) > 3 {
		return
	}
	h.reads = append(h.reads, l.r.read(h.o.Reader, least, most, func(op *ReadOp) { op.NonBlock = now }))
}

func (l *ledger) cancelRead() {
	if h := l.hearer(); h != nil && len(h.reads) > 0 {
		x := h.reads[l.pick(len(h.reads))]
		if x.dones == 0 && !h.o.Reader.Cancel(&x.ReadOp) {
			l.t.Error("a read that waits cannot be withdrawn")
		}
		if x.dones == 0 {
			x.dones = -1
		}
	}
}

// collect takes what reads that have completed got.
func (l *ledger) collect(h *hearer) {
	h.reads = pending(h.reads, func(x *reading) bool {
		switch {
		case x.dones == 0:
			return true
		case x.dones < 0:
			return false
		case x.dones > 1:
			l.t.Errorf("a read completed %d times", x.dones)
		case x.Err == nil && (x.N != len(x.got) || x.N > x.Max):
			l.t.Errorf("a read of %d got %d, and says %d", x.Max, len(x.got), x.N)
		case x.Err == nil || errors.Is(x.Err, ErrAgain) || errors.Is(x.Err, io.EOF) || errors.Is(x.Err, ErrClosed):
		case errors.Is(x.Err, ErrPeerLost):
			if h.lost++; h.lost > l.losses {
				l.t.Errorf("%d losses were told of %d", h.lost, l.losses)
			}
		default:
			l.t.Error(x.Err)
		}
		l.count(x.got, true, h.next)
		return false
	})
}

// count notes that records were read. near: by a reader here.
func (l *ledger) count(b []byte, near bool, next map[int]int) {
	if len(b)%unit != 0 {
		l.t.Errorf("%d bytes are torn", len(b)%unit)
		return
	}
	for ; len(b) > 0; b = b[unit:] {
		id, n := int(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint32(b[4:]))
		if id >= len(l.pages) || n >= l.pages[id].wrote || b[unit-1] != byte(id+unit-1) || b[8] != byte(id+8) {
			l.t.Errorf("what was read is no record: %d %d", id, n)
			return
		}
		w := l.pages[id]
		if !near && w.far != nil {
			l.t.Error("a byte crosses a second link")
		}
		w.at[n]++
		if l.mode != Fanout && w.at[n] > 1 {
			l.t.Errorf("record %d of writer %d was read %d times", n, id, w.at[n])
		}
		if l.mode == Fanout {
			if n < next[id] {
				l.t.Errorf("record %d of writer %d comes after %d", n, id, next[id]-1)
			}
			next[id] = n + 1
		}
	}
}

func (l *ledger) lend() {
	b := l.borrower()
	want, most := l.pick(80)*unit, SegmentSize+l.pick(2)*SegmentSize
	if b == nil {
		return
	}
	window := max(l.limit, SegmentSize)
	if most = min(most, window-b.r.lent); most <= 0 {
		return
	}
	b.told, b.armed = 0, false
	var end bool
	var n int
	before := len(b.lent)
	b.lent, n, end = b.r.Lend(b.lent, min(want, most), most, b.told.up)
	got := 0
	for _, c := range b.lent[before:] {
		got += c.Len()
		if c.Len()%unit != 0 {
			l.t.Errorf("a record was torn: a chunk has %d bytes", c.Len())
		}
	}
	if got != n || n > most || end && n > 0 {
		l.t.Errorf("lent %d of %d, and says %d, end %v", got, most, n, end)
	}
	gone := l.others(b)
	if want > 0 && n == 0 && b.r.lender().bytes > 0 && most >= SegmentSize {
		l.t.Errorf("nothing was lent of %d bytes", b.r.lender().bytes)
	}
	if end != (gone && n == 0 && b.r.lender().bytes == 0) {
		l.t.Errorf("the end is %v", end)
	}
	b.armed = n == 0 && !end && b.r.lender().bytes == 0
}

// take takes n records of what was lent out of the borrower's books.
func (b *borrower) take(n int) (bytes []byte) {
	for n > 0 && len(b.lent) > 0 {
		c := b.lent[0]
		if k := c.Len() / unit; k > n {
			bytes = append(bytes, c.Bytes()[:n*unit]...)
			b.lent[0] = c.After(n * unit)
			break
		} else {
			bytes = append(bytes, c.Bytes()...)
			n -= k
		}
		c.Release()
		b.lent = b.lent[1:]
	}
	return bytes
}

func (l *ledger) settle() {
	if b := l.borrower(); b != nil {
		read := b.take(l.pick(100))
		l.count(read, false, make(map[int]int))
		b.r.Settle(len(read))
	}
}

func (l *ledger) giveBack() {
	if b := l.borrower(); b != nil && l.mode != Fanout {
		back := b.lent
		b.lent = nil
		b.r.Return(back)
	}
}

func (l *ledger) giveUp(b *borrower) {
	back := b.lent
	b.lent = nil
	b.r.Return(back)
	b.r.Close()
	for i, x := range l.far {
		if x == b {
			l.far = append(l.far[:i], l.far[i+1:]...)
			break
		}
	}
}

func (l *ledger) recall() {
	w := l.writer()
	if w == nil || w.far == nil || l.mode == Fanout {
		return
	}
	fed, unread, _ := w.far.Fed()
	if n := w.far.Recall(); n != unread || n%unit != 0 {
		l.t.Errorf("recalled %d bytes of %d", n, unread)
	}
	if after, left, _ := w.far.Fed(); after != fed-unread || left != 0 {
		l.t.Errorf("%d fed, %d unread after a recall of %d from %d", after, left, unread, fed)
	}
	w.took -= unread
}
