// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
)

const reproduceSource = `
	#define NOINLINE __attribute__((noinline, noclone, noipa, used))
	void far(int), further(int);
	int state, other;
	static NOINLINE int local(int x) { return x * 3; }
	static NOINLINE int local2(int x) { return x * 5; }
	NOINLINE int f(int x) { far(x); state++; return local(x) + 5; }
	NOINLINE int twin(int x) { return x - 7; }
	int nickname(int x) __attribute__((alias("twin")));
	NOINLINE void tail(int x) { asm volatile("nop"); further(x); }
`

// compileObject compiles C text to an object.
func compileObject(t *testing.T, c string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "unit.c"), c)
	run(t, dir, "gcc", "-c", "-O2", "-fno-pie", "-mcmodel=kernel", "-ffreestanding", "-fno-asynchronous-unwind-tables",
		"-fcf-protection=none", "-o", "unit.o", "unit.c")
	return filepath.Join(dir, "unit.o")
}

// shipped links an object, as the kernel is, and returns the code of its
// functions with the targets of their direct branches.
func shipped(t *testing.T, obj string) *Code {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rest.s"), ".globl far, further\n.type far,@function\nfar: ret\n.size far,.-far\n.type further,@function\nfurther: ret\n.size further,.-further\n")
	run(t, dir, "as", "-o", "rest.o", "rest.s")
	run(t, dir, "ld", "-Ttext=0xffffffff81000000", "-e", "f", "-o", "vmlinux", "rest.o", obj)
	f, err := elf.Open(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	at := map[uint64][]string{}
	size := map[uint64]uint64{}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			at[s.Value] = append(at[s.Value], s.Name)
			size[s.Value] = s.Size
		}
	}
	out := &Code{}
	for addr, names := range at {
		if names[0] == "far" || names[0] == "further" {
			continue
		}
		fc := FunctionCode{Name: names[0], Aliases: names[1:], Unit: unitName, Code: code[addr-text.Addr:][:size[addr]],
			Calls: map[uint64][]string{}}
		arch.X86.Refs(fc.Code, addr, func(r isa.Ref) {
			if to := at[r.Target]; r.Branch() && to != nil {
				fc.Calls[r.Site-addr] = to
			}
		})
		out.Functions = append(out.Functions, fc)
	}
	return out
}

