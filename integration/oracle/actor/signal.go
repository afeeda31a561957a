// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package actor

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a signal's handler can be besides a function: signal(2).
const (
	sigDefault = 0 // SIG_DFL
	sigIgnore  = 1 // SIG_IGN
	saRestart  = 0x10000000
)

// signalOps set what a signal does. Go's own handlers all have SA_RESTART and
// its SIGPIPE is special, so dispositions are set below the runtime.
func signalOps() map[string]op {
	handled := &handlers{counts: map[unix.Signal]*atomic.Int64{}}
	return map[string]op{
		"sig_default": func(r Request) Result { return answer(0, disposition(signo(r), sigDefault)) },
		"sig_ignore":  func(r Request) Result { return answer(0, disposition(signo(r), sigIgnore)) },
		// sig_handle installs a counting handler, Args: signal, 1 for SA_RESTART.
		"sig_handle": func(r Request) Result { return answer(0, handled.install(signo(r), r.Args[1] != 0)) },
		// sig_handled waits until the handler ran, Args: signal, times.
		"sig_handled": func(r Request) Result { return handled.await(signo(r), r.Args[1]) },
		// sig_block blocks a signal in the calling thread alone.
		"sig_block": func(r Request) Result {
			set := sigset(signo(r))
			return answer(0, unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil))
		},
		"sig_pending": pending,
		"sig_take":    take,
		"exit": func(r Request) Result {
			os.Exit(int(r.Args[0]))
			return Result{}
		},
	}
}

func signo(r Request) unix.Signal { return unix.Signal(r.Args[0]) }

func sigset(sig unix.Signal) (set unix.Sigset_t) {
	set.Val[0] = 1 << (uint(sig) - 1)
	return set
}

// sigaction is the kernel's struct of that name.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

func rtSigaction(sig unix.Signal, set, old *sigaction) error {
	_, _, errno := unix.Syscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(sigset(1).Val[0]), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func disposition(sig unix.Signal, handler uintptr) error {
	return rtSigaction(sig, &sigaction{handler: handler}, nil)
}

// handlers counts the signals that handlers took. The map is filled before
// the first signal arrives and its entries stay.
type handlers struct {
	counts map[unix.Signal]*atomic.Int64
}

func (h *handlers) install(sig unix.Signal, restart bool) error {
	count := new(atomic.Int64)
	h.counts[sig] = count
	arrived := make(chan os.Signal, 64)
	signal.Notify(arrived, syscall.Signal(sig))
	go func() {
		for range arrived {
			count.Add(1)
		}
	}()
	var act sigaction
	if err := rtSigaction(sig, nil, &act); err != nil {
		return err
	}
	act.flags &^= saRestart
	if restart {
		act.flags |= saRestart
	}
	return rtSigaction(sig, &act, nil)
}

// await answers how often the handler ran, once that is at least times.
func (h *handlers) await(sig unix.Signal, times int64) Result {
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for h.counts[sig].Load() < times && time.Now().Before(deadline) {
		<-tick.C
	}
	return Result{Ret: h.counts[sig].Load()}
}

// pending tells whether the signal is pending, Values: for this thread, for
// the process.
func pending(r Request) Result {
	status, err := os.Open("/proc/thread-self/status")
	if err != nil {
		return answer(0, err)
	}
	defer status.Close()
	res := Result{Values: []int64{0, 0}}
	for lines := bufio.NewScanner(status); lines.Scan(); {
		for i, field := range []string{"SigPnd:", "ShdPnd:"} {
			if hex, ok := strings.CutPrefix(lines.Text(), field); ok {
				mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
				if err != nil {
					return answer(0, fmt.Errorf("%s %w", field, err))
				}
				res.Values[i] = int64(mask >> (uint(signo(r)) - 1) & 1)
			}
		}
	}
	return res
}

// take waits for a blocked signal to be pending and consumes it, Args: signal,
// timeout in milliseconds.
func take(r Request) Result {
	set := sigset(signo(r))
	n, _, errno := unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0,
		uintptr(unsafe.Pointer(timespec(r.Args[1]))), unsafe.Sizeof(set.Val[0]), 0, 0)
	if errno != 0 {
		return answer(-1, errno)
	}
	return Result{Ret: int64(n)}
}
