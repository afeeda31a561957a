// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// libzmq takes every connection that comes, before anybody is asked, and its ipc
// listener asserts when no descriptor is left. It calls these in the place of
// the C library's, since the program's symbols come first (ld.so(8)); Go's own
// listeners make the system call. Descriptors are numbered from the lowest free
// one, so a number is a bound on how many are open, and needs no count.

#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// most bounds the memory of connections where RLIMIT_NOFILE does not.
enum { most = 8192 };

// bound returns the number from which on a connection is closed: a quarter of
// the descriptors is for the rest of the process, and of those for connections
// the upper half is for root and the process's own user.
static int bound(int fd) {
	struct rlimit limit;
	struct ucred peer;
	socklen_t size = sizeof peer;
	rlim_t all = most;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 * 3 < all)
		all = limit.rlim_cur / 4 * 3;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid()))
		return (int)all;
	return (int)(all / 2);
}

// The errors are among those that libzmq takes for passing ones.
int accept4(int listener, struct sockaddr *address, socklen_t *size, int flags) {
	int fd = (int)syscall(SYS_accept4, listener, address, size, flags);

	if (fd < 0) {
		if (errno == EMFILE)
			errno = ENFILE;
		return fd;
	}
	if (fd < bound(fd))
		return fd;
	close(fd);
	errno = ECONNABORTED;
	return -1;
}

int accept(int listener, struct sockaddr *address, socklen_t *size) {
	return accept4(listener, address, size, 0);
}