func TestReproduce(t *testing.T) {
	kernel := shipped(t, compileObject(t, reproduceSource))
	if len(kernel.Functions) != 5 {
		t.Fatalf("%d functions", len(kernel.Functions))
	}
	tests := []struct{ name, old, new, function, why string }{
		{name: "equal"},
		{name: "line shift", old: "void far", new: "\n\n\nvoid far"},
		{name: "another order", old: "NOINLINE int twin", new: "NOINLINE int twin(int); NOINLINE int twin"},
		{"size", "return local(x) + 5", "return local(x) + 500", "f", "bytes long, in the kernel"},
		{"byte", "return local(x) + 5", "return local(x) + 6", "f", "differs at +0x"},
		{"other callee", "far(x);", "further(x);", "f", `calls "further" at +0x`},
		{"other local callee", "return local(x)", "return local2(x)", "f", `calls "local2" at +0x`},
		{"other tail", "further(x); }", "far(x); }", "tail", `calls "far" at +0x`},
		{"missing", "NOINLINE void tail(int x) { asm volatile(\"nop\"); further(x); }", "", "tail", "is not in the compiled source"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Reproduce(kernel, unitName, compileObject(t, strings.Replace(reproduceSource, tt.old, tt.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			var want []Mismatch
			if tt.function != "" {
				want = []Mismatch{{tt.function, unitName, tt.why}}
			}
			for i := range r.Mismatches {
				if i < len(want) && strings.Contains(r.Mismatches[i].Why, want[i].Why) {
					want[i].Why = r.Mismatches[i].Why
				}
			}
			if diff := cmp.Diff(want, r.Mismatches); diff != "" {
				t.Error(diff)
			}
			if r.Functions != 5 || r.Reproduced != 5-len(want) {
				t.Errorf("%d of %d", r.Reproduced, r.Functions)
			}
		})
	}
}

// TestReproduceBytes changes every byte of a function that no relocation covers.
func TestReproduceBytes(t *testing.T) {
	obj := compileObject(t, reproduceSource)
	for i := range shipped(t, obj).Functions {
		kernel := shipped(t, obj)
		fn := &kernel.Functions[i]
		if fn.Name != "local" && fn.Name != "twin" && fn.Name != "nickname" {
			continue
		}
		good := fn.Code
		for at := range good {
			fn.Code = bytes.Clone(good)
			fn.Code[at] ^= 1
			if r, err := Reproduce(kernel, unitName, obj); err != nil || len(r.Mismatches) != 1 {
				t.Errorf("%s: a change at +%d is not seen: %v", fn.Name, at, err)
			}
		}
	}
}

const keyedSource = `
	#define NOINLINE __attribute__((noinline, noclone, noipa, used))
	void far(int), further(int);
	int key;
	NOINLINE void f(int x) { further(x); asm volatile("nop"); }
	NOINLINE int keyed(int x)
	{
		asm goto("1: jmp %l[on]\n.pushsection __jump_table, \"aw\"\n.balign 8\n"
			 ".long 1b - ., %l[on] - .\n.quad key + 2 - .\n.popsection" :::: on);
		return x;
	on:
		far(x);
		return x + 1;
	}
`

// TestReproduceKeys: a static key's site is a jump in the object, and a nop in the kernel:
// they are equal if they are of one size, belong to a key and lead to the same place.
func TestReproduceKeys(t *testing.T) {
	obj := compileObject(t, keyedSource)
	find := func(c *Code) (*FunctionCode, uint64) {
		t.Helper()
		for i := range c.Functions {
			if f := &c.Functions[i]; f.Name == "keyed" {
				return f, uint64(bytes.IndexByte(f.Code, 0xeb))
			}
		}
		t.Fatal("no such function")
		return nil, 0
	}
	for _, tt := range []struct {
		name, why string
		change    func(f *FunctionCode, at uint64)
	}{
		{"as compiled", "", func(*FunctionCode, uint64) {}},
		{"nop", "", func(f *FunctionCode, at uint64) { copy(f.Code[at:], "\x66\x90") }},
		{"longer nop", "differs at", func(f *FunctionCode, at uint64) { copy(f.Code[at:], "\x0f\x1f\x44\x00\x00") }},
		{"no nop", "differs at", func(f *FunctionCode, at uint64) { copy(f.Code[at:], "\x90\x90") }},
		{"behind it", "differs at", func(f *FunctionCode, at uint64) { f.Code[at+2] ^= 1 }},
		{"another jump", "differs at", func(f *FunctionCode, at uint64) { f.Code[at+1]++ }},
		{"another place", "leads to another place", func(f *FunctionCode, at uint64) {
			k := f.Keys[at]
			k.Offset++
			f.Keys[at] = k
		}},
		{"another function", "leads to another place", func(f *FunctionCode, at uint64) {
			f.Keys[at] = Key{[]string{"f"}, f.Keys[at].Offset}
		}},
		{"nobody's", "leads to another place", func(f *FunctionCode, at uint64) { f.Keys[at] = Key{} }},
		{"no key", "has a static key at", func(f *FunctionCode, at uint64) { delete(f.Keys, at) }},
		{"one more", "has no static key at", func(f *FunctionCode, at uint64) { f.Keys[at+2] = f.Keys[at] }},
	} {
		kernel := shipped(t, obj)
		f, at := find(kernel)
		f.Keys = map[uint64]Key{at: {[]string{"other name", "keyed"}, at + 2 + uint64(f.Code[at+1])}}
		tt.change(f, at)
		r, err := Reproduce(kernel, unitName, obj)
		if err != nil {
			t.Fatal(err)
		}
		var why string
		for _, m := range r.Mismatches {
			why += m.Function + " " + m.Why
		}
		if tt.why == "" && why != "" || !strings.Contains(why, tt.why) || r.Functions != 2 {
			t.Errorf("%s: %q, want %q", tt.name, why, tt.why)
		}
	}
}

func TestReproduceErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.o")
	if _, err := Reproduce(&Code{}, unitName, path); !os.IsNotExist(err) {
		t.Errorf("missing object: %v", err)
	}
	write(t, path, "not ELF")
	if _, err := Reproduce(&Code{}, unitName, path); err == nil {
		t.Error("something else than ELF is accepted")
	}
	if err := exec.Command("strip", "-s", "-o", path, compileObject(t, reproduceSource)).Run(); err != nil {
		t.Fatal(err)
	}
	if r, err := Reproduce(shipped(t, compileObject(t, reproduceSource)), unitName, path); err == nil && r.Reproduced > 0 {
		t.Errorf("a stripped object reproduces %d functions", r.Reproduced)
	}
}

func TestCodeFile(t *testing.T) {
	want := shipped(t, compileObject(t, reproduceSource))
	path := filepath.Join(t.TempDir(), "code")
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadCode(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Functions) != len(want.Functions) || !bytes.Equal(got.Functions[0].Code, want.Functions[0].Code) {
		t.Errorf("%+v", got)
	}
	write(t, path, "damaged")
	if _, err := LoadCode(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %v", err)
	}
}
