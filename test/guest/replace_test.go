// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/live"
)

const otherMessage = "I am the other scheduler"

// status is what the tool says about a guest's kernel.
func status(t *testing.T, m *vm.Machine) *live.Status {
	t.Helper()
	var s live.Status
	if err := json.Unmarshal([]byte(ok(t, m, "plugsched status --json")), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// alone checks that the module, or the stock scheduler if the name is empty, runs
// and that no other module is loaded.
func alone(t *testing.T, m *vm.Machine, name string) {
	t.Helper()
	s := status(t, m)
	loaded := ok(t, m, "ls /sys/module | grep ^plugsched_ || true")
	if s.Name != name || s.Active != (name != "") || loaded != name {
		t.Errorf("%q runs and %q is loaded, expected only %q", s.Name, strings.Fields(loaded), name)
	}
}

// installs runs an install or a trial and returns the name of the module, which
// must be the running scheduler then.
func installs(t *testing.T, m *vm.Machine, command string) (name string) {
	t.Helper()
	ok(t, m, command)
	return nowRuns(t, m, command)
}

// nowRuns is the name of the module whose scheduler runs, after a command.
func nowRuns(t *testing.T, m *vm.Machine, command string) (name string) {
	t.Helper()
	s := status(t, m)
	if !s.Active || !strings.HasPrefix(s.Name, "plugsched_") {
		t.Fatalf("after `%s`: %+v", command, s)
	}
	return s.Name
}

// says waits until the kernel's log, which is cleared before, holds a text.
func says(t *testing.T, m *vm.Machine, text string) {
	t.Helper()
	if !await(m, func() bool { return strings.Contains(ok(t, m, "dmesg"), text) }) {
		t.Errorf("the kernel does not say %q:\n%s", text, ok(t, m, "dmesg"))
	}
}

// set writes a word to the scheduler's features.
func set(t *testing.T, m *vm.Machine, word string) {
	t.Helper()
	ok(t, m, "echo "+word+" > "+features)
}

// has checks how features are set: NAME or NO_NAME.
func has(t *testing.T, m *vm.Machine, when string, words ...string) {
	t.Helper()
	list := strings.Fields(ok(t, m, "cat "+features))
	for _, w := range words {
		if !slices.Contains(list, w) {
			t.Errorf("%s: no %s in %v", when, w, list)
		}
	}
}

// updates are the changes of the scheduler in the order in which the kernel made
// them, as "NEW<OLD"; "" is the kernel's own.
func updates(t *testing.T, m *vm.Machine) (list []string) {
	t.Helper()
	for line := range strings.Lines(ok(t, m, "dmesg | grep ' took over from ' || true")) {
		_, line, _ = strings.Cut(line, "plugsched: ")
		line, _, _ = strings.Cut(line, ": ")
		line = strings.Replace(line, " took over from ", "<", 1)
		list = append(list, strings.ReplaceAll(line, "the kernel's own scheduler", ""))
	}
	return list
}

// goesOn checks that each worker of the load progresses. A deadline task that the
// host kept from running in the middle of its budget pays for it with seconds (so
// does a group with a quota), so that all have time. What is lost, dead or has failed
// stays so.
func goesOn(t *testing.T, m *vm.Machine) {
	t.Helper()
	if out, code := sh(t, m, "schedload check --within 120"); code != 0 {
		t.Fatalf("the load does not go on:\n%s", out)
	}
}

// TestReplace: A to B to A and out, under load. Each says its own text while it is
// installed, features keep their settings by name, and the kernel's own scheduler
// never runs in between.
func TestReplace(t *testing.T) {
	t.Parallel()
	other := variant(t, otherPatch)
	for _, cpus := range []int{1, 8} {
		t.Run(fmt.Sprintf("%d CPUs", cpus), func(t *testing.T) {
			rarely(t, cpus == 8) // TestReplaceTrial does the same on 4
			m := boot(t, func(c *vm.Config) { c.CPUs = cpus; with("/other.ko", other)(c) })
			ok(t, m, "schedload start --spec light,hog=1")
			if _, code := sh(t, m, "echo PLUGSCHED_OTHER > "+features); code == 0 {
				t.Fatal("the stock kernel knows the new feature")
			}
			set(t, m, "NO_WA_WEIGHT")

			a := installs(t, m, "plugsched install /scheduler.ko")
			has(t, m, "A", "NO_WA_WEIGHT", "NO_PLUGSCHED_TEST")
			set(t, m, "PLUGSCHED_TEST")
			says(t, m, message)
			if log := ok(t, m, "dmesg"); strings.Contains(log, otherMessage) {
				t.Errorf("B says something before it is installed:\n%s", log)
			}

			b := installs(t, m, "plugsched install --replace /other.ko")
			alone(t, m, b)
			has(t, m, "B", "NO_WA_WEIGHT", "PLUGSCHED_TEST", "NO_PLUGSCHED_OTHER")
			says(t, m, otherMessage)
			if d := status(t, m).Timings.Direction; d != "replace" {
				t.Errorf("direction %q", d)
			}
			goesOn(t, m)
			set(t, m, "NO_PLUGSCHED_TEST")
			set(t, m, "PLUGSCHED_OTHER")
			set(t, m, "WA_WEIGHT")
			set(t, m, "NO_WAKEUP_PREEMPTION")

			said := func() int {
				t.Helper()
				return strings.Count(ok(t, m, "dmesg"), message)
			}
			before := said()
			if again := installs(t, m, "plugsched install --replace /scheduler.ko"); again != a || a == b {
				t.Errorf("A is %s, B is %s, then A is %s", a, b, again)
			}
			alone(t, m, a)
			has(t, m, "A again", "NO_PLUGSCHED_TEST", "WA_WEIGHT", "NO_WAKEUP_PREEMPTION")
			goesOn(t, m)
			if said() != before {
				t.Error("A speaks though its feature is off")
			}
			set(t, m, "PLUGSCHED_TEST")
			if !await(m, func() bool { return said() > before }) {
				t.Fatal("A does not speak again")
			}
			out := ok(t, m, "plugsched uninstall")
			if !strings.Contains(out, "no pointer to it") {
				t.Errorf("not verified:\n%s", out)
			}
			alone(t, m, "")
			has(t, m, "stock", "WA_WEIGHT", "NO_WAKEUP_PREEMPTION")
			set(t, m, "WAKEUP_PREEMPTION")
			if _, code := sh(t, m, "echo PLUGSCHED_TEST > "+features); code == 0 {
				t.Error("the new feature is still known")
			}
			goesOn(t, m)
			if want, got := []string{a + "<", b + "<" + a, a + "<" + b, "<" + a}, updates(t, m); !slices.Equal(got, want) {
				t.Errorf("the kernel made the updates %q, expected %q", got, want)
			}
			ok(t, m, "schedload stop")
		})
	}
}

// TestReplaceTrial: B on trial over A rolls back to A, or stays; what makes no sense
// is refused and changes nothing.
func TestReplaceTrial(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/other.ko", variant(t, otherPatch)))
	ok(t, m, "schedload start --spec light")
	a := installs(t, m, "plugsched install --replace /scheduler.ko") // over nothing
	for _, r := range []refusal{
		{"the same again", "plugsched install --replace /scheduler.ko", 3, "is the running scheduler already"},
		{"the same on trial", "plugsched try --replace --for 5s /scheduler.ko", 3, "is the running scheduler already"},
		{"without --replace", "plugsched install /other.ko", 3, "installed already (" + a + ")"},
		{"a trial without --replace", "plugsched try --for 5s /other.ko", 3, "installed already (" + a + ")"},
	} {
		r.check(t, m)
		alone(t, m, a)
	}

	set(t, m, "NO_WA_WEIGHT")
	b := installs(t, m, "plugsched try --replace --for 1h /other.ko")
	s := status(t, m)
	if len(s.Modules) != 2 || s.TrialLeft <= 0 || s.TrialLeft > time.Hour {
		t.Errorf("on trial: %+v", s)
	}
	has(t, m, "B on trial", "NO_WA_WEIGHT", "NO_PLUGSCHED_OTHER")
	refusal{"--replace during a trial", "plugsched install --replace /scheduler.ko", 3, "is on trial"}.check(t, m)
	if name := status(t, m).Name; name != b {
		t.Errorf("%s runs after what was refused, not %s", name, b)
	}
	set(t, m, "WA_WEIGHT")
	set(t, m, "PLUGSCHED_TEST")
	says(t, m, otherMessage)
	ok(t, m, "plugsched reject --reason enough")
	alone(t, m, a)
	has(t, m, "A again", "WA_WEIGHT", "PLUGSCHED_TEST")
	says(t, m, message)
	goesOn(t, m)

	// On a slow host it may be over before anybody can ask.
	ok(t, m, "plugsched try --replace --for 5s /other.ko")
	if report := rolledBack(t, m, b, 5*time.Second); !strings.HasPrefix(report, "it was not confirmed in time") {
		t.Errorf("report:\n%s", report)
	}
	if s := status(t, m); s.Name != a || s.TrialLeft != 0 {
		t.Errorf("after the trial: %+v", s)
	}

	if again := installs(t, m, "plugsched try --replace --for 1h /other.ko"); again != b {
		t.Errorf("B is %s, then %s", b, again)
	}
	ok(t, m, "plugsched confirm")
	alone(t, m, b)
	refusal{"confirmed twice", "plugsched confirm", 3, "not on trial"}.check(t, m)

	installs(t, m, "plugsched try --replace --for 1h /scheduler.ko")
	out := ok(t, m, "plugsched uninstall")
	if !strings.Contains(out, "no function, no timer and no stack leads to the module") || !strings.Contains(out, "no pointer to it") {
		t.Errorf("not verified:\n%s", out)
	}
	alone(t, m, "")
	goesOn(t, m)
	ok(t, m, "schedload stop")
	want := []string{a + "<", b + "<" + a, a + "<" + b, b + "<" + a, a + "<" + b, b + "<" + a, a + "<" + b, "<" + a}
	if got := updates(t, m); !slices.Equal(got, want) {
		t.Errorf("the kernel made the updates %q, expected %q", got, want)
	}
}
