// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
)

// mitigations are processors and command lines for which kernels rewrite the same code in
// different ways, at boot and in each module that is loaded.
var mitigations = []struct {
	name, cpu, words string
	file, want       string // of /sys/devices/system/cpu/vulnerabilities, and part of what is in it
	symbol           string // of kernels that know the mitigation
}{
	{"none", "max,la57=off", "mitigations=off", "spectre_v2", "Vulnerable", ""},
	{"retpoline", "Skylake-Client", "spectre_v2=retpoline", "spectre_v2", "Retpolines", ""},
	{"stuffing", "Skylake-Client", "spectre_v2=retpoline retbleed=stuff", "retbleed", "Stuffing", "skl_call_thunk_template"},
	{"untrained returns", "EPYC", "retbleed=unret", "retbleed", "untrained return thunk", "retbleed_return_thunk"},
	{"safe returns", "EPYC-Milan", "mitigations=auto", "spec_rstack_overflow", "Safe RET", "srso_alias_return_thunk"},
}

// TestMitigations: whatever a kernel makes of returns, calls and indirect branches, it makes
// of the module's as of its own; schedulers come and go, and the load goes on.
func TestMitigations(t *testing.T) {
	other := variant(t, otherPatch)
	for _, c := range mitigations {
		t.Run(c.name, func(t *testing.T) {
			m := boot(t, func(cfg *vm.Config) {
				cfg.CPU, cfg.CPUs = c.cpu, 2
				cfg.Append = append(cfg.Append, strings.Fields(c.words)...)
				with("/other.ko", other)(cfg)
			})
			if _, code := sh(t, m, "grep -q ' "+c.symbol+"' /proc/kallsyms"); code != 0 {
				t.Skipf("this kernel has no %s", c.symbol)
			}
			if got := ok(t, m, "cat /sys/devices/system/cpu/vulnerabilities/"+c.file); !strings.Contains(got, c.want) {
				t.Fatalf("%s: %q, want %q", c.file, got, c.want)
			}
			ok(t, m, "schedload start --spec light")
			name := installs(t, m, "plugsched install /scheduler.ko")
			rewritten(t, m, name)
			goesOn(t, m)
			ok(t, m, "plugsched install --replace /other.ko")
			goesOn(t, m)
			ok(t, m, "plugsched uninstall")
			goesOn(t, m)
			ok(t, m, "schedload stop")
			stock(t, m)
		})
	}
}

// rewritten holds the module's code in the guest's memory against the kernel's: at the sites
// that objtool listed are the same instructions, as far as these do not depend on the place.
func rewritten(t *testing.T, m *vm.Machine, name string) {
	t.Helper()
	memory := newKcore(t, m)
	module := &code{kcore: memory, file: openELF(t, shared.project.Module())}
	module.at = func(section string) uint64 {
		return memory.number("cat /sys/module/" + name + "/sections/" + section)
	}
	kernel := &code{kcore: memory, file: openELF(t, shared.target.Vmlinux)}
	slide := memory.symbol("_text") - linked(t, kernel.file, "_text")
	kernel.at = func(section string) uint64 { return kernel.file.Section(section).Addr + slide }
	// The kernel gives its own tables back when it has booted.
	kernel.table = func(section string) []byte { return data(t, kernel.file, section) }
	module.table = func(section string) []byte {
		return memory.read(module.at(section), int(module.file.Section(section).Size))
	}
	pads := memory.pads()
	for _, table := range []string{".return_sites", ".retpoline_sites", ".call_sites"} {
		if module.file.Section(table) == nil {
			if kernel.file.Section(table) != nil {
				t.Errorf("the kernel has %s, and the module has not", table)
			}
			continue
		}
		theirs := kernel.sites(t, table, 3000)
		ours := module.sites(t, table, 1<<20)
		known, seen := map[string]int{}, map[string]int{}
		for _, s := range theirs {
			known[s.shape(table, pads)]++
		}
		for _, s := range ours {
			seen[s.shape(table, pads)]++
		}
		t.Logf("%s: %d of the module: %v; %d of the kernel: %v", table, len(ours), brief(seen), len(theirs), brief(known))
		if len(ours) < 20 || len(theirs) < 20 {
			t.Errorf("%s: only %d of the module and %d of the kernel are seen", table, len(ours), len(theirs))
		}
		for shape, n := range seen {
			if known[shape] == 0 {
				t.Errorf("%s: %d sites of the module are %s, none of the kernel's is", table, n, shape)
			}
		}
	}
}

func brief(counts map[string]int) (out []string) {
	for shape, n := range counts {
		out = append(out, fmt.Sprintf("%d %s", n, shape))
	}
	slices.Sort(out)
	return out[:min(len(out), 20)]
}

// code is a kernel's or a module's, as it is in memory.
type code struct {
	*kcore
	file  *elf.File
	at    func(section string) uint64
	table func(section string) []byte
}

// rewrite is an instruction that the kernel may rewrite.
type rewrite struct {
	addr  uint64
	bytes []byte
}

