// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Holder is a process that has a scheduler's link open. Without any it stays if it is pinned.
type Holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

func (h Holder) String() string { return fmt.Sprintf("%s[%d]", h.Command, h.PID) }

// opsTypes are what the kernel has schedulers in: the usual form and, since 7.1, that by dense numbers of CPUs
// (kernel/sched/ext, bpf_sched_ext_ops and bpf_sched_ext_ops_cid).
var opsTypes = []string{"sched_ext_ops", "sched_ext_ops_cid"}

// layout is where a structure of the kernel has a scheduler's name.
type layout struct{ size, name, nameSize int }

// layouts finds that out from the kernel's types.
func layouts() ([]layout, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, err
	}
	var list []layout
	for _, name := range opsTypes {
		// What a map has, in which the structure is called data (kernel/bpf/bpf_struct_ops.c).
		var outer *btf.Struct
		err := kernel.TypeByName("bpf_struct_ops_"+name, &outer)
		if errors.Is(err, btf.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, d := range outer.Members {
			inner, ok := d.Type.(*btf.Struct)
			if !ok || inner.Name != name {
				continue
			}
			for _, m := range inner.Members {
				if size, err := btf.Sizeof(m.Type); m.Name == "name" && err == nil {
					list = append(list, layout{int(outer.Size), int(d.Offset.Bytes() + m.Offset.Bytes()), size})
				}
			}
		}
	}
	return list, nil
}

// runningLink is the number of the link of the scheduler that runs, 0 if there is none: it began without one, or has
// just ended. It takes root.
//
// The kernel does not say which it is. A scheduler begins when its link is made, and ends before the link goes, so of
// the links with its name it is the latest one's: others are of schedulers that the kernel has ended.
func runningLink(name string) (found link.ID, err error) {
	places, err := layouts()
	if err != nil {
		return 0, err
	}
	it := &link.Iterator{}
	defer it.Close()
	for it.Next() {
		value, err := opsOf(it.Link)
		if err != nil {
			return 0, err
		}
		for _, p := range places {
			if len(value) == p.size {
				if text, _, _ := bytes.Cut(value[p.name:p.name+p.nameSize], []byte{0}); string(text) == name {
					found = it.ID
				}
			}
		}
	}
	return found, it.Err()
}

// opsOf is what is in the map that a link attaches, nil if it attaches none.
func opsOf(l link.Link) ([]byte, error) {
	fd, ok := l.(interface{ FD() int })
	if info, err := l.Info(); err != nil || info.Type != link.StructOpsType || !ok {
		return nil, err
	}
	// The library does not tell the map (struct bpf_link_info, struct_ops.map_id).
	id, err := fdinfo(fmt.Sprintf("/proc/self/fdinfo/%d", fd.FD()), "map_id")
	if err != nil || id == 0 {
		return nil, err // 0: it is detached
	}
	m, err := ebpf.NewMapFromID(ebpf.MapID(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return m.LookupBytes(uint32(0))
}

// fdinfo reads a number from what the kernel tells of an open file, 0 if it does not tell it.
func fdinfo(path, key string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		}
	}
	return 0, nil
}

// holders are the processes that have a link open.
func holders(id link.ID) ([]Holder, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []Holder
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		files, err := os.ReadDir(filepath.Join("/proc", d.Name(), "fdinfo"))
		if err != nil && !gone(err) {
			return nil, err
		}
		if !slices.ContainsFunc(files, func(f fs.DirEntry) bool {
			got, err := fdinfo(filepath.Join("/proc", d.Name(), "fdinfo", f.Name()), "link_id")
			return err == nil && got == uint64(id)
		}) {
			continue
		}
		if name, err := os.ReadFile(filepath.Join("/proc", d.Name(), "comm")); err == nil {
			list = append(list, Holder{pid, strings.TrimSpace(string(name))})
		}
	}
	return list, nil
}

// gone is of an error that says that a process, or an object of sysfs, has just ended.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}

// pinnedLinks are the links that are pinned, by the names of their schedulers. They run, or the kernel has ended them.
func pinnedLinks() (map[string]link.ID, error) {
	dirs, err := os.ReadDir(Pins)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ids := map[string]link.ID{}
	for _, d := range dirs {
		l, err := link.LoadPinnedLink(pinned(d.Name(), pinLink), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := l.Info()
		if err = errors.Join(err, l.Close()); err != nil {
			return nil, err
		}
		ids[d.Name()] = info.ID
	}
	return ids, nil
}
