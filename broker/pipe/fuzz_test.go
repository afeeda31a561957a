// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package pipe

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzPipe runs the engine and the model side by side through the steps that
// data spells, and compares everything that shows after each.
func FuzzPipe(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	pool := stockedPool()
	f.Fuzz(func(t *testing.T, data []byte) {
		newDuel(t, pool, data).run()
		checkStock(t, pool)
	})
}

// TestPipeAgainstModel is FuzzPipe on longer random sequences than its seeds.
func TestPipeAgainstModel(t *testing.T) {
	pool := stockedPool()
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 500 {
		data := make([]byte, 1+rng.IntN(800))
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		newDuel(t, pool, data).run()
		checkStock(t, pool)
		if t.Failed() {
			t.Fatalf("sequence %d", i)
		}
	}
}

type duel struct {
	t     *testing.T
	r     *rig
	m     *model
	data  []byte
	idles int32

	arriving []*duelOpen
	opens    []*duelOpen
	reads    []*duelRead
	writes   []*duelWrite
	seed     int
}

type duelOpen struct {
	real  *opened
	model *mOpen
	read  watched
	write watched
}

type duelRead struct {
	of    *Reader
	real  *reading
	model *mRead
}

type duelWrite struct {
	of    *Writer
	real  *writing
	model *mWrite
}

// watched is an end whose notifications are checked: what its state gains while
// it is armed must have been told.
type watched struct {
	state Ready
	armed bool
	told  flag
}

func newDuel(t *testing.T, pool *Pool, data []byte) *duel {
	d := &duel{t: t, data: data}
	mode, capacity := Mode(d.pick(3)), []int{Buf, 10000, 40000}[d.pick(3)]
	d.r = newRigOn(t, pool, mode, capacity)
	d.m = newModel(mode, capacity)
	return d
}

// pick takes a choice below n from the data.
func (d *duel) pick(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % n
}

// errWithdrawn marks what the model's user took back.
var errWithdrawn = errors.New("withdrawn")

var sizes = []int{0, 1, 2, 10, 100, 1000, 3000, 4095, 4096, 4097, 9000, 20000, 33000, 40000, 50000}

func (d *duel) run() {
	d.step(0)
	for len(d.data) > 0 && !d.t.Failed() {
		before := len(d.m.live(true))+len(d.m.live(false)) > 0
		d.step(d.pick(22))
		if before && len(d.m.live(true))+len(d.m.live(false)) == 0 {
			d.idles++
		}
		d.compare()
	}
	for _, o := range d.arriving {
		d.r.Depart(&o.real.OpenOp)
	}
	d.r.closeAll()
	for _, x := range d.writes {
		if x.real.dones == 0 {
			d.t.Error("a write survives its end")
		}
	}
}

func (d *duel) step(kind int) {
	switch kind {
	case 0, 1:
		d.open()
	case 2, 20, 21:
		d.arrive()
	case 3:
		d.close()
	case 4:
		d.cancelOpen()
	case 5:
		d.cancelRead()
	case 6:
		d.cancelWrite()
	case 7:
		if d.pick(16) == 15 {
			d.r.Shutdown()
			d.m.shutdown()
		}
	case 8, 9, 10:
		d.arm()
	case 11, 12, 13, 14, 15:
		d.write()
	default:
		d.read()
	}
}

func (d *duel) open() {
	if o := d.newOpen(); o != nil {
		d.goOn(o)
	}
}

func (d *duel) newOpen() *duelOpen {
	how := d.pick(16)
	if how&(rd|wr) == 0 {
		how |= rd << (how >> 2 & 1)
	}
	if len(d.m.live(true))+len(d.m.live(false))+len(d.arriving) >= 7 {
		return nil
	}
	m := &mOpen{read: how&rd != 0, write: how&wr != 0, nonblock: how&nb != 0, patient: how&pt != 0}
	return &duelOpen{real: newOpened(how), model: m}
}

func (d *duel) goOn(o *duelOpen) {
	err := d.r.goOn(o.real)
	if want := d.m.open(o.model); err != want {
		d.t.Errorf("open: %v, want %v", err, want)
	}
	if err == nil {
		d.opens = append(d.opens, o)
	}
}

