// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"time"

	"plugsched/internal/operate/live"
)

// The numbers of sleeping threads that downtime is compared at.
var sizes = []int{100, 1000, 4000}

const perSize = 10 // installs and removals

// point is what was measured with so many threads: medians.
type point struct {
	threads, stopped    int
	scan, down, inspect time.Duration
}

// scale measures how downtime depends on the number of sleeping threads.
func (s *soak) scale(ctx context.Context) error {
	step := s.board.Begin("downtime by threads")
	defer step.Drop()
	for i, n := range sizes {
		step.Count(int64(i+1), int64(len(sizes)), "")
		p, err := s.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("%d threads: %w", n, err)
		}
		s.points = append(s.points, p)
	}
	return nil
}

func (s *soak) measure(ctx context.Context, n int) (point, error) {
	g, err := s.boot(ctx, fmt.Sprintf("threads-%d", n), 4096)
	if err != nil {
		return point{}, err
	}
	defer g.Close()
	if _, err := g.Sh(ctx, fmt.Sprintf("schedload start --spec none,sleeper=%d/20000", n)); err != nil {
		return point{}, err
	}
	var all []*live.Timings
	for range perSize {
		for _, c := range []string{"install /a.ko", "uninstall --verify=false"} {
			st, err := g.Change(ctx, c)
			if err != nil {
				return point{}, err
			}
			all = append(all, st.Timings)
		}
	}
	p := point{
		threads: int(median(all, func(t *live.Timings) int64 { return int64(t.Threads) })),
		stopped: int(median(all, func(t *live.Timings) int64 { return int64(t.Stopped) })),
		scan:    time.Duration(median(all, func(t *live.Timings) int64 { return t.Scan })),
		down:    time.Duration(median(all, func(t *live.Timings) int64 { return t.StopMachine })),
		inspect: time.Duration(median(all, func(t *live.Timings) int64 { return t.StackCheck })),
	}
	fmt.Printf("%d threads: %+v\n", n, p)
	return p, g.Healthy(ctx)
}
