// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
)

func TestCompare(t *testing.T) {
	replace := func(old, new string) string {
		out := strings.Replace(scheduler, old, new, 1)
		if out == scheduler {
			t.Fatalf("no %q", old)
		}
		return out
	}
	fn := func(name string) string { return "NOINLINE void " + name + "(void) {" }
	tests := []struct {
		name, edited   string
		changed, added []string
		removed        []string
		refused        []string // "NAME: part of why"
		warned         int
	}{
		{name: "nothing", edited: scheduler},
		{name: "lines", edited: "\n\n/* remark */\n" + scheduler},
		{name: "border", edited: replace(fn("border"), fn("border")+" keep(0);"), changed: []string{"border"}},
		{name: "internal", edited: replace(fn("internal"), fn("internal")+" keep(0);"), changed: []string{"internal"}},
		{name: "clone", edited: replace("keep((void *)1);", "keep((void *)2);"), changed: []string{"clone.isra.0"},
			refused: []string{"clone.isra.0: stays in the kernel"}},
		{name: "external", edited: replace(fn("external"), fn("external")+" keep(0);"), changed: []string{"external"},
			refused: []string{"external: stays in the kernel (it does as the test wants)"}},
		{name: "init", edited: replace(fn("setup"), fn("setup")+" keep(0);"), refused: []string{"setup: __init"}},
		{name: "init data", edited: replace("early SECTION(\".init.data\") = 4", "early SECTION(\".init.data\") = 5"),
			refused: []string{"early: __init"}},
		{name: "value of a shared variable", edited: replace("shared = 5", "shared = 6"), changed: []string{"shared"},
			refused: []string{"shared: initial value"}},
		{name: "value of a static local", edited: replace("k = 7", "k = 8"), changed: []string{"k"}, refused: []string{"k: initial value"}},
		{name: "value of a private variable", edited: replace("private = 6", "private = 7"), changed: []string{"private"}},
		{name: "size of a shared variable", edited: replace("int shared = 5", "long shared = 5"), changed: []string{"shared"},
			refused: []string{"shared: external, which stays, goes on with the old one"}},
		{name: "size of a zero that stays known", edited: replace("zeros[10]", "zeros[12]"), changed: []string{"zeros"},
			refused: []string{"zeros: setup registered that at boot"}},
		{name: "size of a zero whose users move", edited: replace("zeros[10], idle;", "zeros[10]; static long idle;"),
			changed: []string{"idle"}, warned: 1},
		{name: "value of a zero", edited: replace("zeros[10], idle;", "zeros[10], idle = 4;"), changed: []string{"idle"},
			refused: []string{"idle: initial value"}},
		{name: "size of a variable whose users move", edited: replace("int counted = 3", "long counted = 3"),
			changed: []string{"counted"}, warned: 1},
		{name: "kind of a variable whose users move", edited: replace("int many = 3", "int many SECTION(\".data..percpu\") = 3"),
			changed: []string{"many"}, warned: 1},
		{name: "constant whose users move", edited: replace("{9, 8, 7}", "{9, 8, 6}"), changed: []string{"weights"}},
		{name: "constant that the kernel reads", edited: replace("{1, 2, 3}", "{1, 2, 4}"), changed: []string{"known"},
			refused: []string{"known: initial value"}},
		{name: "inlined", edited: replace("NOINLINE void external(void) {",
			"static inline void in(void) { keep(0); }\nNOINLINE void external(void) { in();"), changed: []string{"external"},
			refused: []string{"external: stays in the kernel (it does as the test wants)"}},
		{name: "class table", edited: replace("{ internal, callback }", "{ callback, callback }"), changed: []string{"fair_sched_class"}},
		{name: "border removed", edited: replace("NOINLINE void border(void) { keep(&shared); asm volatile(\"nop\"); }", "void border(void);"),
			removed: []string{"border"}, refused: []string{"border: no longer a function"}},
		{name: "internal removed", edited: strings.NewReplacer("static NOINLINE void internal(void) { keep(&pcpu); keep((void *)weights); keep(&counted); keep(&many); keep(&idle); }", "", "internal(); clone", "clone", "keep(internal);", "",
			"{ internal, callback }", "{ callback, callback }").Replace(scheduler), removed: []string{"internal"},
			changed: []string{"fair_sched_class", "user"}},
		{name: "external removed", edited: replace("NOINLINE void external(void) { keep(&shared); keep((void *)known); }",
			"void external(void);"),
			removed: []string{"external"}, refused: []string{"external: stays in the kernel"}},
		{name: "init removed", edited: replace("NOINLINE void setup(void) { keep(&early); keep(zeros); }", "void setup(void);"),
			removed: []string{"setup"}, refused: []string{"setup: __init"}},
		{name: "new function", edited: scheduler + fn("newfn") + " keep(0); }", added: []string{"newfn"}},
		{name: "new variable", edited: scheduler + "int newvar = 4;", added: []string{"newvar"}},
		{name: "new init function", edited: scheduler + "SECTION(\".init.text\") " + fn("newinit") + " keep(0); }",
			added: []string{"newinit"}, refused: []string{"newinit: new __init"}},
		{name: "new initcall", edited: scheduler + fn("late") + " keep(0); }\nasm(\".pushsection .initcall6.init,\\\"a\\\"\\n.long late - .\\n.popsection\");", added: []string{"late"},
			refused: []string{"late: initcall"}},
		{name: "new boot parameter", edited: scheduler + "int newparam SECTION(\"__param\") = 3;", added: []string{"newparam"},
			refused: []string{"newparam: new in __param"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, src := plan(t, scheduler, tt.edited)
			c := p.Compare(src)
			for _, l := range []struct {
				what      string
				want, got []string
			}{{"changed", tt.changed, c.Changed}, {"added", tt.added, c.Added}, {"removed", tt.removed, c.Removed}} {
				if strings.Join(l.want, " ") != stems(l.got) {
					t.Errorf("%s: %v, want %v", l.what, l.got, l.want)
				}
			}
			if len(c.Warnings) != tt.warned {
				t.Errorf("warnings %q, want %d", c.Warnings, tt.warned)
			}
			if len(c.Refusals) != len(tt.refused) {
				t.Fatalf("refusals %v, want %q", c.Refusals, tt.refused)
			}
			for i, r := range c.Refusals {
				name, why, _ := strings.Cut(tt.refused[i], ": ")
				if got, _, _ := strings.Cut(r.Name, "."); got != strings.TrimSuffix(name, ".isra.0") || !strings.Contains(r.Why, why) ||
					r.Do == "" || r.File == "" {
					t.Errorf("refused %+v, want %q", r, tt.refused[i])
				}
			}
		})
	}
}

