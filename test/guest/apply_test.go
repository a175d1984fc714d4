// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/develop/apply"
)

// an edit is what somebody wants of a file of a whole kernel: one text for another. In a file that there is not the old
// one is empty.
type edit struct{ file, old, new string }

// patchFor makes the mail that its author would send: of the kernel's own source, at test time.
func patchFor(t *testing.T, subject string, edits ...edit) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: Jane Doe <jane@example.org>\n" +
		"Date: Sat, 21 Nov 2026 02:53:07 +0000\nSubject: [PATCH] " + subject + "\n\nBecause.\n---\n")
	for _, e := range edits {
		dir := t.TempDir()
		was, is := filepath.Join(dir, "was"), filepath.Join(dir, "is")
		from, to, next := "/dev/null", "b/"+e.file, e.new
		if e.old != "" {
			text, err := os.ReadFile(filepath.Join(shared.target.Source, e.file))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), e.old) < 1 {
				t.Fatalf("%s has no %q", e.file, e.old)
			}
			from, next = "a/"+e.file, strings.Replace(string(text), e.old, e.new, 1)
			if err := os.WriteFile(was, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(is, []byte(next), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "diff", "-upN", "--label", from, "--label", to, was, is)
		out, err := cmd.Output()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Fatalf("%v: %v", cmd, err)
		}
		b.Write(out)
	}
	b.WriteString("-- \n2.39.5\n")
	return b.String()
}

// behind is an edit that puts text behind an anchor.
func behind(file, anchor, text string) edit { return edit{file, anchor, anchor + text} }

// applies runs `plugsched apply` on the text of patches.
func applies(t *testing.T, dir string, patches []string, flags ...string) (a *apply.Application, code int) {
	t.Helper()
	args := append([]string{"apply", "--json", "--dir", dir}, flags...)
	for _, text := range patches {
		f, err := os.CreateTemp(t.TempDir(), "*.patch")
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		args = append(args, f.Name())
	}
	return printed(t, args...)
}

// printed runs a command that prints an application.
func printed(t *testing.T, args ...string) (a *apply.Application, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shared.tool, args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	code = cmd.ProcessState.ExitCode()
	a = &apply.Application{}
	if err := json.Unmarshal(out, a); err != nil {
		t.Fatalf("exit code %d: %v\n%s\n%s", code, err, out, complaint.String())
	}
	t.Logf("exit code %d\n%s", code, complaint.String())
	return a, code
}

