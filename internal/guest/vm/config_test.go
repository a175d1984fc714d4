// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch"
)

// bzImage is enough of one to be recognised.
func bzImage(t *testing.T) string {
	b := make([]byte, 0x1000)
	copy(b[0x202:], "HdrS")
	path := filepath.Join(t.TempDir(), "vmlinuz")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigMistakes(t *testing.T) {
	kernel := bzImage(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "Image")
	head := make([]byte, 4096)
	copy(head[0x38:], "ARM\x64")
	if err := os.WriteFile(foreign, head, 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"no kernel":       {Config{}, "no kernel image given"},
		"missing kernel":  {Config{Kernel: "/nonesuch"}, "/nonesuch"},
		"vmlinux":         {Config{Kernel: exe}, "give the bootable image"},
		"not a kernel":    {Config{Kernel: text}, "no bootable image"},
		"script as init":  {Config{Kernel: kernel, Init: text}, "init: " + text},
		"dynamic init":    {Config{Kernel: kernel, Init: "/bin/sh"}, "CGO_ENABLED=0"},
		"no busybox":      {Config{Kernel: kernel, Init: busybox, Busybox: text}, "busybox: " + text},
		"foreign init":    {Config{Kernel: foreign, Init: exe}, "the kernel is for arm64"},
		"accelerator":     {Config{Kernel: kernel, Init: busybox, QEMU: "/bin/true", Accel: "hax"}, `"hax"`},
		"icount with kvm": {Config{Kernel: kernel, Init: busybox, QEMU: "/bin/true", Accel: "kvm", ICount: true}, "tcg"},
		"shift alone":     {Config{Kernel: kernel, Init: busybox, QEMU: "/bin/true", ICountShift: 4}, "only with ICount"},
		"port, no disk":   {Config{Kernel: kernel, Init: busybox, QEMU: "/bin/true", SSHPort: 2222}, "needs a disk"},
		"log, no disk":    {Config{Kernel: kernel, Init: busybox, QEMU: "/bin/true", JournalLog: "x"}, "needs a disk"},
		"no modules":      {Config{Kernel: kernel, Init: busybox, QEMU: "/bin/true", Disk: "x"}, "modules"},
		"no QEMU":         {Config{Kernel: kernel, Init: busybox, QEMU: "/nonesuch"}, "apt install"},
	} {
		_, err := Boot(t.Context(), tc.cfg)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v; want one line with %q", name, err, tc.want)
		}
		var ie *InfraError
		if errors.As(err, &ie) != (name == "no QEMU") {
			t.Errorf("%s: error of type %T", name, err)
		}
	}
}

// TestStarves: an old QEMU counts for one CPU, which is said before it is started.
func TestStarves(t *testing.T) {
	kernel := bzImage(t)
	for version, want := range map[string]bool{"7.2.22": true, "8.1.0": false, "10.0.2": false} {
		qemu := filepath.Join(t.TempDir(), "qemu")
		if err := os.WriteFile(qemu, []byte("#!/bin/sh\necho QEMU emulator version "+version+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, cpus := range []int{0, 1, 2} { // 0: as many as usual
			cfg := Config{Kernel: kernel, Init: busybox, QEMU: qemu, ICount: true, CPUs: cpus}
			_, err := cfg.complete()
			var starves *StarvesError
			if errors.As(err, &starves) != (want && cpus != 1) || err != nil && starves == nil {
				t.Errorf("%s, %d CPUs: %v", version, cpus, err)
			}
		}
	}
}

// TestTopology: CPUs that are no whole number of cores and sockets are refused, and QEMU is told of both.
func TestTopology(t *testing.T) {
	for _, tt := range []struct {
		cpus, sockets, threads int
		smp                    string // "": refused
	}{{4, 0, 0, "4,sockets=1,threads=1"}, {4, 1, 2, "4,sockets=1,threads=2"}, {8, 2, 2, "8,sockets=2,threads=2"}, {4, 4, 2, ""}, {3, 1, 2, ""}} {
		c := Config{Kernel: bzImage(t), Init: busybox, CPUs: tt.cpus, Sockets: tt.sockets, Threads: tt.threads}
		a, err := c.complete()
		if (err != nil) != (tt.smp == "") {
			t.Errorf("%+v: %v", tt, err)
		}
		if err == nil && !slices.Contains(qemuArgs(&c, a), tt.smp) {
			t.Errorf("%+v: %v", tt, qemuArgs(&c, a))
		}
	}
}

func TestCommandLine(t *testing.T) {
	c := Config{NoKASLR: true, Append: []string{"quiet", "panic=0"}}
	words := c.commandLine(arch.X86)
	line := " " + strings.Join(words, " ") + " "
	for _, w := range []string{"console=ttyS0", "rdinit=/init", "PLUGSCHED_GUEST=ttyS1", "nokaslr"} {
		if !strings.Contains(line, " "+w+" ") {
			t.Errorf("%q is not in %q", w, line)
		}
	}
	if !strings.HasSuffix(line, " quiet panic=0 ") {
		t.Errorf("the user's words are not last: %q", line)
	}
	if strings.Contains(" "+strings.Join((&Config{}).commandLine(arch.X86), " ")+" ", " nokaslr ") {
		t.Error("nokaslr without being asked for")
	}
}
