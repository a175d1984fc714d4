// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"plugsched/internal/develop/module"
	"plugsched/internal/guest/vm"
)

// full makes tests take every step that they otherwise sample.
var full = os.Getenv("FULL") == "1"

// rarely leaves out what takes too long for each `make test`.
func rarely(t *testing.T, rare bool) {
	t.Helper()
	if rare && !full {
		t.Skip("left out: only `make test-all` has the time for it")
	}
}

// rounds is how often something is repeated that meets another moment each time: a few times
// in each `make test`.
func rounds(few, all int) int {
	if full {
		return all
	}
	return few
}

// change is a command that takes a guest from one scheduler to another. Names are
// modules; "" is the kernel's own scheduler, running alone.
type change struct {
	command  string
	from, to string
}

// changes are the ones between the guest's two modules.
func changes(t *testing.T) []change {
	a, b := moduleName(t, shared.project.Module()), moduleName(t, variant(t, otherPatch))
	return []change{
		{"install /scheduler.ko", "", a},
		{"uninstall", a, ""},
		{"install --replace /other.ko", a, b},
	}
}

// begin makes the scheduler run that a change starts from, whatever ran before.
func (c change) begin(t *testing.T, m *vm.Machine) {
	t.Helper()
	command := "if [ -n \"$(ls -d /sys/module/plugsched_* 2> /dev/null)\" ]; then plugsched uninstall --verify=false; fi"
	if c.from != "" {
		command += " && plugsched install /scheduler.ko"
	}
	ok(t, m, command)
}

// oneCPU is for tests of what does not depend on the number of CPUs, and that update
// often: QEMU 7.2 may go on running a breakpoint that the kernel's text patching has
// taken away, when two virtual CPUs are at it together.
func oneCPU(c *vm.Config) { c.CPUs = 1 }

// runs checks which scheduler runs, and that no other module is loaded.
func runs(t *testing.T, m *vm.Machine, when, name string) {
	t.Helper()
	s := status(t, m)
	var loaded []string
	for _, l := range s.Modules {
		loaded = append(loaded, l.Name)
	}
	if s.Name != name || s.Active != (name != "") || strings.Join(loaded, " ") != name {
		t.Errorf("%s: %q runs and %v are loaded, expected %q alone", when, s.Name, loaded, name)
	}
}

// memory is what the kernel has allocated for itself, in KiB.
func memory(t *testing.T, m *vm.Machine) (sum int) {
	t.Helper()
	text := ok(t, m, "echo 3 > /proc/sys/vm/drop_caches; sleep 1; grep -E '^(SUnreclaim|Percpu|VmallocUsed|KernelStack):' /proc/meminfo")
	for line := range strings.Lines(text) {
		n, err := strconv.Atoi(strings.Fields(line)[1])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// TestOutOfMemory: an allocation that fails, whichever it is, leaves the scheduler
// before; the user reads one line, and what was asked for works the next time.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	const fail = schedtest + "/fail"
	m := borrow(t, both(addSchedtest(t), other(t), oneCPU))
	ok(t, m, "insmod /schedtest.ko")
	list := changes(t)
	for _, c := range list {
		c.begin(t, m)
		ok(t, m, "plugsched "+c.command)
	}
	list[0].begin(t, m)
	before := memory(t, m)
	for _, c := range list {
		c.begin(t, m)
		for n := 1; ; n += rounds(3, 1) {
			ok(t, m, fmt.Sprintf("echo '%d plugsched' > %s", n, fail))
			out, code := sh(t, m, "plugsched "+c.command)
			report := ok(t, m, "cat "+fail+"; echo off > "+fail)
			if strings.Contains(report, "failed none") {
				if code != 0 || n < 5 {
					t.Errorf("%s: %d, and no allocation %d:\n%s%s", c.command, code, n, out, report)
				}
				t.Logf("%s: there is no allocation %d", c.command, n)
				break
			}
			where := fmt.Sprintf("%s without allocation %d (%s)", c.command, n, strings.Split(report, "\n")[1])
			if last := lastLine(out); code != 3 && code != 1 || !strings.Contains(last, "memory") {
				t.Errorf("%s: exit code %d:\n%s", where, code, out)
			}
			if strings.Contains(out, ", but") {
				// Done, but the module before may stay loaded; the next command unloads it.
				if s := status(t, m); s.Name != c.to {
					t.Errorf("%s: %q runs, expected %q", where, s.Name, c.to)
				}
				c.begin(t, m)
			}
			runs(t, m, where, c.from)
			if t.Failed() {
				return // what follows would only say it again
			}
		}
		runs(t, m, c.command, c.to)
	}
	list[0].begin(t, m)
	// Dozens of updates, of which each allocates 100 KiB and more.
	if after := memory(t, m); after-before > 2048 {
		t.Errorf("the kernel has allocated %d KiB before and %d KiB after", before, after)
	}
	ok(t, m, "rmmod schedtest")
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

var stops = regexp.MustCompile(`after (\d+) stops`)

// TestKilled: the tool is killed at every system call that has an effect, before and
// after it. Status says which scheduler runs, and the next command works.
func TestKilled(t *testing.T) {
	t.Parallel()
	m := borrow(t, both(other(t), oneCPU, with("/bin/killat", filepath.Join(shared.root, "test/killat/killat"))))
	list := changes(t)
	a, b := list[0].to, list[2].to
	const samples = 6 // of each command
	for _, c := range append(list, change{"try --replace --for 1h /other.ko", a, b}, change{"confirm", a, b}) {
		begin := func() {
			t.Helper()
			c.begin(t, m)
			if c.command == "confirm" {
				ok(t, m, "plugsched try --replace --for 1h /other.ko")
			}
		}
		begin()
		out := ok(t, m, "killat -e plugsched "+c.command)
		found := stops.FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%s: killat says:\n%s", c.command, out)
		}
		total, _ := strconv.Atoi(found[1])
		step := 1
		if !full {
			step = (total + samples - 1) / samples
		}
		killed := 0
		for n := 1; n <= total; n += step {
			begin()
			out, code := sh(t, m, fmt.Sprintf("killat -e -k %d plugsched %s", n, c.command))
			if code == 0 {
				continue // a run may make fewer calls
			}
			killed++
			where := fmt.Sprintf("%s, %s", c.command, lastLine(out))
			s := status(t, m)
			if s.Name != c.from && s.Name != c.to {
				t.Errorf("%s: %q runs", where, s.Name)
			}
			next(t, m, where, s.Name, a)
		}
		if killed == 0 {
			t.Errorf("%s was never killed", c.command)
		}
		t.Logf("%s: killed at %d of %d stops", c.command, killed, total)
	}
	list[0].begin(t, m)
}

// next checks that the tool works: it goes from a scheduler that runs to the
// kernel's own, or from that one to a.
func next(t *testing.T, m *vm.Machine, after, running, a string) {
	t.Helper()
	command, to := "plugsched uninstall --verify=false", ""
	if running == "" {
		command, to = "plugsched install /scheduler.ko", a
	}
	if out, code := sh(t, m, command); code != 0 {
		t.Errorf("%s: then exit code %d:\n%s", after, code, out)
	}
	runs(t, m, after+", then "+command, to)
}

// handledNMIs is how many NMIs a guest's CPUs have handled.
func handledNMIs(t *testing.T, m *vm.Machine) (sum int, err error) {
	text, err := m.ReadFile(t.Context(), "/proc/interrupts")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if counts, found := strings.CutPrefix(strings.TrimSpace(line), "NMI:"); found {
			for _, word := range strings.Fields(counts) {
				n, err := strconv.Atoi(word)
				if err != nil {
					break // what the line is about
				}
				sum += n
			}
		}
	}
	return sum, nil
}