func head(t *testing.T, dir string) string {
	t.Helper()
	const command = `git -C "$1" rev-parse HEAD && git -C "$1" status --porcelain`
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command, "sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestApplyVerdicts: patches of the kinds that kernel developers publish, made of this kernel's own source; each part
// gets the verdict that it has to have, and a run that only looks changes nothing.
func TestApplyVerdicts(t *testing.T) {
	t.Parallel()
	const (
		core, fair = "kernel/sched/core.c", "kernel/sched/fair.c"
		updateCurr = "static void update_curr(struct cfs_rq *cfs_rq)\n{\n"
		decay      = "static u64 decay_load(u64 val, u64 n)\n{\n"
		submit     = "\tsched_submit_work(tsk);\n"
		check      = "\tif (unlikely(!cfs_rq))\n\t\treturn;\n"
		returns    = "\tif (val == 1)\n\t\treturn 0;\n"
		newerFile  = "kernel/sched/elsewhere.c"
	)
	already := patchFor(t, "sched: What this kernel has", behind(core, "void __init sched_init(void)\n{\n", "\t/* x */\n"))
	already = reversed(already)
	patches := []string{
		patchFor(t, "sched/fair: With words", edit{"Documentation/scheduler/words.rst", "", "Words.\n"}, behind(fair, updateCurr, check)),
		strings.ReplaceAll(patchFor(t, "sched/pelt: With carriage returns", behind("kernel/sched/pelt.c", decay, returns)), "\n", "\r\n"),
		patchFor(t, "sched: In schedule()", behind(core, submit, "\ttsk->nvcsw += 2;\n")),
		patchFor(t, "sched: At boot", behind(core, "\twait_bit_init();\n", "\tinit_task.nvcsw = 1;\n")),
		patchFor(t, "sched: A default", edit{"kernel/sched/features.h", "SCHED_FEAT(NEXT_BUDDY, false)", "SCHED_FEAT(NEXT_BUDDY, true)"}),
		patchFor(t, "sysctl: One more", behind("kernel/sysctl.c", "static struct ctl_table kern_table[] = {\n",
			"\t{ .procname = \"mine\", },\n")),
		patchFor(t, "proc: One line more", behind("fs/proc/array.c",
			"static inline void task_context_switch_counts(struct seq_file *m,\n\t\t\t\t\t\tstruct task_struct *p)\n{\n",
			"\tseq_puts(m, \"mine\\n\");\n")),
		patchFor(t, "arch: Two of them", behind("arch/x86/kernel/smpboot.c", "void set_cpu_sibling_map(int cpu)\n{\n",
			"\tpr_info(\"mine\\n\");\n"),
			edit{"arch/riscv/kernel/mine.c", "", "int mine;\n"}),
		already,
		strings.ReplaceAll(patchFor(t, "sched: Of a later kernel", behind(core, "void wake_up_if_idle(int cpu)\n{\n", "\tbarrier();\n")),
			core, newerFile),
		strings.ReplaceAll(patchFor(t, "sched: Of nowhere", behind(core, "void __init sched_init(void)\n{\n", "\tbarrier();\n")),
			" void __init sched_init(void)", " void __init sched_begin(void)"),
		patchFor(t, "init: Options", behind("init/Kconfig", "menu \"General setup\"\n", "\nconfig SCHED_GIFT\n\tint \"Gift\"\n\tdefault 5\n"),
			behind(fair, "static void update_curr(struct cfs_rq *cfs_rq)\n{\n", "#ifdef CONFIG_SCHED_GIFT\n\tbarrier();\n#endif\n")),
	}
	dir, _ := workbench(t)
	before := head(t, dir)
	a, code := applies(t, dir, patches, "--dry-run")
	if now := head(t, dir); now != before {
		t.Errorf("the tree has changed: %q, %q", before, now)
	}
	if code != 6 || a.Applied {
		t.Errorf("exit code %d, applied %v", code, a.Applied)
	}
	for _, want := range []struct {
		subject, file string
		verdict       apply.Verdict
		says          string
	}{
		{"sched/fair: With words", "Documentation/scheduler/words.rst", apply.Irrelevant, "documentation"},
		{"sched/fair: With words", fair, apply.Applies, ""},
		{"sched/pelt: With carriage returns", "kernel/sched/pelt.c", apply.Applies, ""},
		{"sched: In schedule()", core, apply.Cannot, "schedule stays in the kernel"},
		{"sched: At boot", core, apply.Hook, "sched_init is __init code"},
		{"sched: A default", "kernel/sched/features.h", apply.Setting, "NEXT_BUDDY"},
		{"sysctl: One more", "kernel/sysctl.c", apply.Hook, "kern_table"},
		{"proc: One line more", "fs/proc/array.c", apply.Sidecar, ""},
		{"arch: Two of them", "arch/x86/kernel/smpboot.c", apply.Sidecar, "set_cpu_sibling_map"},
		{"arch: Two of them", "arch/riscv/kernel/mine.c", apply.Irrelevant, "another architecture"},
		{"sched: What this kernel has", core, apply.Already, ""},
		{"sched: Of a later kernel", core, apply.Applies, newerFile},
		{"sched: Of nowhere", core, apply.Rejected, "sched_begin"},
		{"init: Options", "init/Kconfig", apply.Setting, "CONFIG_SCHED_GIFT"},
	} {
		found := false
		for _, p := range a.Patches {
			for _, part := range p.Parts {
				if p.Subject != want.subject || part.File != want.file {
					continue
				}
				found = true
				if part.Verdict != want.verdict || !strings.Contains(part.Why, want.says) {
					t.Errorf("%s: %s: %s %q, want %s %q", want.subject, want.file, part.Verdict, part.Why, want.verdict, want.says)
				}
			}
		}
		if !found {
			t.Errorf("%s: nothing is said of %s", want.subject, want.file)
		}
	}
}

// reversed swaps the sides of a patch that adds lines.
func reversed(text string) string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(l, "@@ -"):
			f := strings.Fields(l)
			f[1], f[2] = "-"+f[2][1:], "+"+f[1][1:]
			l = strings.Join(f, " ")
		case strings.HasPrefix(l, "+") && !strings.HasPrefix(l, "+++"):
			l = "-" + l[1:]
		}
		out = append(out, l)
	}
	return strings.Join(out, "\n")
}

