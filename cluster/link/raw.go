// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package link

/*
#cgo pkg-config: libzmq
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <zmq.h>

typedef struct {
	void *socket;
	zmq_msg_t out, in;
	void *data; // of the message made or received last
	size_t size;
	int more;
} link_socket;

// Each of these is one call from Go, and leaves in s what Go would have to ask
// for in further ones.

static int link_make(link_socket *s, size_t size) {
	if (zmq_msg_init_size(&s->out, size) != 0)
		return errno;
	s->data = zmq_msg_data(&s->out);
	return 0;
}

// The Go runtime interrupts threads with signals: a call that one has interrupted
// is made again.

static int link_send(link_socket *s) {
	int n;
	do
		n = zmq_msg_send(&s->out, s->socket, ZMQ_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	int err = errno;
	zmq_msg_close(&s->out);
	return err;
}

static int link_recv(link_socket *s) {
	zmq_msg_close(&s->in);
	zmq_msg_init(&s->in);
	int n;
	do
		n = zmq_msg_recv(&s->in, s->socket, ZMQ_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno;
	s->data = zmq_msg_data(&s->in);
	s->size = zmq_msg_size(&s->in);
	s->more = zmq_msg_more(&s->in);
	return 0;
}

static link_socket *link_new(void *socket) {
	link_socket *s = calloc(1, sizeof *s);
	if (s) {
		s->socket = socket;
		zmq_msg_init(&s->in);
	}
	return s;
}

static void link_keep(void) {
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 8 << 20);
#endif
}

static void link_free(link_socket *s) {
	zmq_msg_close(&s->in);
	free(s);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"syscall"
	"unsafe"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"
)

// keepMemory has the C library keep memory that libzmq frees, up to 8 MiB for each
// thread's arena. Else it goes back to the kernel after most frames, and each page
// of the next costs a fault: a quarter of the time that bulk took. It counts for
// the whole process, in which nothing but libzmq uses that memory.
func keepMemory() { C.link_keep() }

// rawSocket moves frames in and out of a socket with one copy: zmq4 would
// allocate memory for each frame that comes, and copy each that goes twice, since
// a frame's pieces are in many places.
type rawSocket struct{ c *C.link_socket }

// raw finds libzmq's handle of a socket, which zmq4 keeps to itself.
func raw(s *zmq.Socket) (*rawSocket, error) {
	field := reflect.ValueOf(s).Elem().FieldByName("soc")
	if field.Kind() != reflect.UnsafePointer || field.IsNil() {
		return nil, errors.New("this version of zmq4 keeps its sockets elsewhere")
	}
	c := C.link_new(field.UnsafePointer())
	if c == nil {
		return nil, errors.New("no memory for a socket")
	}
	return &rawSocket{c}, nil
}

// free must be called before the socket is closed; r may be nil.
func (r *rawSocket) free() {
	if r != nil {
		C.link_free(r.c)
		r.c = nil
	}
}

// send sends a frame of one part with n octets, which fill writes. It returns
// false, and has sent nothing, if there is no room for it now.
func (r *rawSocket) send(n int, fill func(dst []byte)) (bool, error) {
	if e := C.link_make(r.c, C.size_t(n)); e != 0 {
		return false, fmt.Errorf("make a message of %d octets: %w", n, syscall.Errno(e))
	}
	fill(unsafe.Slice((*byte)(r.c.data), n))
	switch e := syscall.Errno(C.link_send(r.c)); e {
	case 0:
		return true, nil
	case unix.EAGAIN:
		return false, nil
	default:
		return false, fmt.Errorf("send: %w", e)
	}
}

// receive returns the next part of a message, good until the next call, and
// whether more parts follow. The error is EAGAIN if there is none.
func (r *rawSocket) receive() (part []byte, more bool, err error) {
	if e := C.link_recv(r.c); e != 0 {
		return nil, false, syscall.Errno(e)
	}
	return unsafe.Slice((*byte)(r.c.data), int(r.c.size)), r.c.more != 0, nil
}
