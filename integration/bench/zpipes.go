// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/zpipesfs/zpipesfs/broker/client"
)

// clientSource writes count blocks of size bytes with up to window of them not
// yet taken by the broker; 0: one request at a time.
func clientSource(endpoint, name string, size, count, window int) (r result, err error) {
	w, err := client.OpenWriter(context.Background(), endpoint, name, client.Window(window), client.Chunk(size))
	if err != nil {
		return r, err
	}
	block := make([]byte, size)
	begin := time.Now()
	for range count {
		if _, err := w.Write(block); err != nil {
			return r, err
		}
	}
	err = w.Close()
	r.Elapsed = time.Since(begin)
	return r, err
}

// clientSink reads to the end; with window 0 it asks for one block at a time.
func clientSink(endpoint, name string, size, window int) (r result, err error) {
	opts := []client.Option{}
	if window == 0 {
		opts = append(opts, client.ReadAhead(0))
	}
	rd, err := client.OpenReader(context.Background(), endpoint, name, opts...)
	if err != nil {
		return r, err
	}
	begin := time.Now()
	buf := make([]byte, size)
	for {
		n, err := rd.Read(buf)
		r.Bytes += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return r, err
		}
	}
	r.Elapsed = time.Since(begin)
	return r, rd.Close()
}

// clientPing sends blocks to one pipe and waits for them on the other, with up to
// outstanding of them under way.
func clientPing(endpoint string, size, count, outstanding int) (r result, err error) {
	w, err := client.OpenWriter(context.Background(), endpoint, "there")
	if err != nil {
		return r, err
	}
	rd, err := client.OpenReader(context.Background(), endpoint, "back")
	if err != nil {
		return r, err
	}
	var times []time.Duration
	if outstanding == 1 {
		times, err = lockstep(w, rd, size, count)
	} else {
		times, err = pipelined(w, rd, size, count, outstanding)
	}
	if err != nil {
		return r, err
	}
	slices.Sort(times)
	r.P50, r.P99 = times[len(times)/2], times[len(times)*99/100]
	return r, errors.Join(w.Close(), rd.Close())
}

func lockstep(w io.Writer, rd io.Reader, size, count int) (times []time.Duration, err error) {
	block := make([]byte, size)
	for range count {
		begin := time.Now()
		if _, err := w.Write(block); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(rd, block); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}

func pipelined(w io.Writer, rd io.Reader, size, count, outstanding int) (times []time.Duration, err error) {
	sent := make(chan time.Time, outstanding) // of the blocks under way
	wrote := make(chan error, 1)
	go func() {
		block := make([]byte, size)
		for range count {
			sent <- time.Now()
			if _, err := w.Write(block); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	block := make([]byte, size)
	for range count {
		if _, err := io.ReadFull(rd, block); err != nil {
			return nil, err
		}
		times = append(times, time.Since(<-sent))
	}
	return times, <-wrote
}

// clientPong sends back what comes.
func clientPong(endpoint string, size int) (r result, err error) {
	rd, err := client.OpenReader(context.Background(), endpoint, "there")
	if err != nil {
		return r, err
	}
	w, err := client.OpenWriter(context.Background(), endpoint, "back")
	if err != nil {
		return r, err
	}
	block := make([]byte, size)
	for {
		if _, err := io.ReadFull(rd, block); err == io.EOF {
			return r, w.Close()
		} else if err != nil {
			return r, err
		}
		if _, err := w.Write(block); err != nil {
			return r, err
		}
	}
}

// zpipes measures the ZPIPES door with the Go client, each end in a process of its
// own.
func (c *config) zpipes() error {
	fmt.Printf("%-28s %14s %14s\n", "ZPIPES client", "one at a time", "64 outstanding")
	for _, size := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
		var rates [2]float64
		for i, window := range []int{0, 64} {
			v, err := c.turns(func() (float64, error) { return c.clientThroughput(size, window) })
			if err != nil {
				return err
			}
			rates[i] = v
		}
		fmt.Printf("%-28s %14s %14s\n", fmt.Sprintf("throughput %s MB/s", sizeName(size)), show(rates[0]), show(rates[1]))
	}
	for _, size := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
		var p50, p99 [2]float64
		for i, outstanding := range []int{1, 64} {
			var tails [][]float64
			v, err := c.turns(func() (float64, error) {
				r, err := pair([]string{"zping", c.endpoint, strconv.Itoa(size), "1000", strconv.Itoa(outstanding)}, []string{"zpong", c.endpoint, strconv.Itoa(size)})
				tails = append(tails, []float64{us(r.P99)})
				return us(r.P50), err
			})
			if err != nil {
				return err
			}
			p50[i], p99[i] = v, median(tails, 0)
		}
		fmt.Printf("%-28s %14s %14s\n", fmt.Sprintf("there and back %s p50 us", sizeName(size)), show(p50[0]), show(p50[1]))
		fmt.Printf("%-28s %14s %14s\n", fmt.Sprintf("there and back %s p99 us", sizeName(size)), show(p99[0]), show(p99[1]))
	}
	return nil
}

func (c *config) clientThroughput(size, window int) (float64, error) {
	count := min(max(256<<20/size, 100), 20000)
	r, err := pair([]string{"zsink", c.endpoint, "stream", strconv.Itoa(size), strconv.Itoa(window)},
		[]string{"zsource", c.endpoint, "stream", strconv.Itoa(size), strconv.Itoa(count), strconv.Itoa(window)})
	if err == nil && r.Bytes != int64(size)*int64(count) {
		err = fmt.Errorf("%d bytes came, want %d", r.Bytes, size*count)
	}
	return float64(r.Bytes) / 1e6 / r.Elapsed.Seconds(), err
}

func (c *config) turns(f func() (float64, error)) (float64, error) {
	var all [][]float64
	for range c.rounds {
		v, err := f()
		if err != nil {
			return 0, err
		}
		all = append(all, []float64{v})
	}
	return median(all, 0), nil
}

func sizeName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
