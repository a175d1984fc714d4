// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"plugsched/internal/operate/bpf"
)

// unwindable names tasks of a report whose stacks the kernel does not vouch for
// (runtime/sysfs.c).
var unwindable = regexp.MustCompile(`(?m)^task (\d+) \(.*\): stack cannot be unwound`)

// explain adds to a report of busy tasks the BPF programs that hide their stacks. The
// kernel's report may show a stack as far as it got; where not, it is read now: the task
// sleeps for long, or it would not have been in the way of every try.
func (h Host) explain(report string) string {
	tasks := unwindable.FindAllStringSubmatch(report, -1)
	if len(tasks) == 0 {
		return report
	}
	stacks := report
	for _, t := range tasks {
		stacks += "\n" + h.text("/proc/"+t[1]+"/stack")
	}
	found, others := h.tracers(stacks)
	if len(found) > 0 {
		report += fmt.Sprintf("\nwhat sleeps under %s cannot be inspected: end the program that attached it, then try again", bpf.Names(found))
	}
	if len(others) > 0 {
		report += fmt.Sprintf("\nwhat sleeps under %s cannot be inspected: find out with `bpftool link` who attached that",
			strings.Join(others, ", "))
	}
	return report
}

// tracers finds the BPF programs that stacks show. Only this machine's kernel can be asked.
func (h Host) tracers(stacks string) (found []bpf.Program, others []string) {
	if h.Root != "" {
		return nil, nil
	}
	list, err := bpf.AtReturns()
	if err != nil {
		list = nil // their trampolines are named nevertheless
	}
	return bpf.On(stacks, list)
}

// findTracers looks for BPF programs at the return of functions. As long as a task sleeps
// under one, every update is busy.
func (h Host) findTracers(*Module, InstallOptions) []error {
	if h.Root != "" {
		return nil
	}
	list, err := bpf.AtReturns()
	if err != nil {
		return warning("", "whether BPF programs hide stacks cannot be told: %v", err)
	}
	const fix = "end the program that attached it for the time of the update"
	var out []error
	under := h.sleepersUnder(list)
	for _, p := range list {
		if tasks := under[p.ID]; len(tasks) > 0 {
			out = append(out, obstacle(fix, "the stacks of %s cannot be inspected: they sleep under %s", fewOf(tasks), &p)...)
		} else {
			out = append(out, warning(fix, "an update is busy for as long as a task sleeps under %s", &p)...)
		}
	}
	return out
}

// sleepersUnder tells which tasks are under which programs now.
func (h Host) sleepersUnder(list []bpf.Program) map[uint32][]string {
	out := map[uint32][]string{}
	if len(list) == 0 {
		return out
	}
	files, _ := filepath.Glob(h.path("/proc/[0-9]*/task/[0-9]*/stack"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the task has ended
		}
		found, _ := bpf.On(string(text), list)
		for _, p := range found {
			out[p.ID] = append(out[p.ID], "task "+filepath.Base(filepath.Dir(f)))
		}
	}
	return out
}

// fewOf lists the first of some names.
func fewOf(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
