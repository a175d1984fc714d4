// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"strings"
	"testing"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/symbols"
)

// onStack has a structure with a list in it that never leaves the stack of balance, which moves.
const onStack = `
typedef unsigned long size_t;
struct list_head { struct list_head *next, *prev; };
struct done { int n; struct list_head waiters; };
struct env { int cpu; struct list_head tasks; };
void use(void *), *get(size_t), *volatile sink;
#define NOINLINE __attribute__((noipa))
static NOINLINE int detach(struct env *env, int n) { use(&env->tasks); return env->cpu + n; }
NOINLINE int balance(int cpu) { struct env env = { .cpu = cpu }; use(&env.tasks); return detach(&env, 1); }
NOINLINE int staying(int cpu) { use(0); return cpu; }
NOINLINE int __schedule(int cpu) { use(0); return cpu; }
`

// TestStackOnly: a structure that is linked into lists is the module's own as long as the kernel
// can hold no such object.
func TestStackOnly(t *testing.T) {
	const fn = "static NOINLINE int detach"
	for name, tt := range map[string]struct {
		from, to string // what is different in the kernel
		refused  bool
	}{
		"on the stack only":     {"", "", false},
		"a list further inside": {"struct list_head tasks", "struct { struct done tasks; } deep; struct list_head tasks", false},
		"in no list":            {"struct list_head tasks", "int tasks", false},
		"from an allocation":    {fn, "void make(void) { struct env *e = get(sizeof(*e)); sink = &e->tasks; }\n" + fn, true},
		"by a cast":             {fn, "int cast(void *p) { return ((struct env *)p)->cpu; }\n" + fn, true},
		"by a result":           {fn, "struct env *next(struct list_head *l) { return get((long)l); }\n" + fn, true},
		"by a member": {fn,
			"struct holder { struct env *env; };\nint look(void) { struct holder h; use(&h); return h.env->cpu; }\n" + fn, true},
		"a parameter as a cursor":   {"use(&env->tasks);", "env = get(1); use(&env->tasks);", true},
		"a pointer to a pointer":    {"struct env *env, int n)", "struct env **envs, int n)", true},
		"on the stack of who stays": {"staying(int cpu) { use(0);", "staying(int cpu) { struct env e = { cpu }; use(&e);", true},
		"inlined into who stays": {"NOINLINE int staying(int cpu) { use(0);",
			"static inline int in(int cpu) { struct env e = { cpu }; use(&e); return e.cpu; }\nNOINLINE int staying(int cpu) { in(cpu);", true},
		"on the stack of __schedule": {"__schedule(int cpu) { use(0);", "__schedule(int cpu) { struct env e = { cpu }; use(&e);", true},
		"a variable":                 {fn, "struct env one;\n" + fn, true},
	} {
		t.Run(name, func(t *testing.T) {
			pristine := strings.Replace(onStack, tt.from, tt.to, 1)
			if name == "a pointer to a pointer" {
				pristine = strings.NewReplacer("env->", "(*envs)->", "detach(&env", "detach((struct env *[]){&env}").Replace(pristine)
			}
			edited := strings.Replace(pristine, "struct env { int cpu;", "struct env { int cpu; long quiet;", 1)
			b := &boundary.Boundary{Sources: []string{"kernel/sched"}}
			for f, class := range map[string]boundary.Class{"balance": boundary.Interface, "detach": boundary.Internal,
				"__schedule": boundary.Interface, "staying": boundary.External} {
				b.Functions = append(b.Functions, &boundary.Function{Name: f, Base: f, Unit: unitName, Class: class})
			}
			if name == "a variable" {
				b.Objects = []*boundary.Object{{Name: "one", Unit: unitName, Type: "struct env"}}
			}
			k := NewKernel(arch.X86, b, table(t, symbols.Symbol{Name: "one"}))
			src := &edits.Set{}
			src.Compare("kernel/sched/sched.h", pristine, edited)
			s := &Sources{Kernel: t.TempDir(), Dirs: []string{"kernel", "drivers"}}
			compare := func() int {
				t.Helper()
				out, err := k.CompareTypes(t.Context(), unitName, types(t, edited), types(t, pristine), src, s)
				if err != nil {
					t.Fatal(err)
				}
				return len(out.Refusals)
			}
			if name != "in no list" && compare() == 0 {
				t.Error("accepted without the kernel's source")
			}
			put(t, pristine, s.Kernel, "kernel/sched/sched.h")
			if got := compare(); (got > 0) != tt.refused {
				t.Errorf("refused %v", !tt.refused)
			}
			if name == "on the stack only" {
				put(t, "#include \"../kernel/sched/sched.h\"\nint f(struct env *e) { return e->cpu; }\n", s.Kernel, "drivers/x.c")
				if compare() == 0 {
					t.Error("accepted though a driver knows it")
				}
			}
		})
	}
}
