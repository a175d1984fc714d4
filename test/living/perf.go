// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sampleRate = 100 // Hz on each CPU
	ringPages  = 8   // of each CPU's buffer; 8 KiB hold many seconds of samples
)

// openPerf counts samples of a clock and switches of tasks on all CPUs.
func openPerf() ([]hook, error) {
	cpus, err := onlineCPUs()
	if err != nil {
		return nil, err
	}
	clock, err := openClock(cpus)
	if err != nil {
		return nil, fmt.Errorf("cpu-clock: %w", err)
	}
	switches, err := openSwitches(cpus)
	if err != nil {
		return nil, fmt.Errorf("sched:sched_switch: %w", err)
	}
	return []hook{clock, switches}, nil
}

// onlineCPUs reads a list such as "0-2,4".
func onlineCPUs() ([]int, error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	var cpus []int
	for _, part := range strings.Split(strings.TrimSpace(string(text)), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		lo, err1 := strconv.Atoi(first)
		hi, err2 := strconv.Atoi(last)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("online CPUs %q: %w", text, err)
		}
		for ; lo <= hi; lo++ {
			cpus = append(cpus, lo)
		}
	}
	return cpus, nil
}

func open(attr *unix.PerfEventAttr, cpu int) (int, error) {
	attr.Size = uint32(unsafe.Sizeof(*attr))
	return unix.PerfEventOpen(attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// openClock samples the software clock. The event itself counts nanoseconds, so
// the samples are counted in its buffers.
func openClock(cpus []int) (hook, error) {
	var rings []*ring
	for _, cpu := range cpus {
		fd, err := open(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK,
			Sample: sampleRate, Sample_type: unix.PERF_SAMPLE_IP, Bits: unix.PerfBitFreq}, cpu)
		if err != nil {
			return hook{}, fmt.Errorf("CPU %d: %w", cpu, err)
		}
		mem, err := unix.Mmap(fd, 0, (1+ringPages)*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return hook{}, fmt.Errorf("CPU %d: %w", cpu, err)
		}
		rings = append(rings, &ring{meta: (*unix.PerfEventMmapPage)(unsafe.Pointer(&mem[0])), data: mem[os.Getpagesize():]})
	}
	var n uint64
	return hook{"cpu-clock", func() (uint64, error) {
		for _, r := range rings {
			n += r.drain()
		}
		return n, nil
	}}, nil
}

// ring is the buffer of one event: records, each with a header of its type (u32),
// flags (u16) and size (u16), a multiple of 8 bytes.
type ring struct {
	meta *unix.PerfEventMmapPage
	data []byte
}

// drain consumes the buffer and returns how many samples were in it.
func (r *ring) drain() (samples uint64) {
	head := atomic.LoadUint64(&r.meta.Data_head)
	tail := r.meta.Data_tail
	for tail < head {
		header := r.data[tail%uint64(len(r.data)):]
		if binary.NativeEndian.Uint32(header) == unix.PERF_RECORD_SAMPLE {
			samples++
		}
		tail += uint64(binary.NativeEndian.Uint16(header[6:]))
	}
	atomic.StoreUint64(&r.meta.Data_tail, tail)
	return samples
}

func openSwitches(cpus []int) (hook, error) {
	id, err := tracepoint("sched/sched_switch")
	if err != nil {
		return hook{}, err
	}
	var events []*os.File
	for _, cpu := range cpus {
		fd, err := open(&unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id}, cpu)
		if err != nil {
			return hook{}, fmt.Errorf("CPU %d: %w", cpu, err)
		}
		events = append(events, os.NewFile(uintptr(fd), "sched:sched_switch"))
	}
	return hook{"sched:sched_switch", func() (n uint64, err error) {
		for _, f := range events {
			var count [8]byte
			if _, err := f.Read(count[:]); err != nil {
				return 0, err
			}
			n += binary.NativeEndian.Uint64(count[:])
		}
		return n, nil
	}}, nil
}

func tracepoint(name string) (id uint64, err error) {
	text, err := os.ReadFile(filepath.Join("/sys/kernel/tracing/events", name, "id"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}
