// SPDX-License-Identifier: BSD-3-Clause

// Command ghost-policies schedules processes on some CPUs by one of the policies of package ghost that
// do more than first come, first served.
//
//	ghost-policies -policy shinjuku -cpus 2,3 -slice 2ms PID...
//	ghost-policies -policy sol -cpus 2,3 PID...
//	ghost-policies -policy edf -cpus 2,3 PID=20ms PID=50ms PID...
//	ghost-policies -policy sol -takeover AGENT [PID...]
//
// With edf each process stays on one of the CPUs; a time is that in which it is to have done its job,
// from when it wakes, and who has none runs when nobody else can. With the others each goes where there is
// room. With -takeover the CPUs and the tasks are those of another agent, which is ended: one that had as many
// rings, that is of the same sort. Who is named may have joined already. It says "ready" when all have joined, and
// schedules until it gets SIGINT or SIGTERM. -metrics names a file that it writes then, and every five seconds, in
// Prometheus' format.
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
	"sync"
	"syscall"
	"time"

	"plugsched/ghost"
	"plugsched/ghost/edf"
	"plugsched/ghost/shinjuku"
	"plugsched/ghost/sol"
)

type options struct {
	ghost.Config
	policy  string
	slice   time.Duration
	metrics string
	agent   int // that is followed
	// pids are whom to schedule, deadlines those of them that have one.
	pids      []int
	deadlines map[int]time.Duration
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = o.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ghost-policies:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{deadlines: map[int]time.Duration{}}
	f := flag.NewFlagSet("ghost-policies", flag.ContinueOnError)
	cpus := f.String("cpus", "", "numbers of CPUs, with commas")
	f.StringVar(&o.policy, "policy", "shinjuku", "shinjuku, sol or edf")
	f.DurationVar(&o.slice, "slice", 2*time.Millisecond, "of shinjuku")
	f.IntVar(&o.agent, "takeover", 0, "the process whose enclave to take over")
	f.StringVar(&o.metrics, "metrics", "", "file to write metrics to")
	f.DurationVar(&o.RunnableTimeout, "timeout", 0, "end when a task is not run for so long")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.agent != 0 && (*cpus != "" || o.RunnableTimeout != 0) {
		return nil, errors.New("-cpus and -timeout are the other agent's with -takeover")
	}
	switch o.policy {
	case "shinjuku", "sol", "edf":
	default:
		return nil, fmt.Errorf("there is no policy %q", o.policy)
	}
	if o.slice <= 0 {
		return nil, fmt.Errorf("a slice of %v", o.slice)
	}
	for _, text := range strings.Split(*cpus, ",") {
		if o.agent != 0 && *cpus == "" {
			break
		}
		cpu, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("-cpus: %w", err)
		}
		o.CPUs = append(o.CPUs, cpu)
	}
	for _, text := range f.Args() {
		if err := o.process(text); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// process reads PID, or PID=deadline.
func (o *options) process(text string) error {
	number, deadline, has := strings.Cut(text, "=")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	o.pids = append(o.pids, pid)
	if !has {
		return nil
	}
	if o.policy != "edf" {
		return fmt.Errorf("%s: %s has no deadlines", text, o.policy)
	}
	d, err := time.ParseDuration(deadline)
	if err != nil {
		return err
	}
	if d <= 0 {
		return fmt.Errorf("%s: a deadline of %v", text, d)
	}
	o.deadlines[pid] = d
	return nil
}

func (o *options) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	rings := 1
	if o.policy == "edf" {
		rings = len(e.CPUs())
	}
	for i, pid := range o.pids {
		_, err := e.JoinPID(pid, i%rings)
		if err != nil && (o.agent == 0 || !errors.Is(err, syscall.EEXIST)) {
			return err
		}
	}
	fmt.Println("ready")
	var reporting sync.WaitGroup
	if o.metrics != "" {
		reporting.Go(func() { o.report(ctx, e) })
	}
	err = o.schedule(ctx, e)
	stop()
	reporting.Wait() // it writes the same file
	if errors.Is(err, ghost.ErrEnded) {
		fmt.Println(err)
		err = nil
	}
	return errors.Join(err, o.write(e))
}

func (o *options) open(ctx context.Context) (*ghost.Enclave, error) {
	if o.agent != 0 {
		return ghost.TakeOver(ctx, o.agent)
	}
	return ghost.Open(o.Config)
}

func (o *options) schedule(ctx context.Context, e *ghost.Enclave) error {
	switch o.policy {
	case "edf":
		return e.Run(ctx, func(cpu int) ghost.Policy {
			return edf.New([]int{cpu}, e.MaxTasks(), func(pid int) time.Duration { return o.deadlines[pid] })
		})
	case "sol":
		return e.RunGlobal(ctx, sol.New(e.CPUs(), e.MaxTasks()))
	}
	return e.RunGlobal(ctx, shinjuku.New(e.CPUs(), e.MaxTasks(), o.slice))
}

// report writes metrics while the agents run.
func (o *options) report(ctx context.Context, e *ghost.Enclave) {
	for tick := time.NewTicker(5 * time.Second); ; {
		if err := o.write(e); err != nil {
			fmt.Fprintln(os.Stderr, "ghost-policies:", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// write puts the metrics in place at once: whoever reads the file finds all or those of before.
func (o *options) write(e *ghost.Enclave) error {
	if o.metrics == "" {
		return nil
	}
	f, err := os.Create(o.metrics + ".new")
	if err != nil {
		return err
	}
	if err := errors.Join(e.Metrics().Write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), o.metrics)
}
