// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"plugsched/internal/operate/live"
	"plugsched/test/drive"
)

const (
	checkEvery   = 50 // cycles
	replaceEvery = 5
	trialEvery   = 25
	verifyEvery  = 50
	// growthKiB is how much more the kernel may hold at the end: the load's own
	// objects come and go.
	growthKiB = 8 << 10
)

// cycle installs and removes under load, with replacements and trials in between.
func (s *soak) cycle(ctx context.Context) error {
	g, err := s.boot(ctx, "cycles", 2048)
	if err != nil {
		return err
	}
	defer g.Close()
	if _, err := g.Sh(ctx, "schedload start --spec "+s.spec); err != nil {
		return err
	}
	text, err := g.Sh(ctx, "schedload threads")
	if err != nil {
		return err
	}
	s.threads = text[strings.LastIndexByte(text, ' ')+1:]
	step := s.board.Begin("cycles")
	defer step.Drop()
	for i := 1; i <= s.Cycles; i++ {
		step.Count(int64(i), int64(s.Cycles), "")
		if err := s.once(ctx, g, i); err != nil {
			return fmt.Errorf("cycle %d: %w", i, err)
		}
		select {
		case <-s.enough:
			s.Cycles = i
		default:
		}
		if i%checkEvery == 0 || i == s.Cycles {
			if err := s.check(ctx, g, i); err != nil {
				return fmt.Errorf("after cycle %d: %w", i, err)
			}
		}
	}
	if _, err := g.Sh(ctx, "schedload stop"); err != nil {
		return err
	}
	if err := s.memory.grown(); err != nil {
		return err
	}
	return g.Healthy(ctx)
}

// once is one cycle.
func (s *soak) once(ctx context.Context, g *drive.Guest, i int) error {
	if i%trialEvery == 0 {
		return s.trial(ctx, g)
	}
	commands := []string{"install /a.ko"}
	if i%replaceEvery == 0 {
		commands = append(commands, "install --replace /b.ko", "install --replace /a.ko")
	}
	remove := "uninstall --verify=false"
	if i%verifyEvery == 1 {
		remove = "uninstall"
		s.verified++
	}
	for _, c := range append(commands, remove) {
		st, err := g.Change(ctx, c)
		if err != nil {
			return err
		}
		s.add(st.Timings)
	}
	return nil
}

// trial lets a trial of the second module over the first end by itself.
func (s *soak) trial(ctx context.Context, g *drive.Guest) error {
	for _, c := range []string{"install /a.ko", "try --replace --for 1s /b.ko"} {
		st, err := g.Change(ctx, c)
		if err != nil {
			return err
		}
		s.add(st.Timings)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
		text, err := g.Sh(ctx, "plugsched status --json")
		if err != nil {
			return err
		}
		var st live.Status
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			return err
		}
		if st.TrialLeft == 0 && strings.Contains(st.Report, "not confirmed") {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the trial did not end: %s", text)
		}
	}
	s.trials++
	st, err := g.Change(ctx, "uninstall --verify=false")
	if err != nil {
		return err
	}
	s.add(st.Timings)
	return nil
}

func (s *soak) check(ctx context.Context, g *drive.Guest, i int) error {
	if _, err := g.Progress(ctx); err != nil {
		return err
	}
	if err := g.Healthy(ctx); err != nil {
		return err
	}
	text, err := g.Sh(ctx, "echo 3 > /proc/sys/vm/drop_caches; cat /proc/meminfo")
	if err != nil {
		return err
	}
	m, err := parseMemory(text)
	if err != nil {
		return err
	}
	s.memory = append(s.memory, m)
	s.board.Print("%4d cycles, %d updates, downtime median %v, max %v; %s", i, len(s.downtime), s.quantile(0.5), s.quantile(1), m)
	return nil
}

// memory is what the kernel holds for itself, in KiB.
type memory struct{ slab, percpu, vmalloc int }

func (m memory) String() string {
	return fmt.Sprintf("slab %d, percpu %d, vmalloc %d KiB", m.slab, m.percpu, m.vmalloc)
}

func parseMemory(text string) (memory, error) {
	var m memory
	want := map[string]*int{"SUnreclaim:": &m.slab, "Percpu:": &m.percpu, "VmallocUsed:": &m.vmalloc}
	for _, l := range strings.Split(text, "\n") {
		f := strings.Fields(l)
		if len(f) < 2 || want[f[0]] == nil {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return m, fmt.Errorf("/proc/meminfo: %w", err)
		}
		*want[f[0]] = n
		delete(want, f[0])
	}
	if len(want) > 0 {
		return m, fmt.Errorf("/proc/meminfo: not found: %v", want)
	}
	return m, nil
}

type memories []memory

// ends returns the least use among the first and among the last samples: the load
// varies, what is leaked does not.
func (l memories) ends() (first, last memory) {
	n := min(3, (len(l)+1)/2)
	return least(l[:n]), least(l[len(l)-n:])
}

func least(l []memory) memory {
	m := l[0]
	for _, x := range l[1:] {
		m.slab, m.percpu, m.vmalloc = min(m.slab, x.slab), min(m.percpu, x.percpu), min(m.vmalloc, x.vmalloc)
	}
	return m
}

func (l memories) grown() error {
	first, last := l.ends()
	if last.slab-first.slab > growthKiB || last.percpu-first.percpu > growthKiB/4 || last.vmalloc-first.vmalloc > growthKiB/4 {
		return fmt.Errorf("the kernel's memory has grown: %v at first, %v at the end", first, last)
	}
	return nil
}
