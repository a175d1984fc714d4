// SPDX-License-Identifier: BSD-3-Clause

package live

// extDir tells of schedulers that are BPF programs (kernel/sched/ext).
const extDir = "/sys/kernel/sched_ext"

// bpfScheduler names the BPF scheduler that runs, "" if there is none.
func (h Host) bpfScheduler() string {
	state := h.text(extDir + "/state")
	if state == "" || state == "disabled" {
		return ""
	}
	if name := h.text(extDir + "/root/ops"); name != "" {
		return name
	}
	return "one that is " + state
}

const endBPF = "end it first: plugsched scx stop, with --foreign if another program has loaded it"

// checkExt refuses to change the scheduler below a BPF program that was written for
// the one that runs, and whose tasks are in queues of its own.
func (h Host) checkExt(*Module, InstallOptions) []error {
	if name := h.bpfScheduler(); name != "" {
		return obstacle(endBPF, "a BPF scheduler runs (sched_ext: %s)", name)
	}
	return nil
}
