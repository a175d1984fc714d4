// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// InstallOptions are what Install is told besides the module.
type InstallOptions struct {
	// Tries is how often a busy update is tried, with growing pauses; 0 means 10.
	Tries int
	// Replace allows to take over from another module.
	Replace bool
	// Trial, when not 0, makes the kernel roll back to the scheduler before by itself
	// after that time, unless Confirm comes first.
	Trial time.Duration
	// Watchdog is how long a task may wait for a CPU before the kernel rolls back by
	// itself; 0 leaves the module's default (30 s), less than 0 switches it off.
	Watchdog time.Duration
	Progress Progress
}

// Progress is told what happens; it may be nil.
type Progress func(string)

func (to Progress) sayf(format string, args ...any) {
	if to != nil {
		to(fmt.Sprintf(format, args...))
	}
}

// Install makes the module's scheduler the running one, in one step also when it
// takes over from another module. On a *PreconditionError or *BusyError the scheduler
// before runs and the module is not loaded. Another error may come after the update,
// and then says so: Uninstall takes it back.
func (h Host) Install(ctx context.Context, m *Module, o InstallOptions) (*Status, error) {
	end, err := h.begin("loading")
	if err != nil {
		return nil, err
	}
	defer end()
	defer raisePriority()()
	if err := h.Check(m, o); err != nil {
		return nil, err
	}
	list, err := h.loadedModules()
	if err != nil {
		return nil, err
	}
	if err := list.unloadIdle(ctx, o.Progress); err != nil {
		return nil, err
	}
	log := h.openLog()
	defer log.close()
	o.Progress.sayf("loading %s as %s (%d KiB)", m.Path, m.Desc.Name, len(m.image)>>10)
	if err := h.initModule(m.image); err != nil {
		return nil, h.loadError(m, err, log)
	}
	l := &Loaded{Name: m.Desc.Name, host: h}
	if err := l.takeOver(ctx, list.active(), &o); err != nil {
		if e := l.unload(context.WithoutCancel(ctx)); e != nil {
			err = errors.Join(err, e)
		}
		return nil, err
	}
	s, err := h.cleanUp(ctx, log, o.Progress)
	if err != nil {
		return s, fmt.Errorf("%s is installed, but: %w", m.Desc.Name, outcome.AfterChange(err))
	}
	return s, nil
}

// cleanUp unloads what is needed no more after an update, and verifies the update.
func (h Host) cleanUp(ctx context.Context, log *kernelLog, to Progress) (*Status, error) {
	list, err := h.loadedModules()
	if err == nil {
		err = list.unloadIdle(context.WithoutCancel(ctx), to)
	}
	if err != nil {
		return nil, err
	}
	return h.finish(log)
}

// takeOver makes a loaded module the running scheduler, instead of another one or
// of the kernel's own.
func (l *Loaded) takeOver(ctx context.Context, from *Loaded, o *InstallOptions) error {
	if o.Watchdog != 0 {
		if err := l.write("watchdog", millis(max(o.Watchdog, 0))); err != nil {
			return fmt.Errorf("%s: %w", l.file("watchdog"), err)
		}
	}
	if o.Trial != 0 {
		if err := l.write("try", millis(o.Trial)); err != nil {
			return fmt.Errorf("%s: %w", l.file("try"), err)
		}
	}
	if from != nil {
		return l.update(ctx, "replace", from.Name, o.Tries, o.Progress)
	}
	return l.update(ctx, "enable", "1", o.Tries, o.Progress)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// loadError explains why the module loader refused.
func (h Host) loadError(m *Module, err error, log *kernelLog) error {
	var said []string
	for _, r := range log.records() {
		said = append(said, r.text)
	}
	if why := signatureError(m.Signed, err, h.lockdown(), said); why != "" {
		return precondition("%s: %s", m.Path, why)
	}
	if errors.Is(err, unix.ENOMEM) {
		return outOfMemory()
	}
	hint := ""
	for _, l := range said {
		if strings.Contains(l, m.Desc.Name+":") {
			hint = " (the kernel says: " + l + ")"
		}
	}
	return precondition("%s: the kernel does not load it: %v%s", m.Path, err, hint)
}
