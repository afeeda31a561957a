// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Command gopipe uses pipes the ways Go programs do.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

var commands = map[string]func(args []string) error{
	"copy": copyFile, "scan": scan, "readall": readAll, "deadline": deadline, "nonblock": nonblock,
	"close": closeUnblocks, "many": many, "echo": echo, "ping": ping, "exec": runChild, "flood": flood,
}

func main() {
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func copyFile(args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(args[1])
	if err != nil {
		return err
	}
	n, err := io.Copy(out, in)
	fmt.Fprintln(os.Stderr, n, "bytes")
	return errors.Join(err, out.Close())
}

func scan(args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	lines, size := 0, 0
	s := bufio.NewScanner(in)
	for s.Scan() {
		lines++
		size += len(s.Bytes())
	}
	fmt.Println(lines, size)
	return s.Err()
}

func readAll(args []string) error {
	b, err := os.ReadFile(args[0])
	fmt.Printf("%d %x\n", len(b), sha256.Sum256(b))
	return err
}

// deadline lets a read pass its deadline, then reads in time.
func deadline(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return err
	}
	b := make([]byte, 100)
	_, err = f.Read(b)
	fmt.Println("late:", errors.Is(err, os.ErrDeadlineExceeded))
	if err := f.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	go fmt.Fprint(f, "in time")
	n, err := f.Read(b)
	fmt.Printf("%q\n", b[:n])
	return err
}

func nonblock(args []string) error {
	_, err := os.OpenFile(args[1], os.O_WRONLY|syscall.O_NONBLOCK, 0)
	fmt.Println("writer alone:", errors.Is(err, syscall.ENXIO))
	r, err := os.OpenFile(args[0], os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := r.Read(make([]byte, 10))
	fmt.Println("reader alone:", n, err)
	w, err := os.OpenFile(args[1], os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	// The runtime's poller must wake the reader, which waits before this write.
	var done sync.WaitGroup
	done.Go(func() {
		b, err := io.ReadAll(r)
		fmt.Printf("%q %v\n", b, err)
	})
	_, err = w.WriteString("hello")
	err = errors.Join(err, w.Close())
	done.Wait()
	return err
}

// closeUnblocks closes a file while a goroutine reads it.
func closeUnblocks(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	started, result := make(chan struct{}), make(chan error)
	go func() {
		close(started)
		_, err := f.Read(make([]byte, 10))
		result <- err
	}()
	<-started
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Println("closed:", errors.Is(<-result, os.ErrClosed))
	return nil
}

// many writes from 30 goroutines with a file each, and reads in this one.
func many(args []string) error {
	hold, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer hold.Close()
	var writers sync.WaitGroup
	errs := make(chan error, 30)
	for i := range 30 {
		writers.Go(func() {
			f, err := os.OpenFile(args[1], os.O_WRONLY, 0)
			if err == nil {
				for range 20 {
					_, e := f.Write(bytes.Repeat([]byte{byte('a' + i%26)}, 1000))
					err = errors.Join(err, e)
				}
				err = errors.Join(err, f.Close())
			}
			errs <- err
		})
	}
	var count [256]int
	b := make([]byte, 4096)
	for total := 0; total < 30*20*1000; {
		n, err := hold.Read(b)
		if err != nil {
			return err
		}
		for _, c := range b[:n] {
			count[c]++
		}
		total += n
	}
	writers.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	fmt.Println(count['a':'z'+1], err)
	return err
}

func echo(args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	out, err := os.OpenFile(args[1], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), in.Close())
}

func ping(args []string) error {
	out, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	in, err := os.Open(args[1])
	if err != nil {
		return err
	}
	r := bufio.NewReader(in)
	for i := range 1000 {
		if _, err := fmt.Fprintln(out, i); err != nil {
			return err
		}
		line, err := r.ReadString('\n')
		if err != nil || line != fmt.Sprintln(i) {
			return fmt.Errorf("round %d: %q: %v", i, line, err)
		}
	}
	fmt.Println("1000 rounds")
	return errors.Join(out.Close(), in.Close())
}

func runChild(args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	out, err := os.Create(args[1])
	if err != nil {
		return err
	}
	cmd := exec.Command("sort", "-n", "-r")
	cmd.Stdin, cmd.Stdout = in, out
	return errors.Join(cmd.Run(), out.Close())
}

// flood writes until the reader has gone.
func flood(args []string) error {
	out, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = out.WriteString("a line of text\n")
	}
	fmt.Println("EPIPE:", errors.Is(err, syscall.EPIPE))
	return nil
}
