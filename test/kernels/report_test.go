// SPDX-License-Identifier: BSD-3-Clause

//go:build kernels

package kernels

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/image"
)

// checkReport opens the page in a browser without network and looks at what its
// script makes of it.
func (a *analysed) checkReport(t *testing.T, dir string) {
	page, err := filepath.Abs(filepath.Join(dir, "boundary.html"))
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "boundary", "report", "--dir", dir, "--output", page)
	counts := a.counts()

	dom := browse(t, page, "q=schedule_tail&f=schedule_tail")
	for class, n := range a.boundary.Counts() {
		if want := fmt.Sprintf("%s %d</button>", class, n); !strings.Contains(dom, want) {
			t.Errorf("the page does not count %q", want)
		}
	}
	for _, want := range []string{
		`<h2>schedule_tail <span class="tag external">`, "is called by ret_from_fork",
		`data-role="caller">ret_from_fork<`, `data-role="chosen">schedule_tail<`, `data-role="callee"><a href="#`, ">finish_task_switch",
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
	if rows := strings.Count(dom, "<tr>"); rows < 2 || rows > 21 {
		t.Errorf("%d rows are found for schedule_tail", rows)
	}

	dom = browse(t, page, "c=init")
	if found := regexp.MustCompile(`id="found"[^>]*>(\d+) found`).FindStringSubmatch(dom); found == nil ||
		found[1] != fmt.Sprint(counts["init"]) {
		t.Errorf("%v are found of class init, want %d", found, counts["init"])
	}
	if !strings.Contains(dom, ">sched_init</a>") || strings.Contains(dom, "data-role") {
		t.Error("the list of __init functions is not that")
	}
}

// browse returns a page's document as the browser has it when its script is done.
func browse(t *testing.T, page, fragment string) string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: run scripts/setup")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := []string{"--headless", "--disable-gpu", "--user-data-dir=" + t.TempDir(), "--host-resolver-rules=MAP * ~NOTFOUND",
		"--virtual-time-budget=10000", "--dump-dom", "file://" + page + "#" + fragment}
	if os.Geteuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...) // it refuses to run as root with one
	}
	cmd := exec.CommandContext(ctx, browser, args...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, complaints.String())
	}
	dom := string(out)
	if !strings.Contains(dom, `data-ready="yes"`) {
		t.Fatalf("the page's script did not get to its end; %s", complaints.String())
	}
	before, rest, _ := strings.Cut(dom, "<script>")
	_, after, _ := strings.Cut(rest, "</script>")
	return before + after
}

// tool runs plugsched, which must succeed.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(root, "bin/plugsched"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("plugsched %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// checkCommands: the commands say of real functions and variables what is so.
func (a *analysed) checkCommands(t *testing.T, dir string) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"why schedule_tail", []string{"is external: it stays", "called by ret_from_fork"}},
		{"why wake_up_process", []string{"is interface: the kernel's is redirected", "is exported"}},
		{"why context_switch", []string{"no function of its own", "inlined into functions that move", "__schedule"}},
		{"why arch_cpu_idle", []string{"it is weak, and arch_cpu_idle (arch/" + arch.OfRelease(a.release).Name + "/kernel/"}},
		{"why schedule_tail --json", []string{`"schema": 1,`, `"class": "external"`, `"decl_file": "kernel/sched/core.c"`,
			`"text": "is called by ret_from_fork`}},
		{"why runqueues", []string{"struct rq", "is shared"}},
		{"why avenrun", []string{"is exported, so that modules may use it", "named in the scheduler by", "calc_global_load"}},
		{"why sysctl_sched_features", []string{"is private", "features.h"}},
		{"show --class table", []string{"fair_sched_class", "kernel/sched/fair.c:"}},
		{"show --class absent", []string{"context_switch", "arch_cpu_idle"}},
	} {
		out := tool(t, append(append([]string{"boundary"}, strings.Fields(c.args)...), "--dir", dir)...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("boundary %s: no %q in\n%s", c.args, want, out)
			}
		}
	}
	if out := tool(t, "boundary", "diff", dir, dir); strings.Contains(out, "->") || strings.Contains(out, "only") {
		t.Errorf("a kernel differs from itself:\n%s", out)
	}
}

// checkMembers: boundary structs knows who uses members.
func (a *analysed) checkMembers(t *testing.T, dir string) {
	if len(a.Members) == 0 {
		return
	}
	var list struct{ Structures []*image.Structure }
	cmd := exec.Command(filepath.Join(root, "bin/plugsched"), "boundary", "structs", "--json", "--dir", dir)
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range list.Structures {
		for i, m := range s.Members {
			got[s.Name+"."+m.Name] = s.Uses[i].By()
		}
	}
	for member, want := range a.Members {
		if got[member] != want {
			t.Errorf("%s is used by %q, want %q", member, got[member], want)
		}
	}
	if out := tool(t, "boundary", "structs", "rq", "--dir", dir); !strings.Contains(out, "the complete type known to the scheduler only") {
		t.Errorf("boundary structs rq says\n%s", out)
	}
}
