// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

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

// layout is where a structure of the kernel has what is asked of a scheduler.
type layout struct {
	value          btf.TypeID // the kernel's number of the type that a map has, in which the structure is
	size           int        // of that
	name, nameSize int
	timeout        int // its timeout_ms
	operations     []operation
}

// operation is where a structure has one of its operations: the kernel tells the number of its program there (kernel/bpf/bpf_struct_ops.c).
type operation struct {
	at   int
	name string
}

// Program is one of a scheduler's operations, as the kernel has taken it.
type Program struct {
	Operation string `json:"operation"` // the member of struct sched_ext_ops
	Name      string `json:"name"`      // what the kernel calls it, in at most 15 characters
	// Verified is how many instructions the verifier looked at, those of each way through the program by themselves: what a load takes,
	// and how far it is from the kernel's limit of a million (include/linux/bpf.h, BPF_COMPLEXITY_LIMIT_INSNS).
	Verified uint32 `json:"verified_instructions"`
}

// running is the scheduler that runs, as its map has it.
type running struct {
	id    link.ID    // of its link
	ops   ebpf.MapID // of the map that it is
	value []byte
	layout
}

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
		id, err := kernel.TypeID(outer)
		if err != nil {
			return nil, err
		}
		for _, d := range outer.Members {
			inner, ok := d.Type.(*btf.Struct)
			if !ok || inner.Name != name {
				continue
			}
			l := layoutOf(int(outer.Size), int(d.Offset.Bytes()), inner)
			l.value = id
			list = append(list, l)
		}
	}
	return list, nil
}

// layoutOf is that of a structure of operations, which begins somewhere in what its map has.
func layoutOf(size, at int, ops *btf.Struct) layout {
	l := layout{size: size}
	for _, m := range ops.Members {
		where := at + int(m.Offset.Bytes())
		switch p, isPointer := m.Type.(*btf.Pointer); {
		case m.Name == "name":
			l.name = where
			l.nameSize, _ = btf.Sizeof(m.Type)
		case m.Name == "timeout_ms":
			l.timeout = where
		case isPointer:
			if _, ok := p.Target.(*btf.FuncProto); ok {
				l.operations = append(l.operations, operation{where, m.Name})
			}
		}
	}
	return l
}

// timeoutMS is how long a task may wait, as the scheduler has it; 0 is the kernel's own choice.
func (r *running) timeoutMS() uint32 { return binary.NativeEndian.Uint32(r.value[r.timeout:]) }

// programs are what its operations are, and when the kernel had taken the last of them, by CLOCK_BOOTTIME: right after that it
// begins. The kernel does not say when it did. 0 is not known.
func (r *running) programs() (list []Program, last time.Duration, err error) {
	for _, o := range r.operations {
		id := binary.NativeEndian.Uint64(r.value[o.at:])
		if id == 0 {
			continue
		}
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return nil, 0, err
		}
		info, err := p.Info()
		if err = errors.Join(err, p.Close()); err != nil {
			return nil, 0, err
		}
		if t, ok := info.LoadTime(); ok {
			last = max(last, t)
		}
		verified, _ := info.VerifiedInstructions() // known since Linux 5.16, before sched_ext
		list = append(list, Program{Operation: o.name, Name: info.Name, Verified: verified})
	}
	return list, last, nil
}

// findRunning finds the scheduler that runs, nil if it has no link: it began without one, or has
// just ended. It takes root.
//
// The kernel does not say which it is. A scheduler begins when its link is made, and ends before the link goes, so of
// the links with its name it is the latest one's: others are of schedulers that the kernel has ended.
func findRunning(name string) (found *running, err error) {
	places, err := layouts()
	if err != nil {
		return nil, err
	}
	it := &link.Iterator{}
	defer it.Close()
	for it.Next() {
		ops, id, value, err := opsOf(it.Link)
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			if id == p.value && len(value) == p.size {
				if text, _, _ := bytes.Cut(value[p.name:p.name+p.nameSize], []byte{0}); string(text) == name {
					found = &running{it.ID, ops, value, p}
				}
			}
		}
	}
	return found, it.Err()
}

// opsOf is the map that a link attaches, the type of what is in it, and that, nil if it attaches none.
func opsOf(l link.Link) (ebpf.MapID, btf.TypeID, []byte, error) {
	fd, ok := l.(interface{ FD() int })
	if info, err := l.Info(); err != nil || info.Type != link.StructOpsType || !ok {
		return 0, 0, nil, err
	}
	// The library does not tell the map (struct bpf_link_info, struct_ops.map_id).
	id, err := fdinfo(fmt.Sprintf("/proc/self/fdinfo/%d", fd.FD()), "map_id")
	if err != nil || id == 0 {
		return 0, 0, nil, err // 0: it is detached
	}
	m, err := ebpf.NewMapFromID(ebpf.MapID(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil, nil
	}
	if err != nil {
		return 0, 0, nil, err
	}
	defer m.Close()
	is, err := valueType(m)
	if err != nil {
		return 0, 0, nil, err
	}
	value, err := m.LookupBytes(uint32(0))
	return ebpf.MapID(id), is, value, err
}

// valueType is the kernel's number of the type of what a map of structures of operations has, which the library does not tell.
func valueType(m *ebpf.Map) (btf.TypeID, error) {
	// The beginning of struct bpf_map_info (include/uapi/linux/bpf.h), of which the kernel gives as much as is asked for.
	var info struct {
		_         [6]uint32
		_         [unix.BPF_OBJ_NAME_LEN]byte
		_         uint32
		valueType uint32 // btf_vmlinux_value_type_id
	}
	attr := struct {
		fd, length uint32
		info       unsafe.Pointer
	}{uint32(m.FD()), uint32(unsafe.Sizeof(info)), unsafe.Pointer(&info)}
	if _, _, err := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); err != 0 {
		return 0, fmt.Errorf("a map's type: %w", err)
	}
	return btf.TypeID(info.valueType), nil
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
			list = append(list, Holder{pid, printable(strings.TrimSpace(string(name)))})
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
