// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// losePatch makes a scheduler that loses whom the host's name names.
const losePatch = "examples/broken/lose.patch"

// rollback is the file that root writes to for the way back.
const rollback = "rollback"

// A loss is a way of losing threads that the way out may need, and a way out.
type loss struct {
	how, whom string // in the host's name
	armed     string // "before" the install, "after" it, or in the last moment before the way out
	way       string // of wayOut
}

func (l loss) String() string {
	whom := strings.NewReplacer("*", "", "[0-9]", "", "/", "").Replace(l.whom)
	return strings.Join([]string{l.how, whom, l.armed, l.way}, " ")
}

const (
	toolLost = "*lose*" // the tool, or who writes to the file, when it is run by such a name
	bound    = "kworker/[0-9]*"
	unbound  = "kworker/u*"
	grace    = "rcu*"
	softirqs = "ksoftirqd*"
	ours     = "plugsched_*"
)

// wayOut is how the module comes to run, and what is done to be rid of it, in a shell
// that has its files in the working directory.
var wayOut = map[string]struct{ install, leave string }{
	"trial":    {"try --for 3s --watchdog 0s", ":"},
	"watchdog": {"install --watchdog 1s", ":"},
	"sysrq":    {"install --watchdog 0s", "echo x > /proc/sysrq-trigger"},
	"rollback": {"install --watchdog 0s", "echo why > " + rollback},
	// By hand, as long as it can; the guard is not to go first.
	"uninstall": {"try --for 8s --watchdog 2s", "($remove; echo $? > /run/removed) > /run/remove.log 2>&1 &"},
}

// losses are those that differ most: each thread, each way of losing it, and each way out.
var losses = []loss{
	{"lose", toolLost, "before", "trial"}, {"drop", toolLost, "after", "uninstall"},
	{"drop", bound, "after", "rollback"}, {"lose", bound, "before", "trial"},
	{"lose", unbound, "before", "watchdog"},
	{"drop", grace, "before", "trial"}, {"lose", grace, "after", "sysrq"}, {"lose", grace, "last", "rollback"},
	{"lose", softirqs, "before", "trial"},
	{"lose", ours, "before", "watchdog"}, {"drop", ours, "after", "watchdog"},
	{"lose", toolLost, "last", "uninstall"},
}

// allLosses is every one that somebody can notice.
func allLosses() (list []loss) {
	for _, how := range []string{"lose", "drop"} {
		for _, whom := range []string{toolLost, bound, unbound, grace, softirqs, ours} {
			for _, armed := range []string{"before", "after", "last"} {
				for way, w := range wayOut {
					if armed == "last" && w.leave == ":" {
						continue
					}
					if way == "watchdog" && how == "drop" && whom != ours {
						continue // a sleeper that is not woken is no wrong that can be seen
					}
					list = append(list, loss{how, whom, armed, way})
				}
			}
		}
	}
	return list
}

// TestLosers: a scheduler that loses the threads on which the way out might stand is
// left nevertheless; everything that was lost runs again, and so does the next one.
func TestLosers(t *testing.T) {
	t.Parallel()
	list := losses
	if full {
		list = allLosses()
	}
	ko := variant(t, losePatch)
	name := moduleName(t, ko)
	fresh := guests(t, both(with("/lose.ko", ko), with("/bin/lose-plugsched", shared.tool), addPulse))
	m := fresh()
	ok(t, m, "plugsched install /lose.ko && pulse 60 && plugsched uninstall") // the tool sees no wrong where there is none
	for _, l := range list {
		if !t.Run(l.String(), func(t *testing.T) { l.check(t, m, name) }) {
			m = fresh() // what was lost may still be
		}
	}
	if t.Failed() {
		return
	}
	ok(t, m, "plugsched install /scheduler.ko && pulse 60 && plugsched uninstall")
	stock(t, m)
}

