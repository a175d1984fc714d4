// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
)

// registration is a macro that tells the kernel of something, once.
type registration struct {
	class  Class
	macros []string // as the source has them; "*" stands for anything
	// sections are where it leaves its entries, and nothing else does; with are
	// others where it leaves something too.
	sections, with []string
	what, do       string
}

var registrations = []registration{
	{Export, []string{"EXPORT_SYMBOL*"}, []string{"__ksymtab", "___ksymtab", ".export_symbol"}, nil,
		"an export: which symbols modules may use was settled when the kernel was built", "undo the change"},
	{Syscall, []string{"SYSCALL_DEFINE*", "COMPAT_SYSCALL_DEFINE*"}, []string{"__syscalls_metadata"}, []string{"_ftrace_events"},
		"a system call: the table of system calls is in the kernel's image",
		"undo the change, and offer it through a file or a system call that exists"},
	{Parameter, []string{"module_param*", "core_param*", "__setup*", "early_param*", "__core_param*"},
		[]string{"__param", ".init.setup"}, []string{".init"},
		"a parameter: the command line was read at boot", "undo the change, and offer it through a file or sched_features"},
	{Initcall, []string{"*_initcall", "*_initcall_sync", "module_init", "module_exit", "console_initcall"}, []string{".initcall"},
		[]string{".init", ".exit"},
		"an initcall: boot is over, it would never run", doInitHook},
	{Tracepoint, []string{"TRACE_EVENT*", "DEFINE_EVENT*", "DECLARE_TRACE*", "DECLARE_EVENT_CLASS", "DEFINE_TRACE*"},
		[]string{"__tracepoints", "_ftrace_events", "_ftrace_eval_map", "__bpf_raw_tp_map"}, []string{".static_call"},
		"a tracepoint: the kernel has the list of tracepoints and their records in its image",
		"undo the change, and use trace_printk or a tracepoint that exists"},
	{StaticCall, []string{"DEFINE_STATIC_CALL*"}, []string{".static_call"}, nil,
		"a static call: its trampoline has to be in the kernel's image", "use a function pointer or a static key"},
}

func matchesMacro(pattern, macro string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(macro, rest)
	}
	if rest, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(macro, rest)
	}
	return pattern == macro
}

func (r *registration) made(e *edits.Change) bool {
	for _, m := range r.macros {
		if e.Macro != "" && matchesMacro(m, e.Macro) {
			return true
		}
	}
	return false
}

// registered refuses a new entry in a section that only the kernel's own is read
// of. One edit leaves several: they make one refusal.
func (c *comparer) registered(name, section string) {
	r := Refusal{Class: Registered, Name: name, File: c.plan.Unit,
		Why: "is new in " + section + ", which the kernel reads at boot only", Do: doInitHook}
	if initSection(section) {
		r.Class, r.Why, r.Do = Init, "is new __init code or data: boot is over, it would never run", doInitHook
		if e := c.src.Find(name, edits.Function, edits.Variable); e != nil && !e.Gone {
			r.File, r.Line = e.File, e.At
		}
	}
	best := 0
	for i := range registrations {
		g := &registrations[i]
		if best == 0 && starts(section, g.sections) {
			r.Class, r.Why, r.Do = g.class, "is new in "+section+" and makes "+g.what, g.do
		}
		for _, e := range c.src.Changes {
			if !g.made(e) || e.Gone || !starts(section, g.sections) && !starts(section, g.with) {
				continue
			}
			if n := sameName(name, e); n > best {
				r, best = g.refusal(e), n
			}
		}
	}
	for _, have := range c.out.Refusals {
		if have == r {
			return
		}
	}
	c.out.Refusals = append(c.out.Refusals, r)
}

func starts(section string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(section, p) })
}

// sameName returns how much of an entry's name comes from a macro's first
// arguments: of what the source says, the longest is meant.
func sameName(entry string, e *edits.Change) int {
	const arguments = 3
	longest, n := 0, 0
	e.Words(func(w string) bool {
		if w != e.Macro {
			n++
			if strings.Contains(entry, w) {
				longest = max(longest, len(w))
			}
		}
		return n < arguments
	})
	return longest
}

func (r *registration) refusal(e *edits.Change) Refusal {
	verb := "makes"
	if !e.New {
		verb = "changes"
	}
	return Refusal{Class: r.class, Name: fmt.Sprintf("%s(%s)", e.Macro, e.Name), File: e.File, Line: e.At, Why: verb + " " + r.what, Do: r.do}
}

// CompareExports refuses new and removed exports. They leave nothing in the
// scheduler's units: built without exports, it cannot export a second time.
func (k *Kernel) CompareExports(src *edits.Set) []Refusal {
	var out []Refusal
	g := &registrations[0]
	type export struct{ macro, name string }
	come, gone := map[export]bool{}, map[export]bool{}
	for _, e := range src.Changes {
		x := export{e.Macro, e.Name}
		come[x], gone[x] = come[x] || e.New, gone[x] || e.Gone
	}
	for _, e := range src.Changes {
		x := export{e.Macro, e.Name}
		moved := e.Gone && come[x] || e.New && gone[x]
		if e.Kind != edits.Call || !g.made(e) || moved {
			continue
		}
		r := g.refusal(e)
		if e.Gone {
			r.Why = "takes back " + g.what
		}
		out = append(out, r)
	}
	return out
}
