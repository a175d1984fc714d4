// SPDX-License-Identifier: BSD-3-Clause

package ghost

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// layout is a structure of the kernel's header as its fields' offsets, sizes and total size.
type layout struct {
	offsets map[string]uintptr
	size    uintptr
}

var (
	structure = regexp.MustCompile(`(?ms)^struct (ghost_\w+) \{\n(.*?)^\};`)
	member    = regexp.MustCompile(`^\s*(__[us]\d+|struct \w+)\s+(.*?);`)
	declared  = regexp.MustCompile(`^(\w+)(?:\[(\d*)\])?$`)
)

// layouts reads them as a C compiler for a 64-bit machine would lay them out.
func layouts(t *testing.T, header string) map[string]layout {
	t.Helper()
	out := map[string]layout{}
	for _, s := range structure.FindAllStringSubmatch(header, -1) {
		l := layout{offsets: map[string]uintptr{}}
		var align uintptr = 1
		for line := range strings.Lines(s[2]) {
			m := member.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			if strings.HasPrefix(m[1], "struct") {
				continue // what follows, without a number
			}
			bits, _ := strconv.Atoi(m[1][3:])
			width := uintptr(bits / 8)
			align = max(align, width)
			for _, d := range strings.Split(m[2], ",") {
				f := declared.FindStringSubmatch(strings.TrimSpace(d))
				if f == nil {
					t.Fatalf("%s: %q is not understood", s[1], line)
				}
				n := 1
				if f[2] != "" {
					n, _ = strconv.Atoi(f[2])
				}
				l.size = (l.size + width - 1) &^ (width - 1)
				l.offsets[strings.ReplaceAll(f[1], "_", "")] = l.size
				l.size += width * uintptr(n)
			}
		}
		l.size = (l.size + align - 1) &^ (align - 1)
		out[s[1]] = l
	}
	return out
}

// kernelHeader is ghost_abi.h, as the patch adds it.
func kernelHeader(t *testing.T) string {
	t.Helper()
	patches, err := filepath.Glob("../examples/ghost/*.patch")
	if err != nil || len(patches) == 0 {
		t.Fatalf("no patch: %v", err)
	}
	var out strings.Builder
	for _, p := range patches {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		_, header, found := strings.Cut(string(text), "+++ b/kernel/sched/ghost_abi.h\n")
		if !found {
			continue
		}
		for line := range strings.Lines(header) {
			if strings.HasPrefix(line, "diff ") {
				break
			}
			out.WriteString(strings.TrimPrefix(line, "+"))
		}
	}
	return out.String()
}

// TestLayout: the kernel's structures have the sizes of ours, and each field of ours is where
// the kernel has the one of that name.
func TestLayout(t *testing.T) {
	kernel := layouts(t, kernelHeader(t))
	for name, ours := range map[string]reflect.Type{
		"ghost_header": reflect.TypeFor[header](), "ghost_msg": reflect.TypeFor[Message](), "ghost_ring": reflect.TypeFor[ring](),
		"ghost_status": reflect.TypeFor[Status](), "ghost_txn": reflect.TypeFor[Txn](), "ghost_create": reflect.TypeFor[createArg](),
		"ghost_commit": reflect.TypeFor[commitArg](), "ghost_join": reflect.TypeFor[joinArg](), "ghost_discover": reflect.TypeFor[discoverArg](),
	} {
		theirs, ok := kernel[name]
		if !ok || theirs.size != ours.Size() {
			t.Errorf("struct %s has %d bytes in the kernel, %d here", name, theirs.size, ours.Size())
			continue
		}
		for i := range ours.NumField() {
			f := ours.Field(i)
			key := strings.ToLower(f.Name)
			if alias := map[string]string{"time": "timens", "runtime": "runtimens", "since": "sincens"}[key]; alias != "" {
				key = alias
			}
			if own := map[string]string{"ghost_txn.Time": "commitns", "ghost_create.Timeout": "runnabletimeoutms"}[name+"."+f.Name]; own != "" {
				key = own
			}
			if at, ok := theirs.offsets[key]; f.Name != "_" && (!ok || at != f.Offset) {
				t.Errorf("struct %s: %s is at %d, the kernel's %s at %d (%v)", name, f.Name, f.Offset, key, at, ok)
			}
		}
	}
}

// TestNumbers: constants are numbered as in the kernel's header.
func TestNumbers(t *testing.T) {
	header := kernelHeader(t)
	enum := func(name string) (n int) {
		body := regexp.MustCompile(`(?ms)^enum ` + name + ` \{\n(.*?)^\};`).FindStringSubmatch(header)
		if body == nil {
			t.Fatalf("no enum %s", name)
		}
		return len(regexp.MustCompile(`(?m)^\s*GHOST_\w+`).FindAllString(body[1], -1))
	}
	if n := enum("ghost_type"); n != int(Priority) {
		t.Errorf("the kernel has %d types of messages, here are %d", n, Priority)
	}
	if n := enum("ghost_end"); n != len(ends) || int(EndedLate) != n-1 {
		t.Errorf("the kernel has %d reasons for an end, here are %d", n, len(ends))
	}
	if n := enum("ghost_verdict"); n != len(verdicts) || int(Invalid) != n-1 {
		t.Errorf("the kernel has %d verdicts, here are %d", n, len(verdicts))
	}
	for name, value := range map[string]uint32{"MSG_RUNNABLE": uint32(Runnable), "MSG_ON_CPU": uint32(OnCPU), "MSG_BOOSTED": uint32(Boosted),
		"STATUS_USED": StatusUsed, "STATUS_RUNNABLE": StatusRunnable, "STATUS_GIVEN": StatusGiven, "STATUS_ON_CPU": StatusOnCPU,
		"TXN_TASK_BARRIER": TaskBarrier, "TXN_AGENT_BARRIER": AgentBarrier, "TXN_KEEP": Keep, "TXN_IDLE": Idle} {
		m := regexp.MustCompile(`(?m)^#define GHOST_` + name + `\s+\(1 << (\d+)\)`).FindStringSubmatch(header)
		if m == nil {
			t.Errorf("the kernel has no GHOST_%s", name)
		} else if bit, _ := strconv.Atoi(m[1]); value != 1<<bit {
			t.Errorf("GHOST_%s is 1 << %d, here %#x", name, bit, value)
		}
	}
	for name, value := range map[string]uint64{"MAGIC": abiMagic, "ABI": abi} {
		m := regexp.MustCompile(`(?m)^#define GHOST_` + name + `\s+(\w+?)(?:ULL)?\b`).FindStringSubmatch(header)
		if m == nil {
			t.Errorf("the kernel has no GHOST_%s", name)
		} else if n, err := strconv.ParseUint(m[1], 0, 64); err != nil || n != value {
			t.Errorf("GHOST_%s is %s, here %#x (%v)", name, m[1], value, err)
		}
	}
}
