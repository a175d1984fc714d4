// SPDX-License-Identifier: BSD-3-Clause

// Command living hooks a kernel as monitoring tools do, and tells once a second
// how often each hook was reached. What lives in a kernel must go on living
// through a live update of its scheduler.
//
//	living fentry [-n SECONDS] FUNCTION...   BPF programs at the heads of kernel functions
//	living fexit [-n SECONDS] FUNCTION...    the same at their returns
//	living perf [-n SECONDS]                 cpu-clock samples and sched:sched_switch, all CPUs
//	living scx [-n SECONDS] NAME             a BPF scheduler without programs, for all fair tasks; counts seconds
//	living scx-partial [-n SECONDS] NAME     the same, for tasks of SCHED_EXT only
//	living scx-reload TIMES NAME...          loads plugsched's BPF schedulers and stops them, so many times, and says what the kernel has
//	living map FILE                          a file that is mapped and closed again; counts nothing
//
// A line is "NAME COUNT": of the second that just passed. Without -n it goes on
// until it is killed. Exit status: 0, 1 a hook cannot be set or read, 2 usage.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// hook is something whose events are counted.
type hook struct {
	name string
	// total is the number of events so far.
	total func() (uint64, error)
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	seconds := flags.Int("n", 0, "seconds to run (0: until killed)")
	flags.Parse(os.Args[2:])
	var err error
	if times, bad := strconv.Atoi(flags.Arg(0)); os.Args[1] == "scx-reload" && flags.NArg() > 1 && bad == nil {
		err = reload(times, flags.Args()[1:])
	} else {
		var hooks []hook
		if hooks, err = attach(os.Args[1], flags.Args()); err == nil {
			err = watch(hooks, *seconds)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "living:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: living fentry|fexit [-n SECONDS] FUNCTION... | living perf [-n SECONDS] | "+
		"living scx|scx-partial [-n SECONDS] NAME | living scx-reload TIMES NAME... | living map FILE")
	os.Exit(2)
}

func attach(kind string, args []string) ([]hook, error) {
	switch {
	case kind == "fentry" && len(args) > 0:
		return attachTo(args, ebpf.AttachTraceFEntry)
	case kind == "fexit" && len(args) > 0:
		return attachTo(args, ebpf.AttachTraceFExit)
	case kind == "perf" && len(args) == 0:
		return openPerf()
	case (kind == "scx" || kind == "scx-partial") && len(args) == 1:
		return runScheduler(args[0], kind == "scx-partial")
	case kind == "map" && len(args) == 1:
		return nil, mapFile(args[0])
	}
	usage()
	return nil, nil
}

// mapFile maps a page of a file for as long as the program runs.
func mapFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	return err
}

// watch prints what every hook counted in each second.
func watch(hooks []hook, seconds int) error {
	last := make([]uint64, len(hooks))
	for n := 0; ; n++ {
		for i, h := range hooks {
			total, err := h.total()
			if err != nil {
				return fmt.Errorf("%s: %w", h.name, err)
			}
			if n > 0 {
				fmt.Println(h.name, total-last[i])
			}
			last[i] = total
		}
		if seconds > 0 && n == seconds {
			return nil
		}
		time.Sleep(time.Second)
	}
}
