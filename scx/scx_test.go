// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// objects are all that are checked in.
func objects(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("bpf/*.bpf.o")
	if err != nil || len(list) < 2 {
		t.Fatal(list, err)
	}
	return list
}

// TestObjects: what is checked in is what its source compiles to, byte by byte.
func TestObjects(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("nothing was compiled: there is no %s (make bpf installs it)", tool)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("../scripts/bpf-objects", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*.bpf.o"))
	if err != nil || len(made) != len(objects(t)) {
		t.Errorf("%d objects are checked in, and %d sources (%v)", len(objects(t)), len(made), err)
	}
	for _, path := range made {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("bpf", filepath.Base(path)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source is compiled to (%v): make bpf", filepath.Base(path), err)
		}
	}
}

// TestLayout: the map of all objects is as end.go reads it.
func TestLayout(t *testing.T) {
	for _, path := range objects(t) {
		spec, err := ebpf.LoadCollectionSpec(path)
		if err != nil {
			t.Fatal(err)
		}
		end, ok := spec.Maps[endMap].Value.(*btf.Struct)
		if !ok || end.Size != endSize {
			t.Fatalf("%s: %v", path, spec.Maps[endMap])
		}
		want := map[string]uint32{"kind": 0, "pad": 4, "code": endCode, "at": endAt,
			"reason": endReason, "message": endMessage, "dump": endDump}
		for _, m := range end.Members {
			if at, ok := want[m.Name]; !ok || at != m.Offset.Bytes() {
				t.Errorf("%s: %s is at %d, not at %d", path, m.Name, m.Offset.Bytes(), at)
			}
		}
	}
}

// TestTrialLayout: so is the map of a trial, as trial.go reads it.
func TestTrialLayout(t *testing.T) {
	for _, path := range objects(t) {
		spec, err := ebpf.LoadCollectionSpec(path)
		if err != nil {
			t.Fatal(err)
		}
		trial, ok := spec.Maps[trialMap].Value.(*btf.Struct)
		if !ok || trial.Size != trialSize || spec.Programs[trialProgram] == nil || spec.Variables[trialLength] == nil {
			t.Fatalf("%s: %v", path, spec.Maps[trialMap])
		}
		want := map[string]uint32{"timer": 0, "until": trialUntil, "state": trialState, "pad": trialState + 4}
		for _, m := range trial.Members {
			if at, ok := want[m.Name]; !ok || at != m.Offset.Bytes() {
				t.Errorf("%s: %s is at %d, not at %d", path, m.Name, m.Offset.Bytes(), at)
			}
		}
	}
}

func TestParseTrial(t *testing.T) {
	b := make([]byte, trialSize)
	if _, err := parseTrial("x", b[1:]); err == nil {
		t.Error("31 bytes are taken")
	}
	for state, want := range []time.Duration{0, 5 * time.Second, 0, 0} {
		binary.NativeEndian.PutUint32(b[trialState:], uint32(state))
		binary.NativeEndian.PutUint64(b[trialUntil:], uint64(12*time.Second))
		got, err := parseTrial("x", b)
		if err != nil || got.left(7*time.Second) != want {
			t.Errorf("%d: %v, %v", state, got, err)
		}
	}
	if got := (trial{trialRuns, 5}).left(6); got <= 0 {
		t.Errorf("a trial whose timer is late has %v left", got)
	}
}

func TestParseEnd(t *testing.T) {
	b := make([]byte, endSize)
	if end, err := parseEnd("x", b); end != nil || err != nil {
		t.Errorf("of nothing: %v, %v", end, err)
	}
	if _, err := parseEnd("x", b[:100]); err == nil {
		t.Error("100 bytes are taken")
	}
	binary.NativeEndian.PutUint32(b, 1026)
	code := int64(-1)
	binary.NativeEndian.PutUint64(b[endCode:], uint64(code))
	binary.NativeEndian.PutUint64(b[endAt:], 77)
	copy(b[endReason:], "runnable task stall")
	copy(b[endMessage:], "a\x1b[1] failed\n")               // a task may call itself so
	copy(b[endDump:], strings.Repeat("d", endSize-endDump)) // without an end of its own
	got, err := parseEnd("x", b)
	if err != nil {
		t.Fatal(err)
	}
	want := End{Name: "x", Kind: 1026, Error: true, Code: -1, At: 77, Reason: "runnable task stall", Message: "a?[1] failed",
		Dump: strings.Repeat("d", endSize-endDump)}
	if *got != want {
		t.Errorf("%+v", got)
	}
	for kind, lapsed := range map[uint32]bool{64: false, 65: true} {
		binary.NativeEndian.PutUint32(b, kind)
		binary.NativeEndian.PutUint64(b[endCode:], trialCode)
		if got, err := parseEnd("x", b); err != nil || got.Error || got.Lapsed() != lapsed || got.Unregistered() == lapsed {
			t.Errorf("of kind %d: %+v, %v", kind, got, err)
		}
	}
}

// TestOptions: they are in what is loaded, and not in the object that they are set for.
func TestOptions(t *testing.T) {
	o, err := Open("simple")
	if err != nil || o.Name() != "simple" {
		t.Fatal(o, err)
	}
	flags := func(o *Object) uint64 {
		b, err := o.member("flags")
		if err != nil {
			t.Fatal(err)
		}
		return getInt(b)
	}
	set, err := o.set(Options{Partial: true, Timeout: 1500 * time.Millisecond, Trial: 2 * time.Second, Constants: map[string]uint64{"fifo": 1}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := set.member("timeout_ms")
	if err != nil || getInt(b) != 1500 || flags(set) != switchPartial {
		t.Errorf("timeout %v, flags %x, %v", b, flags(set), err)
	}
	var trial uint64
	if err := set.spec.Variables[trialLength].Get(&trial); err != nil || trial != 2e9 {
		t.Errorf("the trial is of %d ns, %v", trial, err)
	}
	var fifo [1]byte
	if err := set.spec.Variables["fifo"].Get(fifo[:]); err != nil || fifo[0] != 1 {
		t.Errorf("fifo is %v, %v", fifo, err)
	}
	if err := o.spec.Variables["fifo"].Get(fifo[:]); err != nil || fifo[0] != 0 || flags(o) != 0 {
		t.Errorf("the object itself: fifo %v, flags %x, %v", fifo, flags(o), err)
	}
	if full, err := set.set(Options{}); err != nil || flags(full) != 0 {
		t.Errorf("flags %x, %v", flags(full), err)
	}
	for _, bad := range []Options{{Timeout: time.Microsecond}, {Timeout: time.Minute}, {Trial: time.Millisecond},
		{Trial: 25 * time.Hour}, {Constants: map[string]uint64{"nosuch": 1}},
		{Constants: map[string]uint64{"fifo": 256}}, {Constants: map[string]uint64{"now": 1}}} {
		var p *PreconditionError
		if _, err := o.set(bad); !errors.As(err, &p) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestStay: maps with timers, and those of the balancer, are known, which have to be pinned.
func TestStay(t *testing.T) {
	for name, want := range map[string][]string{"simple": nil, "central": {"central_clock"}, "hybrid": {doneMap, membersMap, wishesMap}} {
		o, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.stay(); !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestOwn: what is in the program has the name that it is asked for by, keeps why it ended, and can be tried.
func TestOwn(t *testing.T) {
	for _, name := range Own() {
		o, err := Open(name)
		if err != nil || o.Name() != name || o.triable() != nil || o.spec.Maps[endMap] == nil {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}

// TestTriable: an object of another header is said not to be one that can be tried.
func TestTriable(t *testing.T) {
	o, err := Open("simple")
	if err != nil {
		t.Fatal(err)
	}
	delete(o.spec.Maps, trialMap)
	var p *PreconditionError
	if _, err := o.set(Options{Trial: time.Minute}); !errors.As(err, &p) || !strings.Contains(err.Error(), "cannot be tried") {
		t.Errorf("%v", err)
	}
	if _, err := o.set(Options{}); err != nil {
		t.Error(err)
	}
}

// TestOpen: what is no scheduler is refused as such.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no object"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, dir, filepath.Join(dir, "nosuch"), "/dev/zero"} {
		var p *PreconditionError
		if _, err := Open(path); !errors.As(err, &p) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestParseEvents(t *testing.T) {
	got, err := parseEvents("SCX_EV_A 3\nSCX_EV_B -1\n")
	if err != nil || len(got) != 2 || got["SCX_EV_A"] != 3 || got["SCX_EV_B"] != -1 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := parseEvents("SCX_EV_A many\n"); err == nil {
		t.Errorf("%v", got)
	}
}

func TestLastLines(t *testing.T) {
	log := []string{"0: R1=ctx()", "; p->x = 1; @ a.c:3", "1: (7b) ...", "; p->y = 2; @ a.c:4", "2: (7b) ...", "only read is supported",
		"processed 3 insns (limit 1000000)", "more"}
	if got := lastLines(log); !slices.Equal(got, log[3:6]) {
		t.Errorf("%q", got)
	}
	long := append([]string{"; the line"}, slices.Repeat([]string{"x"}, 50)...)
	if got := lastLines(append(long, "why")); len(got) != mostLines || got[0] != "; the line" || got[mostLines-1] != "why" {
		t.Errorf("%q", got)
	}
	if got := lastLines(nil); got != nil {
		t.Errorf("%q", got)
	}
}

// TestResolveKfuncs: functions with others of the same name and a suffix are found, those that are not there are left
// alone, and the line of C stays.
func TestResolveKfuncs(t *testing.T) {
	proto := &btf.FuncProto{Return: &btf.Void{}}
	var types []btf.Type
	for _, name := range []string{"f", "f___v2", "f___v2_impl", "f___v3"} {
		types = append(types, &btf.Func{Name: name, Type: proto, Linkage: btf.GlobalFunc})
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	call := func(name string) asm.Instruction {
		return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall, Constant: -1}.
			WithReference(name).WithSource(asm.Comment("the line"))
	}
	p := &ebpf.ProgramSpec{Instructions: asm.Instructions{call("f"), call("absent"), asm.Return()}}
	if err := resolveKfuncs(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"p": p}}, kernel); err != nil {
		t.Fatal(err)
	}
	var want btf.TypeID
	for typ, err := range kernel.All() {
		if err != nil {
			t.Fatal(err)
		}
		if typ.TypeName() == "f" {
			if want, err = kernel.TypeID(typ); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := p.Instructions[0]; got.Constant != int64(want) || got.Reference() != "" || got.Source() == nil {
		t.Errorf("%v is not the function %d", got, want)
	}
	if got := p.Instructions[1]; got.Constant != -1 || got.Reference() != "absent" {
		t.Errorf("%v", got)
	}
}

// TestLayoutOf: what is asked of a scheduler is found in the kernel's structure, wherever that has it.
func TestLayoutOf(t *testing.T) {
	u32 := &btf.Int{Name: "u32", Size: 4}
	function := &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}}}
	ops := &btf.Struct{Name: "sched_ext_ops", Size: 48, Members: []btf.Member{
		{Name: "enqueue", Type: function, Offset: 0},
		{Name: "priv", Type: &btf.Pointer{Target: &btf.Void{}}, Offset: 8 * 8},
		{Name: "timeout_ms", Type: u32, Offset: 16 * 8},
		{Name: "exit", Type: function, Offset: 24 * 8},
		{Name: "name", Type: &btf.Array{Index: u32, Type: &btf.Int{Name: "char", Size: 1}, Nelems: 16}, Offset: 32 * 8},
	}}
	got := layoutOf(100, 8, ops)
	if got.size != 100 || got.name != 40 || got.nameSize != 16 || got.timeout != 24 ||
		!slices.Equal(got.operations, []operation{{8, "enqueue"}, {32, "exit"}}) {
		t.Errorf("%+v", got)
	}
	value := make([]byte, 100)
	binary.NativeEndian.PutUint32(value[24:], 7)
	if r := (&running{value: value, layout: got}); r.timeoutMS() != 7 {
		t.Errorf("%d", r.timeoutMS())
	}
}

// TestSiblings: the other thread of each CPU's core.
func TestSiblings(t *testing.T) {
	dir := t.TempDir()
	put := func(cpu, text string) {
		t.Helper()
		path := filepath.Join(dir, cpu, "topology/thread_siblings_list")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("cpu0", "0,4")
	put("cpu4", "0,4")
	put("cpu1", "1-2")
	put("cpu2", "1-2")
	put("cpu3", "3")
	if got, err := siblings(dir, 6); err != nil || !slices.Equal(got, []int32{4, 2, 1, 3, 0, 5}) {
		t.Errorf("%v, %v", got, err)
	}
	o, err := Open("pair")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.setSiblings(dir); err != nil {
		t.Fatal(err)
	}
	var got [1024]int32
	if err := o.spec.Variables[siblingsVariable].Get(&got); err != nil || got[0] != 4 || got[4] != 0 || got[1023] != 1023 {
		t.Errorf("%v, %v", got[:6], err)
	}
	put("cpu3", "3,5-6")
	var p *PreconditionError
	if _, err := siblings(dir, 6); !errors.As(err, &p) {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "1-", "x", "3-1", "0-99999999"} {
		if got, err := parseCPUs(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

// TestLengths: tasks are counted by the queue that they wait in, as the program says.
func TestLengths(t *testing.T) {
	var b []byte
	for _, w := range []waiting{{Queue: 7}, {Queue: 0, CPU: 1}, {Queue: localQueue, CPU: 1}, {Queue: 0, CPU: 3}, {Queue: localQueue, CPU: 1},
		{CPU: 2, Held: 1}, {Queue: globalQueue, CPU: 2}, {Queue: builtIn | 9}, {Queue: bypassQueue, CPU: 2}, {Queue: localQueue, CPU: 0}} {
		b, _ = binary.Append(b, binary.NativeEndian, w)
	}
	got, err := lengths(b)
	want := []Queue{{0, -1, "queue 0", 2}, {7, -1, "queue 7", 1}, {globalQueue, -1, "global", 1}, {localQueue, 0, "CPU 0", 1},
		{localQueue, 1, "CPU 1", 2}, {bypassQueue, -1, "bypass", 1}, {builtIn | 9, -1, "the kernel's 0x9", 1}, {0, -1, "kept by the program", 1}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %+v", err, got)
	}
	if _, err := lengths(b[1:]); err == nil {
		t.Error("half a record is taken")
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(queuesObject))
	if err != nil || spec.Programs[queuesProgram] == nil {
		t.Errorf("%v", err)
	}
}

// TestUpstream: what docs/project/upstream.md says of the library is still so. If it fails, the library was mended.
func TestUpstream(t *testing.T) {
	// A cast between address spaces.
	in := asm.Mov.Reg(asm.R1, asm.R2)
	in.Offset = 1
	var b bytes.Buffer
	if _, err := in.Marshal(&b, binary.LittleEndian); err != nil || b.Bytes()[2] != 0 {
		t.Errorf("the offset of an ALU instruction is kept: % x (%v)", b.Bytes(), err)
	}
}

// TestLacksType: a kernel that lacks the type of a function's own half is named as what it is.
func TestLacksType(t *testing.T) {
	log := []string{"; scx_bpf_kick_cpu(cpu, 0); @ a.bpf.c:5", "cannot find function scx_bpf_kick_cpu_impl in BTF",
		"kernel function btf_id 104465 does not have a valid func_proto", "processed 3 insns (limit 1000000)"}
	err := refusal(fmt.Errorf("program a_dispatch: load program: %w", &ebpf.VerifierError{Cause: errors.New("invalid argument"), Log: log}))
	var v *VerifierError
	if !errors.As(err, &v) || v.Program != "a_dispatch" || len(v.Lines) != 4 ||
		!strings.Contains(v.Lines[3], "without the type of scx_bpf_kick_cpu_impl, by which it knows what scx_bpf_kick_cpu takes") {
		t.Errorf("%v", err)
	}
	var other *VerifierError
	if err := refusal(&ebpf.VerifierError{Cause: errors.New("invalid argument"), Log: log[:1]}); !errors.As(err, &other) || len(other.Lines) != 1 {
		t.Errorf("%v", err)
	}
}
