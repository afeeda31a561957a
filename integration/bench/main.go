// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Command bench measures the mount against the kernel's own FIFO and the ZPIPES
// service against plain round trips: in one run, in turns, with medians. It
// prints ratios and judges nothing. With -cluster it measures two hosts that
// scripts/lab makes against what else carries bytes from host to host.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "actor" {
		exit(act(os.Args[2:]))
	}
	var cfg config
	flag.StringVar(&cfg.binary, "zpipes", "bin/zpipes", "the binary to measure")
	flag.StringVar(&cfg.dir, "dir", "", "a mounted directory to measure instead of mounting one")
	flag.StringVar(&cfg.endpoint, "endpoint", "", "with -dir: where its broker serves ZPIPES")
	flag.IntVar(&cfg.pid, "pid", 0, "with -dir: the process that serves it")
	flag.IntVar(&cfg.rounds, "rounds", 5, "turns of which the median is taken")
	flag.StringVar(&cfg.only, "only", "", "run only the benchmarks whose name contains this")
	cluster := flag.Bool("cluster", false, "measure two hosts of scripts/lab instead")
	flag.Parse()
	if *cluster {
		exit(runCluster(cfg.binary, cfg.rounds, cfg.only))
	}
	exit(cfg.run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
