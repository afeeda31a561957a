// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package oracle compares the mount with the kernel's own FIFO.
//
// A scenario is a small script of system calls in several processes. It runs
// once on a directory of kernel FIFOs, which says what must happen, and once
// on the mount; both runs must give the same transcript, line by line. What may
// differ, because the kernel sees a regular file in the mount, is listed in
// one table together with both transcripts, so that the list cannot rot.
//
// A transcript holds results, error names, poll masks, hashes and how processes
// ended. It never holds a time, an inode number or the pipe's capacity, which
// are allowed to differ.
//
// The test process never touches the mount. Each scenario runs in a child, the
// head of a process group; the child starts actors (package actor), tells each
// which call to make, and sees from /proc whether the call is blocked. A
// scenario that takes too long is reported with where each of its processes
// sleeps, and its group is killed.
//
// Variables of the environment:
//
//	ZPIPES_ORACLE_DIR     use this directory instead of mounting one
//	ZPIPES_ORACLE_DIR2    readers work here, and writers in ZPIPES_ORACLE_DIR
//	ZPIPES_RACE           1 builds the program with the race detector
//	ZPIPES_ORACLE_SETTLE  milliseconds a call must sleep to count as blocked, default 25
//
// With a ZPIPES_ORACLE_DIR that is no FUSE mount the suite compares FIFOs with
// FIFOs, which tests the scenarios themselves.
package oracle