// arrive has an open come, or lets one that has come go on, withdrawn or not, or depart.
func (d *duel) arrive() {
	what := d.pick(8)
	if len(d.arriving) == 0 || what < 3 {
		if o := d.newOpen(); o != nil {
			d.r.Arrive(&o.real.OpenOp)
			d.m.arrive(o.model)
			d.arriving = append(d.arriving, o)
		}
		return
	}
	i := d.pick(8) % len(d.arriving)
	o := d.arriving[i]
	d.arriving = slices.Delete(d.arriving, i, i+1)
	switch what {
	case 3:
		d.r.Depart(&o.real.OpenOp)
		d.m.depart(o.model)
		return
	case 4, 5:
		if o.real.Cancel() {
			d.t.Error("an open was taken back before it waited")
		}
		o.model.withdrawn = true
	}
	d.goOn(o)
}

// usable picks an open that has completed, of a kind.
func (d *duel) usable(want func(*mOpen) bool) *duelOpen {
	usable := pending(d.opens, func(o *duelOpen) bool { return o.model.done && o.model.err == nil && want(o.model) })
	if n := d.pick(8); len(usable) > 0 {
		return usable[len(usable)-1-n%len(usable)]
	}
	return nil
}

func (d *duel) close() {
	o := d.usable(func(*mOpen) bool { return true })
	if o == nil {
		return
	}
	var cause error
	if d.pick(2) == 1 {
		cause = ErrPeerLost
	}
	d.r.Close(o.real.Reader, o.real.Writer, cause)
	d.m.close(o.model.r, o.model.w, cause != nil)
}

func (d *duel) cancelOpen() {
	if len(d.opens) == 0 {
		return
	}
	o := d.opens[len(d.opens)-1-d.pick(8)%len(d.opens)]
	if got, want := o.real.Cancel(), !o.model.done; got != want {
		d.t.Errorf("cancel open: %v", got)
	}
	if !o.model.done {
		o.model.done, o.model.err = true, errWithdrawn
		d.m.close(o.model.r, o.model.w, false)
	}
}

func (d *duel) cancelRead() {
	if len(d.reads) == 0 {
		return
	}
	x := d.reads[d.pick(8)%len(d.reads)]
	if got, want := x.of.Cancel(&x.real.ReadOp), !x.model.done; got != want {
		d.t.Errorf("cancel read: %v", got)
	}
	if !x.model.done {
		x.model.done, x.model.err = true, errWithdrawn
		d.m.settle()
	}
}

func (d *duel) cancelWrite() {
	if len(d.writes) == 0 {
		return
	}
	x := d.writes[d.pick(8)%len(d.writes)]
	if got, want := x.of.Cancel(&x.real.WriteOp), !x.model.done; got != want {
		d.t.Errorf("cancel write: %v", got)
	}
	if !x.model.done {
		x.model.done, x.model.err = true, errWithdrawn
		d.m.settle()
		if x.real.N != x.model.n {
			d.t.Errorf("cancelled write took %d, want %d", x.real.N, x.model.n)
		}
	}
}

func (d *duel) arm() {
	o := d.usable(func(*mOpen) bool { return true })
	if o == nil {
		return
	}
	if r := o.real.Reader; r != nil && o.model.r.open {
		o.read = watched{armed: true}
		o.read.state = r.Ready(o.read.told.up)
	}
	if w := o.real.Writer; w != nil && o.model.w.open {
		o.write = watched{armed: true}
		o.write.state = w.Ready(o.write.told.up)
	}
}

func (d *duel) write() {
	o := d.usable(func(o *mOpen) bool { return o.write })
	b := pattern(d.seed, sizes[d.pick(len(sizes))])
	size := max([]int{1000, 33000, SegmentSize}[d.pick(3)], len(b)/8)
	how := d.pick(4)
	if o == nil || len(d.writes) > 12 {
		return
	}
	d.seed++
	real := d.r.write(o.real.Writer, nil, func(op *WriteOp) {
		op.Chunks = chunksOf(d.r.pool, b, size)
		op.Whole, op.NonBlock = how&1 != 0, how&2 != 0
	})
	m := &mWrite{w: o.model.w, b: b, whole: how&1 != 0, nonblock: how&2 != 0}
	d.m.write(m)
	d.writes = append(d.writes, &duelWrite{o.real.Writer, real, m})
}

