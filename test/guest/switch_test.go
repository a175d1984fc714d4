// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestReturnProbe: nobody can have the return of a function whose frame is left behind
// at the context switch, neither by a kretprobe nor through ftrace.
func TestReturnProbe(t *testing.T) {
	t.Parallel()
	const (
		ret       = schedtest + "/ret"
		blacklist = "/sys/kernel/debug/kprobes/blacklist"
	)
	m := borrow(t, addSchedtest(t))
	ok(t, m, "insmod /schedtest.ko")
	name := installs(t, m, "plugsched install /scheduler.ko")
	for _, f := range []string{"__schedule", "plugsched_switch_to"} {
		if out, code := sh(t, m, "echo "+name+":"+f+" > "+ret); code == 0 || !strings.Contains(out, "Invalid argument") {
			t.Errorf("a kretprobe on the module's %s: exit code %d, expected EINVAL:\n%s", f, code, out)
		}
		if out := ok(t, m, "cat "+blacklist); !strings.Contains(out+"\n", "\t"+f+" ["+name+"]\n") {
			t.Errorf("%s is not in the kprobe blacklist:\n%s", f, lastLine(out))
		}
		if out, _ := sh(t, m, "grep '^"+f+" ' "+tracing+"/available_filter_functions"); strings.Contains(out, name) {
			t.Errorf("ftrace can trace %s", out)
		}
	}
	// Where frames are returned from, a probe is taken and sees it.
	ok(t, m, "echo "+name+":try_to_wake_up > "+ret)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		if n, err := strconv.Atoi(ok(t, m, "cat "+ret)); err != nil || n > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a kretprobe on the module's try_to_wake_up sees nothing")
		}
	}
	ok(t, m, "echo off > "+ret)
	ok(t, m, "plugsched uninstall")
	ok(t, m, "rmmod schedtest")
}
