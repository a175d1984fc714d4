// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// nameSize is that of struct sched_ext_ops's name (SCX_OPS_NAME_LEN).
const nameSize = 128

// runScheduler loads a BPF scheduler of no program at all: for each choice the kernel
// (kernel/sched/ext) takes what it has for schedulers that do not make it, which is one
// queue for all CPUs, first in, first out. Only tasks of SCHED_EXT are its own if partial.
func runScheduler(name string, partial bool) ([]hook, error) {
	value := make([]byte, nameSize+8)
	copy(value[:nameSize-1], name)
	if partial {
		value[nameSize] = 1 << 3 // SCX_OPS_SWITCH_PARTIAL
	}
	ops := &btf.Struct{Name: "sched_ext_ops", Size: uint32(len(value)), Members: []btf.Member{
		{Name: "name", Type: &btf.Array{Index: &btf.Int{Name: "unsigned int", Size: 4}, Type: &btf.Int{Name: "char", Size: 1}, Nelems: nameSize}},
		{Name: "flags", Type: &btf.Int{Name: "unsigned long long", Size: 8}, Offset: nameSize * 8}}}
	all, err := ebpf.NewCollection(&ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"ops": {
		Name: "ops", Type: ebpf.StructOpsMap, Flags: unix.BPF_F_LINK, Key: &btf.Int{Size: 4}, KeySize: 4, Value: ops,
		ValueSize: ops.Size, MaxEntries: 1, Contents: []ebpf.MapKV{{Key: uint32(0), Value: value}}}}})
	if err != nil {
		return nil, err
	}
	l, err := link.AttachStructOps(link.StructOpsOptions{Map: all.Maps["ops"]})
	if err != nil {
		return nil, err
	}
	seconds := uint64(0)
	return []hook{{name, func() (uint64, error) {
		state, err := os.ReadFile("/sys/kernel/sched_ext/state")
		if s := strings.TrimSpace(string(state)); err == nil && s != "enabled" {
			err = fmt.Errorf("the kernel has left the scheduler: it is %s (%v)", s, l)
		}
		seconds++
		return seconds, err
	}}}, nil
}