func (d *duel) read() {
	o := d.usable(func(o *mOpen) bool { return o.read })
	min, max := sizes[d.pick(len(sizes))], sizes[1+d.pick(len(sizes)-1)]
	how := d.pick(8)
	if o == nil {
		return
	}
	if how&3 != 0 { // mostly as the mount reads
		min = 1
	}
	m := &mRead{r: o.model.r, min: min, max: max, nonblock: how == 1, rest: how == 2}
	if how == 3 {
		m.pieces = 1
	}
	real := d.r.read(o.real.Reader, min, max, func(op *ReadOp) {
		op.NonBlock, op.Rest, op.Pieces = m.nonblock, m.rest, m.pieces
	})
	m.hint = func() int { return real.N }
	d.m.read(m)
	d.reads = append(d.reads, &duelRead{o.real.Reader, real, m})
}

func (d *duel) compare() {
	for i, o := range d.opens {
		if (o.real.dones == 1) != (o.model.done && o.model.err != errWithdrawn) || o.real.dones > 1 ||
			o.real.dones == 1 && o.real.Err != o.model.err {
			d.t.Errorf("open %d: done %d times, %v; want %v, %v", i, o.real.dones, o.real.Err, o.model.done, o.model.err)
		}
		d.compareEnds(o)
	}
	d.reads = pending(d.reads, d.compareRead)
	d.writes = pending(d.writes, d.compareWrite)
	if got := d.r.idles.Load(); got != d.idles {
		d.t.Errorf("idle told %d times, want %d", got, d.idles)
	}
	if _, spent := d.r.Busy(); spent != d.m.spent {
		d.t.Errorf("spent %v, want %v", spent, d.m.spent)
	}
}

// compareRead reports whether the read still waits.
func (d *duel) compareRead(x *duelRead) bool {
	switch {
	case x.model.err == errWithdrawn:
		if x.real.dones != 0 {
			d.t.Error("a withdrawn read completed")
		}
	case (x.real.dones == 1) != x.model.done || x.real.dones > 1 || x.model.done &&
		(x.real.Err != x.model.err || x.real.N != len(x.real.got) || !bytes.Equal(x.real.got, x.model.got)):
		d.t.Errorf("read min %d max %d: done %d times, %d bytes, %v; want %v, %d bytes, %v; bytes equal %v", x.real.Min, x.real.Max,
			x.real.dones, x.real.N, x.real.Err, x.model.done, len(x.model.got), x.model.err, bytes.Equal(x.real.got, x.model.got))
	}
	return !x.model.done
}

func (d *duel) compareWrite(x *duelWrite) bool {
	switch {
	case x.model.err == errWithdrawn:
		if x.real.dones != 0 {
			d.t.Error("a withdrawn write completed")
		}
		x.real.dones = 1
	case (x.real.dones == 1) != x.model.done || x.real.dones > 1 || x.model.done && (x.real.Err != x.model.err || x.real.N != x.model.n):
		d.t.Errorf("write of %d: done %d times, %d bytes, %v; want %v, %d bytes, %v", len(x.model.b),
			x.real.dones, x.real.N, x.real.Err, x.model.done, x.model.n, x.model.err)
	}
	return !x.model.done
}

func (d *duel) compareEnds(o *duelOpen) {
	if !o.model.done || o.model.err != nil {
		return
	}
	if e := o.model.r; e != nil && e.open {
		var want Ready
		if len(e.queue.cells) > 0 || e.fault {
			want |= Readable
		}
		if d.m.shut || len(d.m.live(false)) == 0 && e.met {
			want |= Hangup
		}
		d.compareReady("reader", &o.read, o.real.Reader.Ready(nil), want)
	}
	if e := o.model.w; e != nil && e.open {
		var want Ready
		if d.m.writable(e) {
			want |= Writable
		}
		if d.m.shut || len(d.m.live(true)) == 0 || e.begun && len(e.audience) == 0 {
			want |= Broken
		}
		d.compareReady("writer", &o.write, o.real.Writer.Ready(nil), want)
	}
}

func (d *duel) compareReady(what string, w *watched, got, want Ready) {
	if got != want {
		d.t.Errorf("%s is ready for %04b, want %04b", what, got, want)
	}
	switch {
	case w.told > 1:
		d.t.Errorf("%s told %d times", what, w.told)
	case w.armed && w.told == 0 && got&^w.state != 0:
		d.t.Errorf("%s was not told of %04b", what, got&^w.state)
	}
	w.state, w.armed = got, w.armed && w.told == 0
}
