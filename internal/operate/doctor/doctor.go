// SPDX-License-Identifier: BSD-3-Clause

// Package doctor finds all that would stop a scheduler from being installed on a
// machine, or from coming back after a reboot, and changes nothing.
package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
	"plugsched/internal/parts"
)

// Examine looks at a machine. Module is the one to be installed, nil is any; p is the
// package that it is from, nil is none.
func Examine(h live.Host, m *live.Module, p *installed.Package, o live.InstallOptions) []live.Finding {
	list := h.Findings(m, o)
	if !h.MaySysModule() {
		return list
	}
	if f := unsupported(h); f != nil && m == nil && p == nil {
		list = append(list, *f)
	}
	for _, find := range []func(live.Host, *installed.Package) *live.Finding{state, packages, guard, disabled} {
		if f := find(h, p); f != nil {
			list = append(list, *f)
		}
	}
	return list
}

// unsupported: a module that is there was built for its kernel somehow; without one, the question
// is whether it can be. Debian's kernels say in their version that they are (uname -v), and of no
// other are debug symbols, headers and source looked for.
func unsupported(h live.Host) *live.Finding {
	const file = "/proc/sys/kernel/version"
	text, err := os.ReadFile(filepath.Join("/", h.Root, file))
	switch {
	case err != nil:
		return &live.Finding{Check: "supported kernel", Problem: fmt.Sprintf("who built this kernel cannot be told: %v", err), Fix: "mount /proc"}
	case strings.Contains(string(text), "Debian "):
		return nil
	}
	problem := "this kernel is none of Debian's, and of no other are the files found by themselves: " + strings.TrimSpace(string(text))
	if release, err := h.Release(); err == nil {
		problem += "; " + parts.Missing(h.Root, release)
	}
	return &live.Finding{Check: "supported kernel", Problem: problem,
		Fix: "where modules are built " + parts.Ways + "; then name the module"}
}

// state: without its directory a package is refused, since the boot guard cannot be
// written; a module alone loses its history only.
func state(h live.Host, p *installed.Package) *live.Finding {
	if err := (history.Log{Host: h}).Writable(); err != nil {
		return &live.Finding{Check: "state", Problem: fmt.Sprintf("boot guard and history cannot be written: %v", err),
			Fix: "make " + installed.StateDir + " writable, with some space", Warning: p == nil}
	}
	return nil
}

func packages(h live.Host, _ *installed.Package) *live.Finding {
	if _, err := installed.List(h.Root); err != nil {
		return &live.Finding{Check: "packages", Problem: strings.ReplaceAll(err.Error(), "\n", "; "), Fix: "reinstall what is damaged",
			Warning: true}
	}
	return nil
}

func guard(h live.Host, p *installed.Package) *live.Finding {
	if p == nil {
		return nil
	}
	g, err := boot.ReadGuard(h.Root, p)
	var tripped *boot.GuardError
	if !errors.As(err, &tripped) && err == nil {
		tripped = &boot.GuardError{Reason: g.Tripped(p.Module, h.BootID()), Scheduler: p.Scheduler}
	}
	if tripped == nil || tripped.Reason == "" {
		return nil // or its directory is not to be used, see state
	}
	return &live.Finding{Check: "boot guard", Problem: tripped.Reason, Fix: "install another version, or " + tripped.Reset()}
}

func disabled(h live.Host, p *installed.Package) *live.Finding {
	if p == nil || !boot.Disabled(h) {
		return nil
	}
	by := "`plugsched install " + p.File(installed.Module) + "`"
	if p.BPF != nil {
		by = "`plugsched scx load " + p.File(installed.Object) + "`"
	}
	return &live.Finding{Check: "kernel command line", Problem: boot.Disable +
		" keeps packages' schedulers from being loaded in this boot", Fix: "start without it, or " + by, Warning: true}
}
