// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

//go:generate ../scripts/bpf-objects bpf

//go:embed bpf/central.bpf.o
var central []byte

//go:embed bpf/flatcg.bpf.o
var flatcg []byte

//go:embed bpf/hybrid.bpf.o
var hybrid []byte

//go:embed bpf/pair.bpf.o
var pair []byte

//go:embed bpf/qmap.bpf.o
var qmap []byte

//go:embed bpf/simple.bpf.o
var simple []byte

// own are the schedulers that are in the program itself.
var own = map[string][]byte{"central": central, "flatcg": flatcg, "hybrid": hybrid, "pair": pair, "qmap": qmap, "simple": simple}

// Own are the names of the schedulers that are in the program itself.
func Own() []string { return slices.Sorted(maps.Keys(own)) }

// MaxTimeout is how long a task may wait at most until the kernel ends the scheduler, and how long it may where nothing
// else is said (kernel/sched/ext, SCX_WATCHDOG_MAX_TIMEOUT).
const MaxTimeout = 30 * time.Second

// switchPartial is SCX_OPS_SWITCH_PARTIAL: only tasks of SCHED_EXT are the scheduler's (kernel/sched/ext, enum scx_ops_flags).
const switchPartial = 1 << 3

// largest is of an object's file: ours have 12 KB, and those with all their debug information some megabytes.
const largest = 64 << 20

// Object is a compiled scheduler that was read, and is not loaded.
type Object struct {
	name string
	spec *ebpf.CollectionSpec
	ops  string // the map that is the scheduler
}

// Options are what of a scheduler is chosen when it is loaded.
type Options struct {
	// Partial lets it have the tasks of SCHED_EXT only. Without it has all tasks of the fair class, too.
	Partial bool
	// Timeout is how long a task may wait for a CPU until the kernel ends the scheduler; 0 leaves it as it was compiled.
	Timeout time.Duration
	// Trial, when not 0, makes the scheduler end by itself after that time, unless Confirm comes first. The kernel does that:
	// it depends on no process. (The kernel's own goes on then, whatever ran before.)
	Trial time.Duration
	// Of is what the scheduler is of, such as a package: a note that the kernel keeps as long as the scheduler's link, and Snapshot tells.
	Of string
	// Constants are values for constants of the source (const volatile), by their names.
	Constants map[string]uint64
}

// Open reads one of Own by its name, or else the object in a file.
func Open(nameOrPath string) (*Object, error) {
	b, err := Bytes(nameOrPath)
	if err != nil {
		return nil, err
	}
	o, err := Read(bytes.NewReader(b))
	if err != nil && own[nameOrPath] == nil {
		return nil, fmt.Errorf("%s: %w", nameOrPath, err)
	}
	return o, err
}

// Bytes are what Open reads.
func Bytes(nameOrPath string) ([]byte, error) {
	if b, ok := own[nameOrPath]; ok {
		return b, nil
	}
	st, err := os.Stat(nameOrPath) // a pipe's other end would be waited for
	if errors.Is(err, os.ErrNotExist) {
		return nil, &PreconditionError{fmt.Errorf("%s is neither a file nor a scheduler of this program, which are %v", nameOrPath, Own())}
	}
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > largest {
		return nil, &PreconditionError{fmt.Errorf("%s is no file of at most %d MB", nameOrPath, largest>>20)}
	}
	return os.ReadFile(nameOrPath)
}

// Read reads an object.
func Read(r io.ReaderAt) (*Object, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(r)
	if err != nil {
		return nil, &PreconditionError{fmt.Errorf("it is no object with programs of BPF: %w", err)}
	}
	o := &Object{spec: spec}
	for name, m := range spec.Maps {
		if m.Type != ebpf.StructOpsMap || m.Value.TypeName() != "sched_ext_ops" {
			continue
		}
		if o.ops != "" {
			return nil, &PreconditionError{errors.New("it has more than one scheduler (struct sched_ext_ops)")}
		}
		o.ops = name
	}
	if o.ops == "" {
		return nil, &PreconditionError{errors.New("it has no scheduler (struct sched_ext_ops)")}
	}
	b, err := o.member("name")
	if err != nil {
		return nil, err
	}
	text, _, _ := bytes.Cut(b, []byte{0})
	if o.name = string(text); !pinnable.MatchString(o.name) {
		return nil, &PreconditionError{fmt.Errorf("the scheduler's name is %q; it must be of letters, digits and underscores", text)}
	}
	return o, nil
}