// TestApply: a patch of seven files, as somebody would publish it, says what it needs; with that it is applied whole, as its
// author's commit, is built, and takes effect.
func TestApply(t *testing.T) {
	t.Parallel()
	const slack = "cat /proc/self/timerslack_ns"
	p := patchFor(t, "sched: Give children slack",
		edit{"Documentation/scheduler/gift.rst", "", "Gifts\n=====\n"},
		behind("init/Kconfig", "menu \"General setup\"\n", "\nconfig SCHED_GIFT\n\tint \"Slack of children\"\n\tdefault 5\n"),
		behind("include/linux/sched.h", "asmlinkage void schedule(void);\n", "extern unsigned long sched_gift(void);\n"),
		behind("kernel/fork.c", "\tretval = sched_fork(clone_flags, p);\n", "\tp->timer_slack_ns = sched_gift();\n"),
		behind("kernel/sched/Makefile", "KCSAN_SANITIZE := n\n", "obj-y += gift.o\n"),
		edit{"kernel/sched/gift.c", "", "// SPDX-License-Identifier: GPL-2.0\n#include <linux/sched.h>\n\n#ifdef CONFIG_SCHED_GIFT\n" +
			"unsigned long sched_gift(void)\n{\n\treturn CONFIG_SCHED_GIFT;\n}\n#endif\n"})
	dir := filepath.Join(shared.root, "build/test/apply", shared.release)
	clean := `rm -rf "$2" && mkdir -p "$(dirname "$2")" && cp -a "$1" "$2" && git -C "$2" checkout -q -f -B gift pristine`
	building.Lock()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", clean, "sh", shared.work, dir).CombinedOutput()
	building.Unlock()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := head(t, dir)
	a, code := applies(t, dir, []string{p})
	if code != 6 || a.Applied || head(t, dir) != before {
		t.Errorf("exit code %d, applied %v", code, a.Applied)
	}
	if a.Count(apply.Sidecar) != 1 || a.Count(apply.Setting) != 1 || a.Count(apply.Irrelevant) != 1 {
		t.Errorf("%+v", a.Patches[0].Parts)
	}
	a, code = applies(t, dir, []string{p}, "--sidecar", "kernel/fork.c:copy_process", "--option", "CONFIG_SCHED_GIFT=77777")
	if code != 0 || !a.Applied || !a.Patches[0].Whole || !a.Effect {
		t.Fatalf("exit code %d: %+v", code, a.Patches[0])
	}
	log, err := exec.CommandContext(t.Context(), "git", "-C", dir, "log", "-1", "--format=%an %ae %s %b", "--stat").CombinedOutput()
	const by = "Jane Doe jane@example.org sched: Give children slack Because."
	if err != nil || !strings.HasPrefix(string(log), by) || strings.Contains(string(log), "Documentation") {
		t.Errorf("%s, %v", log, err)
	}
	building.Lock()
	said, code := plugsched(t, "build", dir)
	building.Unlock()
	if code != 0 {
		t.Fatalf("build: %d\n%s", code, said)
	}
	m := boot(t, with("/gift.ko", filepath.Join(dir, "scheduler.ko")))
	if got := ok(t, m, slack); got != "50000" {
		t.Errorf("before: %s", got)
	}
	installs(t, m, "plugsched install /gift.ko")
	if got := ok(t, m, slack); got != "77777" {
		t.Errorf("while it is installed: %s", got)
	}
	ok(t, m, "plugsched uninstall")
	if got := ok(t, m, slack); got != "50000" {
		t.Errorf("after: %s", got)
	}
	stock(t, m)
}
