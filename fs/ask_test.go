// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package fs

import (
	"os/exec"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/pipe"
)

// TestUndo: an answer that nobody takes leaves no node and no open directory.
func TestUndo(t *testing.T) {
	b := broker.New(broker.Config{})
	m := &Mount{cfg: Config{Broker: b}}
	m.nodes.init(b.Root())
	of, err := b.Mkpipe(t.Context(), b.Root(), "p", broker.Owner{}, pipe.Fifo)
	if err != nil {
		t.Fatal(err)
	}
	for _, opcode := range []uint32{opLookup, opMknod, opMkdir} {
		n := m.nodes.lookup(of, false)
		answer := struct {
			fuse.OutHeader
			fuse.EntryOut
		}{EntryOut: fuse.EntryOut{NodeId: n.id}}
		bytes := unsafe.Slice((*byte)(unsafe.Pointer(&answer)), unsafe.Sizeof(answer))
		m.undo(opSetattr, bytes)
		if m.nodes.get(n.id) == nil {
			t.Error("forgotten by another request's answer")
		}
		m.undo(opcode, bytes)
		if m.nodes.get(n.id) != nil {
			t.Errorf("opcode %d leaves its node", opcode)
		}
	}
	fh, _ := m.files.add(&file{})
	opened := struct {
		fuse.OutHeader
		fuse.OpenOut
	}{OpenOut: fuse.OpenOut{Fh: fh}}
	failed := opened
	failed.Status = -int32(syscall.EIO)
	m.undo(opOpendir, unsafe.Slice((*byte)(unsafe.Pointer(&failed)), unsafe.Sizeof(failed)))
	if m.files.get(fh) == nil {
		t.Error("closed by a failure")
	}
	m.undo(opOpendir, unsafe.Slice((*byte)(unsafe.Pointer(&opened)), unsafe.Sizeof(opened)))
	if m.files.get(fh) != nil {
		t.Error("the directory is left open")
	}
}

// TestDying: signals of the living are looked at; that a kill shows is tested
// with whole programs.
func TestDying(t *testing.T) {
	if dying(uint32(syscall.Gettid())) {
		t.Error("this thread is not")
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if dying(uint32(cmd.Process.Pid)) {
		t.Error("a process that waits is not")
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !dying(uint32(cmd.Process.Pid)) || !dying(0) || !dying(1<<31-1) {
		t.Error("a thread that is not there counts as dying")
	}
}