// guests boots one guest after the other, for cases that a guest may not survive. A test
// of which so many fail has been clear enough.
func guests(t *testing.T, change func(*vm.Config)) (fresh func() *vm.Machine) {
	const most = 4
	var m *vm.Machine
	n := 0
	return func() *vm.Machine {
		t.Helper()
		if n++; n > most && !full {
			t.Fatalf("%d guests were not enough", most)
		}
		if m != nil {
			m.Close()
		}
		m = boot(t, both(change, func(c *vm.Config) {
			c.ConsoleLog = fmt.Sprintf("%s-%d.log", strings.TrimSuffix(c.ConsoleLog, ".log"), n)
		}))
		return m
	}
}

// addPulse puts the tool that makes the kernel's own threads work into a guest.
func addPulse(c *vm.Config) {
	c.Files = append(c.Files, vm.File{GuestPath: "/bin/pulse", HostPath: filepath.Join(shared.root, "test/pulse/pulse")})
}

// check loses threads, waits until the module is left, and looks for them. The guest
// waits by itself: those that are lost may be the ones that the agent needs.
func (l *loss) check(t *testing.T, m *vm.Machine, name string) {
	const patience = "600" // tenths of a second
	way, installer, remove := wayOut[l.way], "plugsched", "plugsched uninstall --verify=false"
	if l.whom == toolLost {
		installer = "lose-plugsched"
		remove = "busybox-lose sh -c 'echo 0 > /sys/module/" + name + "/plugsched/enable'"
	}
	if l.armed != "before" {
		installer = "plugsched"
	}
	script := fmt.Sprintf(`
		arm() { hostname '%s:%s'; }
		until_() { i=0; until eval "$1"; do i=$((i+1)); [ $i -lt `+patience+` ] || return 1; sleep 0.1; done; }
		no() { echo "$@"; exit 1; }
		gone() { [ ! -e /sys/module/%s ] || ! grep -qx active state 2> /dev/null; }
		dmesg -c > /dev/null; rm -f /run/installed /run/removed /run/beats
		[ %[4]s != before ] || arm
		(%[5]s %[6]s /lose.ko; echo $? > /run/installed) > /run/install.log 2>&1 &
		until_ '[ -s /sys/module/%[3]s/plugsched/state ] && cd /sys/module/%[3]s/plugsched && ! grep -qx inactive state' || no is not installed
		[ %[4]s = before ] || { until_ '[ -e /run/installed ]' || no the install does not end; }
		[ %[4]s != after ] || arm
		(pulse; echo $? > /run/beats) > /run/pulse.log 2>&1 &
		sleep 1
		[ %[4]s != last ] || arm
		%[7]s
		until_ gone || no "is still $(cat state), with $(cat try) ms left; report: $(cat report)"
		cd /; hostname guest
		until_ '[ -e /run/installed ]' || no the install does not end
		[ %[8]s != uninstall ] || until_ '[ -e /run/removed ]' || no the removal does not end
		until_ '[ -e /run/beats ]' || no what was lost does not go on
		[ "$(cat /run/beats)" = 0 ] || cat /run/pulse.log
		pulse 60`, l.how, l.whom, name, l.armed, installer, way.install, strings.Replace(way.leave, "$remove", remove, 1), l.way)
	start := time.Now()
	ok(t, m, "ln -sf $(readlink -f /bin/sh) /bin/busybox-lose")
	out, code := sh(t, m, script)
	if code != 0 || out != "" {
		said := ok(t, m, "cat /run/install.log /run/remove.log 2> /dev/null || true")
		t.Fatalf("%s\ninstall: %s\nthe guest's log:\n%s", out, said, ok(t, m, "dmesg"))
	}
	t.Logf("all is well after %v", time.Since(start).Round(100*time.Millisecond))
	if log := ok(t, m, "dmesg"); l.armed != "last" && !strings.Contains(log, "it was "+l.how+":") {
		t.Errorf("nobody was lost:\n%s", log)
	}
	ok(t, m, "[ ! -e /sys/module/"+name+" ] || plugsched uninstall")
	stock(t, m)
}