// stems joins names without the numbers of static locals.
func stems(names []string) string {
	var out []string
	for _, n := range names {
		if strings.Count(n, ".") == 1 {
			n = asm.Stem(n)
		}
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

// TestCompareTable: a table that gcc made of a switch is part of the function.
func TestCompareTable(t *testing.T) {
	c := scheduler + `NOINLINE int external2(unsigned x) { switch (x) { case 0: return 8; case 1: return 1; case 2: return 77; case 3: return -4; case 4: return 12; } return 0; }`
	schedulerClasses["external2"] = "external"
	defer delete(schedulerClasses, "external2")
	p, src := plan(t, c, strings.Replace(c, "77", "78", 1))
	if out := p.Compare(src); len(out.Refusals) != 1 || out.Refusals[0].Name != "external2" {
		t.Errorf("a function that stays returns something else, but refused was %v", out.Refusals)
	}
}

// TestCauses: who is blamed for new code of a function that stays is what debug information
// says is inlined there, and not whatever it calls or takes the address of.
func TestCauses(t *testing.T) {
	const text = scheduler + `
#define FACTOR 3
struct held { int a, b; };
static inline __attribute__((always_inline)) int inner(struct held *h) { return h->b * 5; }
static inline __attribute__((always_inline)) int outer(struct held *h) { return inner(h) + 1; }
static NOINLINE int called(struct held *h) { keep(h); return h->a * 2; }
static NOINLINE int taken(struct held *h) { keep(h); return h->a + 7; }
NOINLINE int staying(struct held *h) { keep(taken); return called(h) + outer(h) * FACTOR; }
`
	schedulerClasses["staying"] = boundary.External
	defer delete(schedulerClasses, "staying")
	for name, tt := range map[string]struct {
		edits []string
		want  []string // "NAME class: part of why"
	}{
		"inlined":        {[]string{"* 5", "* 6"}, []string{"inner inlined: is inlined into staying, which stays"}},
		"called, and it": {[]string{"* 5", "* 6", "a * 2", "a * 4", "a + 7", "a + 9"}, []string{"inner inlined: with the old code"}},
		"two of them": {[]string{"* 5", "* 6", "inner(h) + 1", "inner(h) + 2"},
			[]string{"inner inlined: because of outer, which changed too", "outer inlined: because of inner, which changed too"}},
		"and a macro":        {[]string{"* 5", "* 6", "FACTOR 3", "FACTOR 4"}, []string{"inner inlined: because of FACTOR, which changed too"}},
		"a macro":            {[]string{"FACTOR 3", "FACTOR 4"}, []string{"staying stays: uses FACTOR (macro)"}},
		"a layout":           {[]string{"int a, b", "int a, c, b", "a * 2", "a * 4"}, []string{"staying stays: uses held (type)"}},
		"a layout, for":      {[]string{"int a, b", "int a, c, b", "* 5", "* 5 * 1"}, []string{"inner inlined: is inlined into staying"}},
		"more than a layout": {[]string{"int a, b", "int a, c, b", "* 5", "* 6"}, []string{"inner inlined: is inlined into staying"}},
		"its own": {[]string{"keep(taken);", "keep(taken); keep(0);", "* 5", "* 6"},
			[]string{"inner inlined: because of staying, which changed too", "staying stays: the change to its code"}},
	} {
		t.Run(name, func(t *testing.T) {
			edited := strings.NewReplacer(tt.edits...).Replace(text)
			p, src := plan(t, text, edited)
			p.kernel.SetInlining(unitName, types(t, text), types(t, edited))
			out := p.Compare(src)
			if len(out.Refusals) != len(tt.want) {
				t.Fatalf("refused %v, want %q", out.Refusals, tt.want)
			}
			for i, r := range out.Refusals {
				who, why, _ := strings.Cut(tt.want[i], ": ")
				if r.Name+" "+string(r.Class) != who || !strings.Contains(r.Why, why) || r.Derived != strings.HasPrefix(name, "a layout") {
					t.Errorf("refused %+v, want %s", r, tt.want[i])
				}
			}
		})
	}
}

// TestOutsideUser: a variable that other parts of the kernel use, as its instructions show, is
// not the module's alone.
func TestOutsideUser(t *testing.T) {
	for user, refused := range map[string]int{"": 0, "klp_try_switch_task": 1, "border": 0} {
		p, src := plan(t, scheduler, strings.Replace(scheduler, "int counted = 3", "long counted = 3", 1))
		for _, o := range p.kernel.Boundary.Objects {
			if o.Name == "counted" && user != "" {
				o.Outside = []string{user}
			}
		}
		out := p.Compare(src)
		if len(out.Refusals) != refused || refused > 0 && !strings.Contains(out.Refusals[0].Why, user+", which stays") {
			t.Errorf("used by %q: refused %v", user, out.Refusals)
		}
	}
}

// TestCompareHeader: an inline function that no unit needs out of line any more is still
// in its header.
func TestCompareHeader(t *testing.T) {
	c := scheduler + `NOINLINE void weigh(void) { keep(0); }`
	schedulerClasses["weigh"] = boundary.External
	defer delete(schedulerClasses, "weigh")
	for file, refused := range map[string]int{"kernel/sched/sched.h": 1, "include/linux/cpumask.h": 0} {
		p, old := plan(t, c, scheduler)
		for _, f := range p.kernel.Boundary.Functions {
			if f.Name == "weigh" {
				f.DeclFile = file
			}
		}
		if out := p.Compare(old); len(out.Refusals) != refused || stems(out.Removed) != "weigh" {
			t.Errorf("weigh of %s is gone: removed %v, refused %v, expected %d", file, out.Removed, out.Refusals, refused)
		}
	}
}

func TestRefusalString(t *testing.T) {
	for want, r := range map[string]Refusal{
		"kernel/sched/a.c:4: f is bad; undo it (docs/develop/refusals.md#stays)": {Class: Stays, Name: "f", File: "kernel/sched/a.c",
			Line: 4, Why: "is bad", Do: "undo it"},
		"kernel/sched/a.c: f is bad; undo it (docs/develop/refusals.md#header)": {Class: Header, Name: "f", File: "kernel/sched/a.c",
			Why: "is bad", Do: "undo it"},
		"f is bad; undo it (docs/develop/refusals.md#init)": {Class: Init, Name: "f", Why: "is bad", Do: "undo it"},
	} {
		if diff := cmp.Diff(want, r.String()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestOwned: what nobody edited, and differs because the module is its owner in the module
// and nobody in the kernel, is no change.
func TestOwned(t *testing.T) {
	const body = scheduler + "struct module *shared_owner = THIS_MODULE; NOINLINE void external_owner(void) { keep((void *)THIS_MODULE); }\n"
	const kernel, module = "#define THIS_MODULE ((struct module *)0)\n",
		"extern struct module __this_module;\n#define THIS_MODULE (&__this_module)\n"
	schedulerClasses["external_owner"] = boundary.External
	defer delete(schedulerClasses, "external_owner")
	p, _ := plan(t, kernel+body, module+body)
	if c := p.Compare(&edits.Set{}); len(c.Changed)+len(c.Refusals) > 0 {
		t.Errorf("changed %v, refused %v", c.Changed, c.Refusals)
	}
	// Somebody else's edit, of what has a name that the initial value mentions, is none of it.
	const neighbour = "struct table { int start; struct module *owner; int stop; };\n" +
		"struct table shared_table = { .owner = THIS_MODULE, .stop = 1 };\n"
	p, _ = plan(t, kernel+body+neighbour, module+body+neighbour)
	src := &edits.Set{}
	src.Compare(unitName, "int stop(void) { return 1; }\n", "int stop(void) { return 2; }\n")
	if c := p.Compare(src); len(c.Changed)+len(c.Refusals) > 0 {
		t.Errorf("with a neighbour's edit: changed %v, refused %v", c.Changed, c.Refusals)
	}
	edited := strings.NewReplacer("shared_owner = THIS", "shared_owner = (void *)4 + (long)THIS", "keep((void *)THIS_MODULE);",
		"keep(0); keep((void *)THIS_MODULE);").Replace(body)
	p, _ = plan(t, kernel+body, module+edited)
	src = &edits.Set{}
	src.Compare(unitName, body, edited)
	if c := p.Compare(src); len(c.Refusals) != 2 {
		t.Errorf("edited: changed %v, refused %v", c.Changed, c.Refusals)
	}
	// So does an edit of what the function only knows.
	side, wider := "struct side { int a; };\n", "struct side { int a, b; };\n"
	owner := strings.Replace(body, "external_owner(void) {", "external_owner(void) { struct side *s = 0; (void)s;", 1)
	p, _ = plan(t, kernel+side+owner, module+wider+owner)
	src = &edits.Set{}
	src.Compare(unitName, side, wider)
	if c := p.Compare(src); len(c.Changed)+len(c.Refusals) > 0 {
		t.Errorf("with an edited structure: changed %v, refused %v", c.Changed, c.Refusals)
	}
}

// TestOwnedAndMore: a function that mentions its owner and has other code besides is changed, also if no edit
// explains it; one that ran at boot is not, as nobody runs it.
func TestOwnedAndMore(t *testing.T) {
	const kernel, module = "#define THIS_MODULE ((struct module *)0)\n",
		"extern struct module __this_module;\n#define THIS_MODULE (&__this_module)\n"
	for section, refused := range map[string]int{".text": 1, ".init.text": 0} {
		body := scheduler + "SECTION(\"" + section + "\") NOINLINE void owner_too(void) { keep((void *)THIS_MODULE); keep((void *)8); }\n"
		schedulerClasses["owner_too"] = boundary.External
		if section != ".text" {
			schedulerClasses["owner_too"] = boundary.Init
		}
		p, _ := plan(t, kernel+body, module+strings.Replace(body, "(void *)8", "(void *)9", 1))
		delete(schedulerClasses, "owner_too")
		if c := p.Compare(&edits.Set{}); len(c.Refusals) != refused || len(c.Changed) != refused {
			t.Errorf("%s: changed %v, refused %v", section, c.Changed, c.Refusals)
		}
	}
}

// TestSameBesidesOwner: an instruction that mentions the owner stands for another one, or for
// none; nothing else may differ.
func TestSameBesidesOwner(t *testing.T) {
	const owner = "movq $__this_module, %rcx\n"
	for _, c := range []struct {
		is, was string
		same    bool
	}{
		{"a\n" + owner + "b\n", "a\nxorl %ecx, %ecx\nb\n", true},
		{"a\n" + owner + "b\n", "a\nb\n", true},
		{owner + "a\n" + owner + "b\n", "a\nxorl %ecx, %ecx\nb\n", true},
		{"a\n" + owner + "c\n", "a\nxorl %ecx, %ecx\nb\n", false},
		{"a\nx\nb\n", "a\ny\nb\n", false},
		{"a\n" + owner + "b\n", "a\nxorl %ecx, %ecx\nb\nc\n", false},
		{"a\n" + owner + "b\nc\n", "a\nxorl %ecx, %ecx\nb\n", false},
	} {
		if same := sameBesidesOwner(c.is, c.was); same != c.same {
			t.Errorf("%q and %q: %v, expected %v", c.is, c.was, same, c.same)
		}
	}
}
