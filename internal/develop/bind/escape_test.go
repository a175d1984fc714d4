// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/asm"
)

// TestEscaping: who gives the kernel an address of the module's is warned where that is, but
// not when plugsched_exit() ends it.
func TestEscaping(t *testing.T) {
	const api = `
struct ops { void (*show)(void); };
struct timer { long when; void (*function)(void); };
void *create(const char *name, const struct ops *), remove(void *), remove_entry(const char *);
void start(struct timer *), stop(struct timer *), init_timer(struct timer *, void (*)(void));
void watch(void (*)(void)), unwatch(void (*)(void));
struct owned { void *owner; void (*show)(void); };
extern char __this_module[];
#define THIS_MODULE ((void *)__this_module)
`
	const show = "\nstatic void show(void) { keep(0); }\n"
	const ops = show + "static const struct ops ops = { show };\n"
	const class = show + "const struct sched_class mine = { (fn *)show, (fn *)show };\n"
	const owned = show + "static const struct owned ops = { .owner = THIS_MODULE, .show = show };\nvoid *used(void) { return (void *)&ops; }\n"
	hook := func(init, exit string) string {
		return "int plugsched_init(void) { " + init + " return 0; }\nvoid plugsched_exit(void) { " + exit + " }\n"
	}
	first := strings.Count(scheduler+api, "\n") + 2
	warned := func(line int) []string {
		return []string{fmt.Sprintf("%s:%d: show: "+
			"its address is the module's: nothing in the kernel may hold it when the scheduler is removed", unitName, line)}
	}
	for _, tt := range []struct {
		name, edit string
		want       []string
	}{
		{"nothing ends it", ops + hook(`create("a", &ops);`, ""), warned(first)},
		{"no hook", ops + "int plugsched_init(void) { create(\"a\", &ops); return 0; }\n", warned(first)},
		{"what was made is removed", ops + "static void *file;\n" + hook(`file = create("a", &ops);`, "remove(file);"), nil},
		{"by its name", ops + hook(`create("a", &ops);`, `remove_entry("a");`), nil},
		{"another name", ops + hook(`create("a", &ops);`, `remove_entry("b");`), warned(first)},
		{"a static timer", show + "static struct timer t = { 0, show };\n" + hook("start(&t);", "stop(&t);"), nil},
		{"a timer", show + "static struct timer t;\n" + hook("init_timer(&t, show); start(&t);", "stop(&t);"), nil},
		{"something else is ended", ops + "static struct timer t;\n" + hook(`create("a", &ops); start(&t);`, "stop(&t);"), warned(first)},
		{"one of two", ops + "static void *file;\n" + hook(`create("a", &ops); file = create("b", &ops);`, "remove(file);"), warned(first)},
		{"by a function of its own", ops + "static void *file;\nstatic NOINLINE void end(void) { remove(file); }\n" +
			hook(`file = create("a", &ops);`, "end();"), nil},
		{"by a macro", "\n#define OPS(x) static void x##_open(void) { keep(x##_show); } static const struct ops x##_ops = { x##_open };\n" +
			"static void a_show(void) { keep(0); }\nOPS(a)\nstatic void *file;\n" + hook(`file = create("a", &a_ops);`, "remove(file);"), nil},
		{"who is told", show + hook("watch(show);", "unwatch(show);"), nil},
		{"who is told, and not to forget it", show + hook("watch(show);", "show();"), warned(first)},
		{"of a class of its own", class + "int plugsched_leaving(int force) { return force; }\n", nil},
		{"of a class without a way out", class, warned(first)},
		{"of what keeps the module loaded", owned, nil},
		{"of what does not", strings.Replace(owned, ".owner = THIS_MODULE, ", "", 1), warned(first)},
		{"and called", ops + "static void *file;\n" + hook(`show(); file = create("a", &ops);`, "remove(file);"), nil},
	} {
		p, src := plan(t, scheduler+api, scheduler+api+tt.edit)
		if diff := cmp.Diff(tt.want, append([]string(nil), p.Compare(src).Warnings...)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestCompareUndefined: what nothing defines is refused at the line that uses it, and only that.
func TestCompareUndefined(t *testing.T) {
	const api = "void nowhere(void), elsewhere(void), plugsched_data_get(void), external(void);" +
		" extern int later; extern char __this_module[];\n"
	p, src := plan(t, scheduler+api, scheduler+api+`
NOINLINE void fresh(void)
{
	elsewhere(); external(); plugsched_data_get(); keep(__this_module);
	nowhere();
	keep(&later);
}
`)
	k := p.kernel
	k.SetUnits(k.pristine, map[string]*asm.Unit{unitName: p.Source, "kernel/sched/new.c": compile(t, "void elsewhere(void) {}")})
	got := k.CompareUndefined(map[string][]string{unitName: {
		"__this_module", "elsewhere", "external", "keep", "later", "nowhere", "plugsched_data_get"}}, src)
	line := strings.Count(scheduler+api, "\n") + 5
	want := []Refusal{
		{Class: Undefined, Name: "later", File: unitName, Line: line + 1},
		{Class: Undefined, Name: "nowhere", File: unitName, Line: line},
	}
	for i := range got {
		if !strings.Contains(got[i].Why, "is used by fresh,") || got[i].Do == "" {
			t.Errorf("%+v", got[i])
		}
		got[i].Why, got[i].Do = "", ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
