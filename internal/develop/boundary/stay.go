// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"context"
	"slices"
	"sort"
	"strings"

	"plugsched/internal/kernel/image"
)

// scheduleName is the one function whose sleepers are dealt with: its tail stays
// in the kernel and its head moves.
const scheduleName = "__schedule"

// staying marks what cannot move whatever reaches it.
func (d *deriver) staying(ctx context.Context) error {
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
	if err := d.sleepers(ctx); err != nil {
		return err
	}
	d.sidecarSleepers()
	return d.waiters(ctx)
}

// waitDepth is how many functions outside of the scheduler may stand between one of
// its functions and one in which a task waits for as long as user space likes. The
// wrappers of such functions are one or two deep (put_timespec64 for _copy_to_user).
// Much further up, everything that allocates memory or complains reaches them.
const waitDepth = 3

// waiters marks what any user can keep a task in, and so forbid every update: what
// users enter, and what waits for them. What only privileged users reach may move:
// being busy passes.
func (d *deriver) waiters(ctx context.Context) error {
	next := d.waiting()
	for _, n := range d.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.init {
			continue
		}
		if n.fn.UserFault && d.keepTask(n, d.callersUp(n), "may fault on memory that user space provides", false) {
			continue
		}
		for _, to := range d.branches(n.fn) {
			if _, ok := next[to]; !ok || d.nodes[to] != nil {
				continue
			}
			path := pathTo(next, to)
			if d.keepTask(n, d.callersUp(n), "calls "+strings.Join(path, ", "), d.cfg.locks(path[0])) {
				break
			}
		}
	}
	return nil
}

// keepTask marks n, which waits as why says, and its callers, if a user can get there. Lock says
// that it waits for a lock.
func (d *deriver) keepTask(n *node, chain []*node, why string, lock bool) bool {
	entry := ""
	for _, up := range chain {
		if entry = d.entry(up, lock); entry != "" {
			break
		}
	}
	if entry == "" {
		return false
	}
	for _, up := range chain {
		fact := Fact{Kind: "waits", By: n.fn.Name,
			Text: "is where any user can keep a task (" + entry + "): " + n.fn.Name + " " + why}
		switch {
		case len(up.stays) > 0:
		case up.side == nil:
			up.stays = append(up.stays, fact)
		case len(up.notes) == 0:
			up.notes = append(up.notes, fact)
		}
	}
	return true
}

// entry says how any user gets to a function at will, or "". In a lock that others
// give back, only a system call called all the time keeps a task.
func (d *deriver) entry(n *node, lock bool) string {
	if d.isSyscall(n) {
		return n.fn.Name + " is a system call"
	}
	if lock {
		return ""
	}
	if len(n.files) > 0 {
		return n.fn.Name + " is an operation of files: " + n.files[0]
	}
	for _, f := range n.callers {
		if d.nodes[f] == nil && !strings.HasPrefix(f.Section, ".init") {
			return n.fn.Name + " is called by " + describe(f)
		}
	}
	return ""
}

// waiting finds the functions outside of the scheduler that lead to one in which a
// task waits for as long as user space likes, and the next one on the way there. A
// lock is only one for who takes it.
func (d *deriver) waiting() map[*image.Function]*image.Function {
	next := map[*image.Function]*image.Function{}
	var work []*image.Function
	for _, f := range d.prog.Functions {
		if d.nodes[f] == nil && (f.UserFault || d.cfg.waits(f.Name)) {
			next[f] = nil
			if !d.cfg.locks(f.Name) {
				work = append(work, f)
			}
		}
	}
	for range waitDepth {
		var further []*image.Function
		for _, f := range work {
			for _, c := range d.callersOf(f) {
				if _, seen := next[c]; seen || d.nodes[c] != nil || d.cfg.passes(c.Name) {
					continue
				}
				next[c] = f
				further = append(further, c)
			}
		}
		work = further
	}
	return next
}

// pathTo spells the way from f to where it ends.
func pathTo(next map[*image.Function]*image.Function, f *image.Function) []string {
	var out []string
	for ; f != nil; f = next[f] {
		out = append(out, f.Name)
	}
	return out
}

// callersOf are the functions that branch to f or to the part split off it, in order
// of their addresses.
func (d *deriver) callersOf(f *image.Function) []*image.Function {
	if d.all == nil {
		d.all = map[*image.Function][]*image.Function{}
		for _, from := range d.prog.Functions {
			for _, c := range from.Calls {
				d.all[d.whole(c.To)] = append(d.all[d.whole(c.To)], d.whole(from))
			}
		}
	}
	return d.all[f]
}

// branches are the functions that f and the part split off it branch to.
func (d *deriver) branches(f *image.Function) []*image.Function {
	calls := f.Calls
	if cold := d.prog.Lookup(f.Name+".cold", f.Unit); cold != nil && d.whole(cold) == f {
		calls = slices.Concat(calls, cold.Calls)
	}
	var out []*image.Function
	for _, c := range calls {
		out = append(out, d.whole(c.To))
	}
	return out
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
// (schedule_timeout and its like).
// The frames of both are on the stacks of tasks that sleep for as long as they
// like, the idle tasks for ever.
func (d *deriver) sleepers(ctx context.Context) error {
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
	d.waits = d.sleeping(via)
	for _, n := range d.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.fn.Name == scheduleName || n.init || len(n.stays) > 0 {
			continue
		}
		if by, ok := via[n.fn]; ok {
			n.stays = append(n.stays, Fact{Kind: "sleeps", By: by,
				Text: "sleeps: it reaches __schedule through " + chain(d, via, by)})
			continue
		}
		for _, to := range d.branches(n.fn) {
			if d.waits[to] {
				n.stays = append(n.stays, Fact{Kind: "sleeps", By: to.Name, Text: "sleeps: it calls " + describe(to)})
				break
			}
		}
	}
	d.callersOfSleepers()
	return nil
}

// callersOfSleepers marks those who call a function of the scheduler that sleeps in
// one outside: their frames are on the same stack.
func (d *deriver) callersOfSleepers() {
	var work []*node
	for _, n := range d.order {
		if d.sleepsIn(n.fn) && !d.cfg.preempts(n.fn.Name) {
			work = append(work, n)
		}
	}
	for ; len(work) > 0; work = work[1:] {
		for _, f := range d.callersOf(work[0].fn) {
			n := d.nodes[f]
			if n == nil || n.init || len(n.stays) > 0 || f.Name == scheduleName || d.cfg.preempts(f.Name) {
				continue
			}
			n.stays = append(n.stays, Fact{Kind: "sleeps", By: work[0].fn.Name, Text: "sleeps: it calls " + describe(work[0].fn)})
			work = append(work, n)
		}
	}
}

// sleeping finds the functions outside of the scheduler that do nothing but wait:
// __sched functions that are no locks and call schedule, or another one of them
// (schedule_hrtimeout does).
func (d *deriver) sleeping(via map[*image.Function]string) map[*image.Function]bool {
	out := map[*image.Function]bool{}
	var work []*image.Function
	for f := range via {
		work = append(work, f)
	}
	for ; len(work) > 0; work = work[1:] {
		for _, f := range d.callersOf(work[0]) {
			if out[f] || d.nodes[f] != nil || d.cfg.locks(f.Name) || !d.prog.InRange(f.Addr, "__sched_text_start", "__sched_text_end") {
				continue
			}
			out[f] = true
			work = append(work, f)
		}
	}
	return out
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
