// SPDX-License-Identifier: BSD-3-Clause

package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
)

func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestExamine: what stops a package, besides what stops its module.
func TestExamine(t *testing.T) {
	p := &installed.Package{Name: "s-6.1.0-1", Scheduler: "s", Version: "1", Release: "6.1.0-1", Module: "plugsched_aa"}
	guard := installed.GuardFile(p.Name)
	for name, tt := range map[string]struct {
		file, text string
		p          *installed.Package
		check      string
		stops      bool
		want       string
	}{
		"in order":             {"/proc/uptime", "", p, "", false, ""},
		"no place for state":   {"/var/lib", "a file", p, "state", true, "cannot be written"},
		"no place, no package": {"/var/lib", "a file", nil, "state", false, "cannot be written"},
		"a damaged package":    {installed.Dir + "/x/y/" + installed.About, "{", p, "packages", false, "package.json is damaged"},
		"the guard tripped": {guard, `{"attempt": {"package": "s", "version": "1", "module": "plugsched_aa", "boot_id": "before"}}`,
			p, "boot guard", true, "not confirmed before the machine went down"},
		"the guard failed": {guard, `{"attempt": {"package": "s", "version": "1", "module": "plugsched_aa", "boot_id": "now", "failed": "task 5 was not run"}}`, p, "boot guard", true, "task 5 was not run"},
		"the guard, of another": {guard, `{"attempt": {"package": "s", "version": "0", "module": "plugsched_bb", "boot_id": "before"}}`,
			p, "", false, ""},
		"the guard, no package": {guard, `{"attempt": {"package": "s", "version": "1", "module": "plugsched_aa", "boot_id": "before"}}`,
			nil, "", false, ""},
		"another's kernel": {"/proc/sys/kernel/version", "#40~22.04.1-Ubuntu SMP\n", nil, "supported kernel", true, "none of Debian's"},
		"and what is missing": {"/proc/sys/kernel/osrelease", "6.6.9-mine\n", nil, "supported kernel", true,
			"of 6.6.9-mine this machine lacks"},
		"no /proc":             {"/proc/uptime", "", nil, "supported kernel", true, "cannot be told"},
		"its package is there": {"/proc/sys/kernel/version", "#40~22.04.1-Ubuntu SMP\n", p, "", false, ""},
		"a damaged guard":      {guard, "{", p, "boot guard", true, "is damaged"},
		"disabled":             {"/proc/cmdline", "ro plugsched.enable=0 quiet\n", p, "kernel command line", false, "plugsched.enable=0"},
	} {
		t.Run(name, func(t *testing.T) {
			h := live.Host{Root: t.TempDir()}
			put(t, h.Root, "/proc/self/status", "CapEff:\tffffffff\n")
			put(t, h.Root, "/proc/sys/kernel/random/boot_id", "now\n")
			if name == "and what is missing" {
				put(t, h.Root, "/proc/sys/kernel/version", "#1 SMP\n")
			} else if name != "no /proc" {
				put(t, h.Root, "/proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)\n")
			}
			put(t, h.Root, tt.file, tt.text)
			list := slices.DeleteFunc(Examine(h, nil, tt.p, live.InstallOptions{}), func(f live.Finding) bool {
				return !slices.Contains([]string{"state", "packages", "boot guard", "kernel command line", "supported kernel"}, f.Check)
			})
			if tt.check == "" {
				if len(list) > 0 {
					t.Errorf("%+v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Check != tt.check || list[0].Warning == tt.stops || list[0].Fix == "" ||
				!strings.Contains(list[0].Problem, tt.want) {
				t.Errorf("%+v", list)
			}
		})
	}
	// To whom root's files are closed, they are no news.
	h := live.Host{Root: t.TempDir()}
	put(t, h.Root, "/proc/self/status", "CapEff:\t0\n")
	put(t, h.Root, guard, "{")
	if list := Examine(h, nil, p, live.InstallOptions{}); len(list) != 1 || list[0].Check != "privileges" {
		t.Errorf("%+v", list)
	}
}
