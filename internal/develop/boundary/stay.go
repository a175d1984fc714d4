// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"slices"
	"sort"
	"strings"

	"plugsched/internal/kernel/image"
)

// scheduleName is the one function whose sleepers are dealt with: its tail stays
// in the kernel and its head moves.
const scheduleName = "__schedule"

// staying marks what cannot move whatever reaches it.
func (d *deriver) staying() {
	for _, n := range d.order {
		switch {
		case n.init:
			n.stays = append(n.stays, Fact{Kind: "init", Text: "is in " + n.fn.Section + ": it ran at boot and its memory is gone"})
		case !n.decl:
			n.stays = append(n.stays, Fact{Kind: "header", Text: "is declared in " + n.fn.DeclFile + ", outside of the scheduler's files"})
		case n.fn.Name != scheduleName && d.prog.InRange(n.fn.Addr, "__sched_text_start", "__sched_text_end"):
			// include/linux/sched/debug.h: __sched marks functions in which tasks wait.
			n.stays = append(n.stays, Fact{Kind: "sleeps", Text: "is marked __sched: tasks sleep in it, so that its frame is always on some stack"})
		}
	}
	d.sleepers()
	d.sidecarSleepers()
	d.waiters()
}

// waiters marks system calls that wait for user space: any user could keep such a
// frame on a stack, and so forbid every update. Whatever privileged users reach in
// another way may move: being busy passes.
func (d *deriver) waiters() {
	for _, n := range d.order {
		for _, c := range n.fn.Calls {
			if n.init || d.nodes[c.To] != nil || !d.cfg.waits(c.To.Name) {
				continue
			}
			chain := d.callersUp(n)
			if !slices.ContainsFunc(chain, d.isSyscall) {
				break
			}
			for _, up := range chain {
				fact := Fact{Kind: "waits", By: n.fn.Name,
					Text: "is part of a system call in which any user can keep a task: " + n.fn.Name + " calls " + c.To.Name}
				switch {
				case len(up.stays) > 0:
				case up.side == nil:
					up.stays = append(up.stays, fact)
				case len(up.notes) == 0:
					up.notes = append(up.notes, fact)
				}
			}
			break
		}
	}
}

func (d *deriver) isSyscall(n *node) bool {
	for _, name := range append([]string{n.fn.Name}, n.fn.Aliases...) {
		for _, prefix := range d.arch.Syscalls {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return false
}

// callersUp returns n and every scheduler function from which it is reached.
func (d *deriver) callersUp(n *node) []*node {
	chain := []*node{n}
	seen := map[*node]bool{n: true}
	for i := 0; i < len(chain); i++ {
		for _, f := range chain[i].callers {
			if up := d.nodes[f]; up != nil && !up.init && !seen[up] {
				seen[up] = true
				chain = append(chain, up)
			}
		}
	}
	return chain
}

// sleepers marks the functions that reach __schedule without leaving the
// scheduler, and those that call a kernel function which does nothing but wait
// (schedule_timeout and its like: __sched functions that call schedule directly
// and are no locks).
// The frames of both are on the stacks of tasks that sleep for as long as they
// like, the idle tasks for ever.
func (d *deriver) sleepers() {
	via := map[*image.Function]string{} // reaches __schedule, through whom
	var work []*node
	for _, n := range d.order {
		if n.fn.Name == scheduleName {
			via[n.fn] = ""
			work = append(work, n)
		}
	}
	for len(work) > 0 {
		n := work[0]
		work = work[1:]
		callers := append([]*image.Function(nil), n.callers...)
		sort.Slice(callers, func(i, j int) bool { return callers[i].Name < callers[j].Name })
		for _, c := range callers {
			cn := d.nodes[c]
			if _, seen := via[c]; seen || cn == nil || cn.init || d.cfg.preempts(c.Name) {
				continue
			}
			via[c] = n.fn.Name
			work = append(work, cn)
		}
	}
	d.waits = map[*image.Function]bool{}
	for _, f := range d.prog.Functions {
		if d.nodes[f] != nil || d.cfg.locks(f.Name) || !d.prog.InRange(f.Addr, "__sched_text_start", "__sched_text_end") {
			continue
		}
		for _, c := range f.Calls {
			if _, ok := via[c.To]; ok && d.nodes[c.To] != nil {
				d.waits[f] = true
			}
		}
	}
	for _, n := range d.order {
		if n.fn.Name == scheduleName || n.init || len(n.stays) > 0 {
			continue
		}
		if by, ok := via[n.fn]; ok {
			n.stays = append(n.stays, Fact{Kind: "sleeps", By: by,
				Text: "sleeps: it reaches __schedule through " + chain(d, via, by)})
			continue
		}
		for _, c := range n.fn.Calls {
			if d.waits[c.To] {
				n.stays = append(n.stays, Fact{Kind: "sleeps", By: c.To.Name, Text: "sleeps: it calls " + describe(c.To)})
				break
			}
		}
	}
}

// chain spells the path from name to __schedule.
func chain(d *deriver, via map[*image.Function]string, name string) string {
	path := []string{name}
	for name != "" && name != scheduleName && len(path) < 16 {
		next := ""
		for f, by := range via {
			if f.Name == name {
				next = by
			}
		}
		if next == "" {
			break
		}
		path = append(path, next)
		name = next
	}
	return strings.Join(path, ", ")
}

// override applies the project's own wishes.
func (d *deriver) override() error {
	byName := map[string]*node{}
	for _, n := range d.order {
		byName[n.fn.Name] = n
	}
	for _, dir := range d.cfg.Sources {
		if d.cfg.lines[[2]string{"sources", dir}] == 0 {
			continue // not from the project
		}
		if !slices.ContainsFunc(d.order, func(n *node) bool { return below([]string{dir}, n.fn.DeclFile) }) {
			return d.cfg.errorAt("sources", dir, "the kernel has no function from %s", dir)
		}
	}
	for _, name := range sortedKeys(d.cfg.Stay) {
		n := byName[name]
		if n == nil && d.cfg.optional[name] {
			continue
		}
		if n == nil {
			return d.cfg.errorAt("stay", name, "the kernel has no scheduler function %q%s", name, d.similar(name))
		}
		n.stays = append(n.stays, Fact{Kind: "override", Text: d.cfg.Stay[name]})
	}
	for _, name := range sortedKeys(d.cfg.Interface) {
		n := byName[name]
		if n == nil {
			return d.cfg.errorAt("interface", name, "the kernel has no scheduler function %q%s", name, d.similar(name))
		}
		if n.init || !n.decl {
			return d.cfg.errorAt("interface", name, "%s cannot be redirected: it %s", name, n.stays[0].Text)
		}
		n.stays = nil
		if why := d.unredirectable(n); why != "" {
			return d.cfg.errorAt("interface", name, "%s cannot be redirected: it %s", name, why)
		}
	}
	for _, name := range sortedKeys(d.cfg.Private) {
		if slices.ContainsFunc(d.prog.ObjectsNamed(name), d.isTable) {
			return d.cfg.errorAt("private", name, "%s is a scheduling class: tasks point at the kernel's, which is rewritten in place", name)
		}
		ours := func(o *image.Object) bool { return d.cfg.Source(o.Unit) }
		if !slices.ContainsFunc(d.prog.ObjectsNamed(name), ours) && !d.cfg.optional[name] {
			return d.cfg.errorAt("private", name, "the kernel has no scheduler variable %q", name)
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