// sites are those in .text of which a table has the distances, up to a number of them.
func (c *code) sites(t *testing.T, table string, most int) (out []rewrite) {
	t.Helper()
	at, start := c.at(table), c.at(".text")
	entries := c.table(table)
	entries = entries[:min(len(entries), 4*most)]
	bytes := c.read(start, min(int(c.file.Section(".text").Size), 4<<20))
	for ; len(entries) >= 4; entries, at = entries[4:], at+4 {
		addr := at + uint64(int64(int32(binary.LittleEndian.Uint32(entries))))
		if off := addr - start; off+8 < uint64(len(bytes)) {
			out = append(out, rewrite{addr, bytes[off : off+8]})
		}
	}
	return out
}

// shape is the instruction at a site: where a direct branch goes, and otherwise its first
// bytes. For a call, it is how far before a function it goes: functions differ.
func (s rewrite) shape(table string, pads *pads) string {
	b := s.bytes
	if b[0] == 0x2e && (b[1] == 0xe8 || b[1] == 0xe9) {
		return "cs " + rewrite{s.addr + 1, append(b[1:8:8], 0)}.shape(table, pads)
	}
	if b[0] != 0xe8 && b[0] != 0xe9 {
		return fmt.Sprintf("%#x", b[0])
	}
	what := map[byte]string{0xe8: "call", 0xe9: "jmp"}[b[0]]
	to := s.addr + 5 + uint64(int64(int32(binary.LittleEndian.Uint32(b[1:]))))
	name, before := pads.find(to)
	if table == ".call_sites" {
		return fmt.Sprintf("%s %d before a function", what, before)
	}
	return fmt.Sprintf("%s %s-%d", what, name, before)
}

// kcore reads the guest's kernel memory.
type kcore struct {
	t        *testing.T
	m        *vm.Machine
	segments []elf.ProgHeader
}

func newKcore(t *testing.T, m *vm.Machine) *kcore {
	t.Helper()
	const headers = 8192
	head := dd(t, m, 0, headers)
	f, err := elf.NewFile(strings.NewReader(string(head)))
	if err != nil {
		t.Fatal("/proc/kcore: ", err)
	}
	k := &kcore{t: t, m: m}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			k.segments = append(k.segments, p.ProgHeader)
		}
	}
	return k
}

func dd(t *testing.T, m *vm.Machine, from uint64, size int) []byte {
	t.Helper()
	r, err := m.Run(t.Context(), vm.Cmd{Argv: []string{"dd", "if=/proc/kcore", "iflag=skip_bytes,count_bytes", "bs=65536",
		fmt.Sprintf("skip=%d", from), fmt.Sprintf("count=%d", size)}})
	if err != nil || r.ExitCode != 0 || len(r.Stdout) != size {
		t.Fatalf("/proc/kcore at %#x: %v, %d of %d bytes, %s", from, err, len(r.Stdout), size, r.Stderr)
	}
	return r.Stdout
}

func (k *kcore) read(addr uint64, size int) []byte {
	k.t.Helper()
	for _, s := range k.segments {
		if addr >= s.Vaddr && addr-s.Vaddr+uint64(size) <= s.Memsz {
			return dd(k.t, k.m, s.Off+addr-s.Vaddr, size)
		}
	}
	k.t.Fatalf("/proc/kcore has not %#x", addr)
	return nil
}

func (k *kcore) number(command string) uint64 {
	k.t.Helper()
	v, err := strconv.ParseUint(strings.TrimPrefix(ok(k.t, k.m, command), "0x"), 16, 64)
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

func (k *kcore) symbol(name string) uint64 {
	k.t.Helper()
	return k.number("grep -m 1 ' " + name + "$' /proc/kallsyms | cut -d' ' -f1")
}

// pads are functions, and what lies before each.
type pads struct {
	addrs []uint64
	names map[uint64]string
}

func (k *kcore) pads() *pads {
	k.t.Helper()
	p := &pads{names: map[uint64]string{}}
	for line := range strings.Lines(ok(k.t, k.m, "cat /proc/kallsyms")) {
		f := strings.Fields(line)
		addr, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil || len(f) < 3 || !strings.Contains("tTwW", f[1]) || strings.HasPrefix(f[2], "__pfx_") {
			continue
		}
		if p.names[addr] == "" || f[2] < p.names[addr] {
			p.names[addr] = f[2]
		}
	}
	for a := range p.names {
		p.addrs = append(p.addrs, a)
	}
	slices.Sort(p.addrs)
	return p
}

// find returns the first function that does not begin before an address.
func (p *pads) find(addr uint64) (name string, before uint64) {
	i, _ := slices.BinarySearch(p.addrs, addr)
	if i == len(p.addrs) {
		return "nothing", 0
	}
	return p.names[p.addrs[i]], p.addrs[i] - addr
}

func data(t *testing.T, f *elf.File, section string) []byte {
	t.Helper()
	b, err := f.Section(section).Data()
	if err != nil {
		t.Fatal(section, ": ", err)
	}
	return b
}

func openELF(t *testing.T, path string) *elf.File {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func linked(t *testing.T, f *elf.File, name string) uint64 {
	t.Helper()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(syms, func(s elf.Symbol) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no %s", name)
	}
	return syms[i].Value
}
