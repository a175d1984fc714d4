// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"plugsched/scx"
)

// reload loads schedulers of plugsched's and stops them, so many times, one name after the other, and prints what the kernel has of BPF,
// and its memory, before and after: the first round is not counted, in which caches are filled.
func reload(times int, names []string) error {
	ctx := context.Background()
	round := func(name string) error {
		o, err := scx.Open(name)
		if err != nil {
			return err
		}
		if err := o.Load(ctx, scx.Options{}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		_, err = scx.Stop(ctx, false)
		return err
	}
	for _, name := range names {
		if err := round(name); err != nil {
			return err
		}
	}
	before, err := settled()
	if err != nil {
		return err
	}
	start := time.Now()
	for i := range times {
		if err := round(names[i%len(names)]); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		if (i+1)%64 == 0 {
			kernel, err := kernelMemory()
			if err != nil {
				return err
			}
			fmt.Printf("round %d kernel-kib %d\n", i+1, kernel)
		}
	}
	took := time.Since(start)
	after, err := settled()
	if err != nil {
		return err
	}
	fmt.Printf("before %v\nafter %v\nrounds %d in %v\n", before, after, times, took.Round(time.Second))
	if before.objects != after.objects {
		return fmt.Errorf("of maps, programs, links and types there were %v, and are %v", before.objects, after.objects)
	}
	return nil
}

// has is what the kernel has.
type has struct {
	objects [4]int // maps, programs, links, types
	kernel  int    // memory that the kernel has for itself, KiB
}

func (h has) String() string {
	return fmt.Sprintf("maps %d programs %d links %d types %d kernel-kib %d", h.objects[0], h.objects[1], h.objects[2], h.objects[3], h.kernel)
}

// settled counts until two counts are equal: what is done with goes when the kernel comes to it.
func settled() (h has, err error) {
	for range 100 {
		before := h
		if h, err = counted(); err != nil || h.objects == before.objects && h.objects != [4]int{} {
			return h, err
		}
		time.Sleep(2 * time.Second)
	}
	return h, errors.New("what the kernel has of BPF changes all the time")
}

func counted() (h has, err error) {
	if h.objects[0], err = numbered(ebpf.MapGetNextID); err != nil {
		return h, err
	}
	if h.objects[1], err = numbered(ebpf.ProgramGetNextID); err != nil {
		return h, err
	}
	links := &link.Iterator{}
	defer links.Close()
	for links.Next() {
		h.objects[2]++
	}
	types := &btf.HandleIterator{}
	for types.Next() {
		h.objects[3]++
	}
	if err := errors.Join(links.Err(), types.Err()); err != nil {
		return h, err
	}
	h.kernel, err = kernelMemory()
	return h, err
}

// numbered counts what has numbers.
func numbered[ID ~uint32](next func(ID) (ID, error)) (n int, err error) {
	for id := ID(0); ; n++ {
		if id, err = next(id); errors.Is(err, os.ErrNotExist) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// kernelMemory is what is in slabs that cannot be reclaimed, of CPUs' own, and in vmalloc's areas.
func kernelMemory() (sum int, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if name != "SUnreclaim" && name != "Percpu" && name != "VmallocUsed" {
			continue
		}
		var n int
		if _, err := fmt.Sscan(rest, &n); err != nil {
			return 0, fmt.Errorf("/proc/meminfo: %q: %w", lines.Text(), err)
		}
		sum += n
	}
	return sum, lines.Err()
}
