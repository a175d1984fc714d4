// SPDX-License-Identifier: BSD-3-Clause

package image

import "testing"

func TestBaseName(t *testing.T) {
	for in, want := range map[string]string{
		"schedule":                     "schedule",
		"finish_task_switch.isra.0":    "finish_task_switch",
		"update_load_avg.constprop.12": "update_load_avg",
		"f.part.0.isra.3.cold":         "f",
		"__schedule.cold":              "__schedule",
		"f.localalias":                 "f",
		"f.lto_priv.4":                 "f",
		"f.llvm.123456789":             "f",
		"__key.3":                      "__key.3",
		"cold":                         "cold",
		"f.coldest":                    "f.coldest",
		".cold":                        ".cold",
		".altinstr_aux+0x0":            ".altinstr_aux+0x0",
		"":                             "",
	} {
		if got := BaseName(in); got != want {
			t.Errorf("BaseName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestBound(t *testing.T) {
	for name, want := range map[string]bool{
		"__sched_text_start": true, "__sched_text_end": true, "_text": true, "_stext": true, "_etext": true,
		"__start___jump_table": true, "__softirqentry_text_end": true,
		"schedule": false, "ret_from_fork": false, "entry_SYSCALL_64": false, "bad_get_user": false,
	} {
		if got := bound.MatchString(name); got != want {
			t.Errorf("%s delimits a range: %v, want %v", name, got, want)
		}
	}
}

// TestMapping: symbols that tell code from data are none of functions, whatever prefix they have got.
func TestMapping(t *testing.T) {
	for name, want := range map[string]bool{"$x": true, "$d": true, "$d.17": true, "__kvm_nvhe_$x": true, "__kvm_nvhe_$d.3": true,
		"x": false, "f.isra.0": false, "_ZN4core3ptr5$LT$impl": false, "f$data": false} {
		if got := mapping.MatchString(name); got != want {
			t.Errorf("%s tells code from data: %v, want %v", name, got, want)
		}
	}
}