// storm injects NMIs until it is stopped, in volleys: their NMIs follow each other so
// closely that several hit one stopped machine, but the next volley waits until the guest
// has handled one of the last and tells so. A slow guest gets as many as it can bear.
func storm(t *testing.T, m *vm.Machine, stop <-chan struct{}) error {
	const volley = 4
	for {
		before, err := handledNMIs(t, m)
		if err != nil {
			return err
		}
		for range volley {
			if err := m.InjectNMI(t.Context()); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond)
		}
		for now := before; now == before; {
			select {
			case <-stop:
				return nil
			default:
			}
			if now, err = handledNMIs(t, m); err != nil {
				return err
			}
		}
	}
}

// TestNMI: NMIs hit at any moment of an update.
func TestNMI(t *testing.T) {
	t.Parallel()
	m := borrow(t, other(t))
	ok(t, m, "echo 0 > /proc/sys/kernel/unknown_nmi_panic; schedload start --spec light")
	begin, err := handledNMIs(t, m)
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- storm(t, m, stop) }()
	least, most, enough := 4, 20, 100
	if full {
		least, most = 20, 100
	}
	handled := 0
	for round := 0; round < least || handled < enough && round < most; round++ {
		ok(t, m, "plugsched install /scheduler.ko && plugsched install --replace /other.ko && plugsched uninstall --verify=false")
		now, err := handledNMIs(t, m)
		if err != nil {
			t.Fatal(err)
		}
		handled = now - begin
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	goesOn(t, m)
	ok(t, m, "schedload stop; echo 1 > /proc/sys/kernel/unknown_nmi_panic")
	t.Logf("%d NMIs handled, %d reported", handled, bytes.Count(m.Console(), []byte("NMI received for unknown reason")))
	if handled < enough {
		t.Errorf("%d NMIs handled: no storm", handled)
	}
}

