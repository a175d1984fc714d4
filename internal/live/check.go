// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"slices"
	"strings"
	"time"
)

// Check finds out whether a module could be installed on this machine now. It
// changes nothing. Errors are *PreconditionError.
func Check(m *Module, o Options) error {
	if !maySysModule() {
		return precondition("loading a scheduler needs root (CAP_SYS_MODULE)")
	}
	release, err := Release()
	if err != nil {
		return err
	}
	if m.Desc.Release != release {
		return precondition("%s is for kernel %s, but %s is running: build it for this kernel", m.Path, m.Desc.Release, release)
	}
	id, err := BuildID()
	if err != nil {
		return &PreconditionError{err}
	}
	if m.Desc.BuildID != id {
		return precondition("%s is for the %s with build-id %s, but the running one's is %s: build it for this kernel", m.Path, release, m.Desc.BuildID, id)
	}
	if w := o.Watchdog; w > 0 && (w < 100*time.Millisecond || w > 24*time.Hour) {
		return precondition("a watchdog of %v: it must be from 100ms to 24h, or 0 for none", w)
	}
	list, err := loadedModules()
	if err != nil {
		return &PreconditionError{err}
	}
	active := list.active()
	if err := checkActive(m, active, o); err != nil {
		return err
	}
	if err := checkSignature(m.Signed, lockdown(), signaturesForced()); err != nil {
		return err
	}
	if err := checkLivepatches(m, active); err != nil {
		return err
	}
	if modulesDisabled() {
		return precondition("the kernel takes no modules any more (kernel.modules_disabled=1) until the next boot")
	}
	return nil
}

// checkLivepatches refuses what a livepatch would keep from taking effect. If that is
// so with the running scheduler already, as status says, nothing is lost.
func checkLivepatches(m *Module, active *Loaded) error {
	patched := livepatched(m.Desc.Replaced)
	if active != nil && len(patched) > 0 {
		known, err := active.functions()
		if err != nil {
			return &PreconditionError{err}
		}
		patched = slices.DeleteFunc(patched, func(f string) bool { return slices.Contains(known, f) })
	}
	if len(patched) > 0 {
		return precondition("a livepatch has replaced %s already: disable it first (/sys/kernel/livepatch)", strings.Join(patched, ", "))
	}
	return nil
}

// checkActive looks at the running scheduler, nil is the kernel's own.
func checkActive(m *Module, active *Loaded, o Options) error {
	switch {
	case active == nil:
		return nil
	case active.Name == m.Desc.Name:
		return precondition("%s is the running scheduler already (%s)", m.Path, active.Name)
	case !o.Replace:
		return precondition("a scheduler is installed already (%s): `--replace` takes over from it, `plugsched uninstall` removes it", active.Name)
	case active.trialLeft() > 0:
		return precondition("the running scheduler (%s) is on trial: run `plugsched confirm` or `plugsched uninstall` first", active.Name)
	}
	return nil
}
