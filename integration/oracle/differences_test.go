// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

// difference is a scenario whose transcripts may differ, and both of them.
type difference struct {
	reason string
	fifo   []string
	mount  []string
}

// differences are all that a program may see of the kernel taking a pipe of
// the mount for a regular file. Each is checked to be there, so that one that
// goes away is noticed.
func differences() map[string]difference {
	return map[string]difference{
		"limits/type of the file": {
			reason: "a node of type S_IFIFO would never reach the server: pipes are S_IFREG",
			fifo: []string{
				`bash: exit 0 "a pipe\nfifo\n"`,
				`bash2: exit 0 "./p\np|\n"`,
			},
			mount: []string{
				`bash: exit 0 "no pipe\nregular empty file\n"`,
				`bash2: exit 0 "p\n"`,
			},
		},
		"limits/FIONREAD": {
			reason: "for a regular file the kernel itself answers with its size less the offset",
			fifo: []string{
				`w: write("hello") = 5`,
				`r: fionread = what is there`,
			},
			mount: []string{
				`w: write("hello") = 5`,
				`r: fionread = another number`,
			},
		},
		"limits/F_GETPIPE_SZ": {
			reason: "the kernel knows no buffer of a regular file",
			fifo:   []string{`w: fcntl(F_GETPIPE_SZ) = some`},
			mount:  []string{`w: fcntl(F_GETPIPE_SZ) = EBADF`},
		},
		"limits/private mmap": {
			reason: "the kernel grants private mappings of direct-I/O files; reading a page of it is refused",
			fifo:   []string{`r: mmap(PRIVATE) and touch = ENODEV`},
			mount: []string{
				`r: mmap(PRIVATE) and touch = death`,
				`r: killed by SIGBUS`,
			},
		},
		"limits/tar": {
			reason: "tar stores what stat says: a regular file of no bytes",
			fifo: []string{
				`w: open(p, RDWR|NONBLOCK) = fd`,
				`w: write("hello") = 5`,
				`bash: exit 0 "prw-rw-rw-\n0\n"`,
				`w: read(10) = 5 "hello"`,
			},
			mount: []string{
				`w: open(p, RDWR|NONBLOCK) = fd`,
				`w: write("hello") = 5`,
				`bash: exit 0 "-rw-rw-rw-\n0\n"`,
				`w: read(10) = 5 "hello"`,
			},
		},
		"limits/read -t of bash": {
			reason: "bash ignores the timeout of read for regular files",
			fifo: []string{
				`w: open(p, RDWR) = fd`,
				`bash gives up: true`,
				`w: write("late\n") = 5`,
				`bash: exit 0 "142 \n"`,
			},
			mount: []string{
				`w: open(p, RDWR) = fd`,
				`bash gives up: false`,
				`w: write("late\n") = 5`,
				`bash: exit 0 "0 late\n"`,
			},
		},
		"signal/read is restarted under SA_RESTART": {
			reason: "FUSE has no answer that lets the kernel restart a call",
			fifo: []string{
				`r: sig_handle(SIGUSR1) with SA_RESTART = 0`,
				`r: read(10) blocks`,
				`r: gets SIGUSR1`,
				`r.1: sig_handled(SIGUSR1) = 1`,
				`r: read(10) blocks`,
				`w: write("hello") = 5`,
				`r: read(10) = 5 "hello"`,
			},
			mount: []string{
				`r: sig_handle(SIGUSR1) with SA_RESTART = 0`,
				`r: read(10) blocks`,
				`r: gets SIGUSR1`,
				`r.1: sig_handled(SIGUSR1) = 1`,
				`r: read(10) returns`,
				`w: write("hello") = 5`,
				`r: read(10) = EINTR`,
			},
		},
		"stop/blocked reader is stopped and goes on": {
			reason: "as with SA_RESTART: being stopped interrupts the call",
			fifo: []string{
				`r: read(10) blocks`,
				`r: process gets SIGSTOP`,
				`w: write("hello") = 5`,
				`r: process gets SIGCONT`,
				`r: read(10) = 5 "hello"`,
			},
			mount: []string{
				`r: read(10) blocks`,
				`r: process gets SIGSTOP`,
				`w: write("hello") = 5`,
				`r: process gets SIGCONT`,
				`r: read(10) = EINTR`,
			},
		},
		"stop/blocked writer is stopped and goes on": {
			reason: "as with SA_RESTART: being stopped interrupts the call",
			fifo: []string{
				`w: set O_NONBLOCK = 0`,
				`w: write blocks of 4096 until = EAGAIN`,
				`w: clear O_NONBLOCK = 0`,
				`w: write("after the stop") blocks`,
				`w: process gets SIGSTOP`,
				`w: process gets SIGCONT`,
				`w: write("after the stop") blocks`,
				`r: read what was written = the same`,
				`w: write("after the stop") = 14`,
			},
			mount: []string{
				`w: set O_NONBLOCK = 0`,
				`w: write blocks of 4096 until = EAGAIN`,
				`w: clear O_NONBLOCK = 0`,
				`w: write("after the stop") blocks`,
				`w: process gets SIGSTOP`,
				`w: process gets SIGCONT`,
				`w: write("after the stop") returns`,
				`r: read what was written = the same`,
				`w: write("after the stop") = EINTR`,
			},
		},
		"limits/head -n": {
			reason: "head wants to leave a regular file behind the lines it printed",
			fifo: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "one\n"`,
			},
			mount: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "head: p: cannot seek to relative offset -8: Illegal seek\none\n"`,
			},
		},
		"limits/tail -c": {
			reason: "tail skips the start of a regular file by seeking",
			fifo: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "e\ntwo\nsix\n"`,
			},
			mount: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "tail: p: cannot seek to relative offset 2: Illegal seek\n"`,
			},
		},
		"limits/gzip": {
			reason: "gzip compares what it read with the size of a regular file",
			fifo: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "one\ntwo\nsix\n"`,
			},
			mount: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "gzip: stdin: file size changed while zipping\none\ntwo\nsix\n"`,
			},
		},
		"limits/sort": {
			reason: "sort makes its buffer as small as a regular file of no bytes allows, and sorts in many temporary files",
			fifo: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "one\nsix\ntwo\n"`,
			},
			mount: []string{
				`w: open(p, WRONLY) = fd`,
				`w: close = 0`,
				`bash: exit 0 "sort: cannot create temporary file in 'missing': No such file or directory\n"`,
			},
		},
		"limits/size": {
			reason: "tail -f takes a regular file that is smaller than what it has read for truncated",
			fifo: []string{
				`w: write("one two") = 7`,
				`r: fstat = mode 0666 uid 0 gid 0 links 1 size 0`,
				`r: read(4) = 4 "one "`,
				`r: fstat = mode 0666 uid 0 gid 0 links 1 size 0`,
				`w: fstat = mode 0666 uid 0 gid 0 links 1 size 0`,
			},
			mount: []string{
				`w: write("one two") = 7`,
				`r: fstat = mode 0666 uid 0 gid 0 links 1 size 0`,
				`r: read(4) = 4 "one "`,
				`r: fstat = mode 0666 uid 0 gid 0 links 1 size 7`,
				`w: fstat = mode 0666 uid 0 gid 0 links 1 size 0`,
			},
		},
		"limits/truncate": {
			reason: "open with O_TRUNC asks for it, and programs that take the pipe for a regular file (sort -o, dd seek=)",
			fifo: []string{
				`w: ftruncate = EINVAL`,
				`w: ftruncate = EINVAL`,
				`w: truncate(p, 0) = EINVAL`,
				`w: fstat = mode 0666 uid 0 gid 0 links 1 size 0`,
			},
			mount: []string{
				`w: ftruncate = 0`,
				`w: ftruncate = 0`,
				`w: truncate(p, 0) = 0`,
				`w: fstat = mode 0666 uid 0 gid 0 links 1 size 0`,
			},
		},
		"limits/record lock is lost with any descriptor": {
			reason: "FLUSH, which tells of a close, takes the inode's lock: every close would hang behind a write that waits",
			fifo: []string{
				`a: open(p, RDWR) = fd`,
				`b: open(p, RDWR) = fd`,
				`a: dup = fd`,
				`a: fcntl(SETLK, WRLCK, 0+0) = 0`,
				`b: fcntl(SETLK, WRLCK, 0+0) = EAGAIN`,
				`a: close = 0`,
				`b: fcntl(SETLK, WRLCK, 0+0) = 0`,
			},
			mount: []string{
				`a: open(p, RDWR) = fd`,
				`b: open(p, RDWR) = fd`,
				`a: dup = fd`,
				`a: fcntl(SETLK, WRLCK, 0+0) = 0`,
				`b: fcntl(SETLK, WRLCK, 0+0) = EAGAIN`,
				`a: close = 0`,
				`b: fcntl(SETLK, WRLCK, 0+0) = EAGAIN`,
			},
		},
	}
}
