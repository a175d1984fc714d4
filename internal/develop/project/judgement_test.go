// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/environment"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/symbols"
)

// TestJudged: what a build refuses for what only shows in the code, is told.
func TestJudged(t *testing.T) {
	p := buildable(t)
	a, err := arch.Named("x86")
	if err != nil {
		t.Fatal(err)
	}
	syms := []symbols.Symbol{{Name: "copy", Unit: "kernel/fork.c", Kind: symbols.Func},
		{Name: "boot", Unit: "kernel/fork.c", Kind: symbols.Func, Init: true}}
	b := &boundary.Boundary{Functions: []*boundary.Function{{Name: "first", Base: "first", DeclFile: "kernel/sched/core.c"}}}
	in := &inputs{kernel: bind.NewKernel(a, b, &symbols.Table{Symbols: syms}),
		tree: &module.Tree{SchedDir: SchedDir, Env: &environment.Environment{CC: "gcc"}}}
	const was = "int first(int a)\n{\n\ta += 1;\n\ta += 2;\n\treturn a;\n}\n"
	src := &edits.Set{}
	src.Compare("kernel/sched/core.c", was, strings.Replace(was, "+= 2", "+= nowhere(a)", 1))
	code := func(text string) *Judgement {
		t.Helper()
		b := &bound{src: src, Bound: &bind.Bound{Assembly: map[string][]byte{"kernel/sched/core.c": []byte(".globl x\nx:\n" + text)},
			Names: map[string]*symbols.Symbol{}}}
		for i := range syms {
			b.Names[syms[i].Name] = &syms[i]
		}
		b.Changed = []string{"first"}
		j, err := p.judge(t.Context(), in, b)
		if err != nil || !j.Effect {
			t.Fatalf("%+v, %v", j, err)
		}
		return j
	}
	if j := code(".text\n.quad copy\n"); len(j.Refusals) != 0 {
		t.Errorf("%+v", j.Refusals)
	}
	if j := code(".text\n.quad boot\n"); len(j.Refusals) != 1 || j.Refusals[0].Class != bind.Init {
		t.Errorf("%+v", j.Refusals)
	}
	if j := code(".section odd,\"a\"\n.quad 0\n"); len(j.Refusals) != 1 || j.Refusals[0].Class != bind.Section {
		t.Errorf("%+v", j.Refusals)
	}
	j := code(".text\n.quad nowhere\n")
	if len(j.Refusals) != 1 || j.Refusals[0].Class != bind.Undefined || j.Refusals[0].Line != 4 {
		t.Fatalf("%+v", j.Refusals)
	}
}

// TestUncompiled: a compiler that fails without a word on the source has not said that all is well.
func TestUncompiled(t *testing.T) {
	for _, output := range []string{
		"gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.",
		"cc1: fatal error: error writing to core.s: No space left on device",
		"kernel/sched/core.o: error: objtool: can't read",
		"kernel/sched/core.c:7:2: warning: unused 'x'",
	} {
		said := fmt.Errorf("compile: %w", &module.CompileError{Output: output})
		if j, err := uncompiled(said); j != nil || !errors.Is(err, said) {
			t.Errorf("%q: %+v, %v", output, j, err)
		}
	}
	j, err := uncompiled(&module.CompileError{Output: "kernel/sched/core.c:7:2: error: 'x' undeclared"})
	if err != nil || len(j.Errors) != 1 || j.Output == "" {
		t.Errorf("%+v, %v", j, err)
	}
	other := errors.New("no make")
	if j, err := uncompiled(other); j != nil || !errors.Is(err, other) {
		t.Errorf("%+v, %v", j, err)
	}
}