// TestSignals: a storm of signals at any moment of a command leaves one scheduler
// whole, and the next command works.
func TestSignals(t *testing.T) {
	t.Parallel()
	m := borrow(t, both(other(t), oneCPU))
	list := changes(t)
	a := list[0].to
	delays := []string{"0", "0.05", "0.2"}
	ended := map[int]int{}
	for i, sig := range []string{"INT", "TERM", "HUP"} {
		for j, c := range list {
			for k, delay := range delays {
				if !full && (i+j+k)%len(delays) != 0 {
					continue
				}
				c.begin(t, m)
				out, code := sh(t, m, "plugsched "+c.command+" & p=$!; sleep "+delay+
					"; for i in $(seq 100); do kill -"+sig+" $p; usleep 2000; done 2> /dev/null; wait $p")
				ended[code]++
				where := fmt.Sprintf("%s, SIG%s after %s s (exit code %d: %s)", c.command, sig, delay, code, lastLine(out))
				s := status(t, m)
				if s.Name != c.from && s.Name != c.to || code == 0 && s.Name != c.to {
					t.Errorf("%s: %q runs", where, s.Name)
				}
				next(t, m, where, s.Name, a)
			}
		}
	}
	t.Logf("exit codes: %v", ended)
	list[0].begin(t, m)
}

// section is where a section's contents are in a module's file.
func section(t *testing.T, ko []byte, name string) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(name)
	if s == nil {
		t.Fatalf("no section %s", name)
	}
	return ko[s.Offset : s.Offset+s.FileSize]
}

// TestDamagedModules: what the kernel's module loader finds out late leaves nothing
// behind, and the user reads what the kernel said.
func TestDamagedModules(t *testing.T) {
	t.Parallel()
	ko, err := os.ReadFile(shared.project.Module())
	if err != nil {
		t.Fatal(err)
	}
	undefined, err := module.Undefined(shared.project.Module())
	if err != nil || len(undefined) != 1 {
		t.Fatalf("undefined symbols: %v, %v", undefined, err)
	}
	anchor := append([]byte(undefined[0]), 0)
	damage := func(change func(ko []byte)) []byte {
		damaged := bytes.Clone(ko)
		change(damaged)
		if bytes.Equal(damaged, ko) {
			t.Fatal("nothing was changed")
		}
		return damaged
	}
	cases := []struct {
		name, want string
		content    []byte
	}{
		{"cut", "truncated", ko[:len(ko)-100]},
		{"vermagic", "version magic", damage(func(ko []byte) {
			// With symbol versions, the kernel's release is not compared.
			copy(ko, bytes.Replace(ko, []byte(" mod_unload "), []byte(" mod_xnload "), 1))
		})},
		{"symbol", "Unknown symbol", damage(func(ko []byte) {
			names := section(t, ko, ".strtab")
			names[bytes.Index(names, append([]byte{0}, anchor...))+1] ^= 1
		})},
		{"relocation", "Unknown rela relocation", damage(func(ko []byte) {
			const rela, info = 24, 8
			list := section(t, ko, ".rela.text")
			binary.LittleEndian.PutUint32(list[len(list)/rela/2*rela+info:], 250)
		})},
	}
	m := borrow(t, func(c *vm.Config) {
		for _, d := range cases {
			c.Files = append(c.Files, vm.File{GuestPath: "/" + d.name + ".ko", Content: d.content})
		}
	})
	for _, d := range cases {
		out, code := sh(t, m, "plugsched install /"+d.name+".ko")
		if code != 3 || !strings.Contains(lastLine(out), d.want) {
			t.Errorf("%s: exit code %d, expected 3 and %q:\n%s", d.name, code, d.want, out)
		}
		runs(t, m, d.name, "")
	}
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
}

// hog takes the memory but for so many MiB while the tool runs a command. The tool is
// killed for memory first, then the hog; the kernel would panic if it found nobody.
const hog = `
echo -1000 > /proc/self/oom_score_adj
echo 3 > /proc/sys/vm/drop_caches
rm -f /run/full && mkfifo /run/full
n=$(awk '/MemAvailable/ { print int($2 / 1024) - %d }' /proc/meminfo)
(echo -900 > /proc/self/oom_score_adj; exec dd if=/dev/zero bs=${n}M count=1 2> /dev/null) > /run/full &
exec 3< /run/full
head -c 1 <&3 > /dev/null # dd writes when it has all
(echo 0 > /proc/self/oom_score_adj; exec plugsched %s)
c=$?
kill $! && wait $!
exit $c`

// TestLittleMemory: where the memory does not suffice, an update succeeds, fails or is
// killed; the machine goes on with one scheduler, and the tool works again.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	m := boot(t, both(other(t), oneCPU, func(c *vm.Config) { c.MemoryMiB = 384 }), complaint{kind: vm.OutOfMemory})
	list := changes(t)
	a := list[0].to
	ended := map[int]int{}
	for _, left := range []int{32, 16, 10} {
		for _, c := range list {
			c.begin(t, m)
			out, code := sh(t, m, fmt.Sprintf(hog, left, c.command))
			ended[code]++
			where := fmt.Sprintf("%s with %d MiB left (exit code %d: %s)", c.command, left, code, lastLine(out))
			s := status(t, m)
			if code == 0 && s.Name != c.to || code == 3 && s.Name != c.from || s.Name != c.from && s.Name != c.to {
				t.Errorf("%s: %q runs", where, s.Name)
			}
			next(t, m, where, s.Name, a)
		}
	}
	t.Logf("exit codes: %v", ended)
}
