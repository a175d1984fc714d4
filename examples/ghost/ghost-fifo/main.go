// SPDX-License-Identifier: BSD-3-Clause

// Command ghost-fifo schedules processes first come, first served, on some CPUs: agents of
// package ghost, and what a policy of your own begins with.
//
//	ghost-fifo -cpus 2,3 PID...            each process stays on one of the CPUs
//	ghost-fifo -cpus 2,3 -central PID...   each goes where there is room
//
// It says "ready" when all have joined, and schedules until it gets SIGINT or SIGTERM, or is killed: they
// are the kernel's again then. If it is not killed, it counts the messages that it has got.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"plugsched/ghost"
	"plugsched/ghost/central"
	"plugsched/ghost/fifo"
)

func main() {
	var c ghost.Config
	cpus := flag.String("cpus", "", "numbers of CPUs, with commas")
	one := flag.Bool("central", false, "one agent for all CPUs")
	flag.IntVar(&c.Messages, "messages", 0, "that each ring has room for")
	flag.DurationVar(&c.RunnableTimeout, "timeout", 0, "end when a task is not run for so long")
	flag.Parse()
	var err error
	if c.CPUs, err = numbers(strings.Split(*cpus, ",")); err == nil {
		err = run(c, *one, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ghost-fifo:", err)
		os.Exit(1)
	}
}

func numbers(list []string) (out []int, err error) {
	for _, text := range list {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func run(c ghost.Config, one bool, pidList []string) error {
	pids, err := numbers(pidList)
	if err != nil {
		return err
	}
	e, err := ghost.Open(c)
	if err != nil {
		return err
	}
	defer e.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rings := len(c.CPUs)
	if one {
		rings = 1
	}
	for i, pid := range pids {
		if _, err := e.JoinPID(pid, i%rings); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	if one {
		err = e.RunGlobal(ctx, central.New(e.CPUs(), e.MaxTasks()))
	} else {
		err = e.Run(ctx, func(int) ghost.Policy { return fifo.New() })
	}
	stats := e.Stats()
	for _, kind := range ghost.Types() {
		fmt.Println(kind, stats.Messages[kind])
	}
	if errors.Is(err, ghost.ErrEnded) {
		fmt.Println(err)
		return nil
	}
	return err
}