// Name is what the kernel will call the scheduler.
func (o *Object) Name() string { return o.name }

// member is where a member of the scheduler's structure has its value.
func (o *Object) member(name string) ([]byte, error) {
	m := o.spec.Maps[o.ops]
	value, ok := m.Contents[0].Value.([]byte)
	ops, isStruct := m.Value.(*btf.Struct)
	if !ok || !isStruct {
		return nil, &PreconditionError{fmt.Errorf("the map %s is no struct sched_ext_ops", o.ops)}
	}
	for _, f := range ops.Members {
		size, err := btf.Sizeof(f.Type)
		if from := int(f.Offset.Bytes()); f.Name == name && err == nil && from+size <= len(value) {
			return value[from : from+size], nil
		}
	}
	return nil, &PreconditionError{fmt.Errorf("the object's struct sched_ext_ops has no %s", name)}
}

// set puts the options into a copy of the object.
func (o *Object) set(opt Options) (*Object, error) {
	out := &Object{name: o.name, spec: o.spec.Copy(), ops: o.ops}
	m := out.spec.Maps[o.ops]
	m.Contents = slices.Clone(m.Contents)
	m.Contents[0].Value = slices.Clone(m.Contents[0].Value.([]byte))
	flags, err := out.member("flags")
	if err != nil {
		return nil, err
	}
	if err := putInt(flags, getInt(flags)&^switchPartial); err != nil {
		return nil, err
	}
	if opt.Partial {
		if err := putInt(flags, getInt(flags)|switchPartial); err != nil {
			return nil, err
		}
	}
	if opt.Timeout != 0 {
		if opt.Timeout < time.Millisecond || opt.Timeout > MaxTimeout {
			return nil, &PreconditionError{fmt.Errorf("a timeout of %v: it must be from 1ms to %v", opt.Timeout, MaxTimeout)}
		}
		b, err := out.member("timeout_ms")
		if err != nil {
			return nil, err
		}
		if err := putInt(b, uint64(opt.Timeout.Milliseconds())); err != nil {
			return nil, err
		}
	}
	if err := out.setTrial(opt.Trial); err != nil {
		return nil, err
	}
	if err := errors.Join(out.setSiblings(cpusDir), out.setDomains(cpusDir)); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(opt.Constants)) {
		v := out.spec.Variables[name]
		if v == nil || !v.Constant() {
			return nil, &PreconditionError{fmt.Errorf("the scheduler %s has no constant %s", o.name, name)}
		}
		b := make([]byte, v.Size())
		if err := putInt(b, opt.Constants[name]); err != nil {
			return nil, &PreconditionError{fmt.Errorf("the constant %s: %w", name, err)}
		}
		if err := v.Set(b); err != nil {
			return nil, fmt.Errorf("the constant %s: %w", name, err)
		}
	}
	return out, nil
}

// Check says whether the object can be loaded with options, as far as that can be told without a kernel.
func (o *Object) Check(opt Options) error {
	_, err := o.set(opt)
	return err
}

// getInt is an integer of any size.
func getInt(b []byte) uint64 {
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:])
}

// putInt is its reverse; kernels that BPF objects of ours are for are little-endian.
func putInt(b []byte, v uint64) error {
	if n := len(b); n > 8 || n < 8 && v>>(8*n) != 0 {
		return fmt.Errorf("%d is no value for %d bytes", v, n)
	}
	copy(b, binary.LittleEndian.AppendUint64(nil, v))
	return nil
}
