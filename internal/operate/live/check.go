// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"plugsched/internal/outcome"
)

// Finding is something about a machine that matters to an install.
type Finding struct {
	Check   string `json:"check"` // what was looked at
	Problem string `json:"problem"`
	Fix     string `json:"fix"`
	Warning bool   `json:"warning,omitempty"` // it stops no install
}

func (f *Finding) Error() string {
	if f.Fix == "" {
		return f.Problem
	}
	return f.Problem + ": " + f.Fix
}

// Outcome implements outcome.Error.
func (*Finding) Outcome() outcome.Outcome { return outcome.Precondition }

// check looks at one thing, and takes an error for a finding. Module nil: only at the
// machine.
type check struct {
	name string
	find func(Host, *Module, InstallOptions) []error
}

// preconditions are looked at before every install, in this order.
var preconditions = []check{
	{"privileges", Host.checkPrivileges},
	{"kernel", Host.checkKernel},
	{"options", Host.checkOptions},
	{"running scheduler", Host.checkRunning},
	{"signature", Host.checkSignature},
	{"livepatch", Host.checkLivepatches},
	{"sched_ext", Host.checkExt},
	{"module loading", Host.checkModules},
	{"addresses", Host.checkAddresses},
}

// Check finds out whether a module could be installed on this machine now. It
// changes nothing. Errors are *PreconditionError.
func (h Host) Check(m *Module, o InstallOptions) error {
	for _, c := range preconditions {
		if errs := c.find(h, m, o); len(errs) > 0 {
			return &PreconditionError{errs[0]}
		}
	}
	return nil
}

// Findings is all that would stop an install of the module, nil is any, and what else
// is worth knowing beforehand. It changes nothing.
func (h Host) Findings(m *Module, o InstallOptions) []Finding {
	var out []Finding
	for _, c := range slices.Concat(preconditions, circumstances) {
		for _, err := range c.find(h, m, o) {
			out = append(out, asFinding(c.name, err))
		}
		if c.name == "privileges" && len(out) > 0 {
			break // what only root sees would look broken
		}
	}
	return out
}

func asFinding(check string, err error) Finding {
	f := &Finding{Problem: err.Error()}
	errors.As(err, &f)
	out := *f
	out.Check = check
	return out
}

func obstacle(fix, format string, args ...any) []error {
	return []error{&Finding{Problem: fmt.Sprintf(format, args...), Fix: fix}}
}

func warning(fix, format string, args ...any) []error {
	return []error{&Finding{Problem: fmt.Sprintf(format, args...), Fix: fix, Warning: true}}
}

func (h Host) checkPrivileges(*Module, InstallOptions) []error {
	if !h.MaySysModule() {
		return obstacle("run this as root", "loading a scheduler needs root (CAP_SYS_MODULE)")
	}
	return nil
}

const rebuild = "build it for this kernel"

func (h Host) checkKernel(m *Module, _ InstallOptions) []error {
	release, err := h.Release()
	if err != nil {
		return []error{err}
	}
	if m != nil && m.Desc.Release != release {
		return obstacle(rebuild, "%s is for kernel %s, but %s is running", m.Path, m.Desc.Release, release)
	}
	id, err := h.BuildID()
	if err != nil {
		return obstacle("a container that hides it is no place to install from", "which kernel runs cannot be told: %v", err)
	}
	if m != nil && m.Desc.BuildID != id {
		return obstacle(rebuild, "%s is for the %s with build-id %s, but the running one's is %s", m.Path, release, m.Desc.BuildID, id)
	}
	return nil
}

func (Host) checkOptions(_ *Module, o InstallOptions) []error {
	if w := o.Watchdog; w > 0 && (w < 100*time.Millisecond || w > 24*time.Hour) {
		return obstacle("it must be from 100ms to 24h, or 0 for none", "a watchdog of %v", w)
	}
	return nil
}

func (h Host) checkRunning(m *Module, o InstallOptions) []error {
	list, err := h.loadedModules()
	if err != nil {
		return []error{err}
	}
	active := list.active()
	const replace = "`--replace` takes over from it, `plugsched uninstall` removes it"
	switch {
	case active == nil:
		return nil
	case m != nil && active.Name == m.Desc.Name:
		return obstacle("there is nothing to install", "%s is the running scheduler already (%s)", m.Path, active.Name)
	case m != nil && !o.Replace:
		return obstacle(replace, "a scheduler is installed already (%s)", active.Name)
	case active.trialLeft() > 0:
		return obstacle("run `plugsched confirm` or `plugsched uninstall` first", "the running scheduler (%s) is on trial", active.Name)
	case m == nil:
		return warning(replace, "a scheduler is installed already (%s)", active.Name)
	}
	return nil
}

func (h Host) checkSignature(m *Module, _ InstallOptions) []error {
	err := signatureNeeded(h.lockdown(), h.signaturesForced())
	switch {
	case err == nil, m != nil && m.Signed:
		return nil
	case m == nil:
		err.Warning = true
	}
	return []error{err}
}

// checkLivepatches refuses what a livepatch would keep from taking effect. If that is
// so with the running scheduler already, as status says, nothing is lost.
func (h Host) checkLivepatches(m *Module, _ InstallOptions) []error {
	if m == nil {
		return nil
	}
	patched := h.livepatched(m.Desc.Replaced)
	list, err := h.loadedModules()
	if err != nil {
		return []error{err}
	}
	if active := list.active(); active != nil && len(patched) > 0 {
		known, err := active.functions()
		if err != nil {
			return []error{err}
		}
		patched = slices.DeleteFunc(patched, func(f string) bool { return slices.Contains(known, f) })
	}
	if len(patched) > 0 {
		return obstacle("disable it first (/sys/kernel/livepatch)", "a livepatch has replaced %s already", strings.Join(patched, ", "))
	}
	return nil
}

func (h Host) checkModules(*Module, InstallOptions) []error {
	if h.modulesDisabled() {
		return obstacle("it takes the next boot to change that", "the kernel takes no modules any more (kernel.modules_disabled=1)")
	}
	return nil
}

// checkAddresses makes sure that the kernel shows its symbols, and that they are as far
// apart as at link.
func (h Host) checkAddresses(m *Module, _ InstallOptions) []error {
	witnesses := map[string]uint64{"_stext": 0}
	if m != nil {
		witnesses = m.Desc.Witnesses
	}
	if err := h.matchAddresses(witnesses); err != nil {
		return []error{err}
	}
	return nil
}
