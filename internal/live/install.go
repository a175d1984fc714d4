// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"plugsched/internal/desc"

	"golang.org/x/sys/unix"
)

// Options for Install and Uninstall.
type Options struct {
	// Tries is how often a busy update is tried, with growing pauses; 0 means 10.
	Tries int
	// Verify makes Uninstall look through the kernel for references to the
	// module once it is gone. It takes some ten milliseconds and reads /proc/kcore.
	Verify bool
	// Progress, when set, is told what happens.
	Progress func(string)
}

func (o *Options) say(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// Check finds out whether a module could be installed on this machine now. It
// changes nothing. Errors are *PreconditionError.
func Check(m *Module) error {
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
	if s, err := Read(); err != nil {
		return &PreconditionError{err}
	} else if s.Active {
		return precondition("a scheduler is installed already: run `plugsched uninstall` first")
	}
	if err := checkSignature(m.Signed, lockdown(), signaturesForced()); err != nil {
		return err
	}
	if f := livepatched(m.Desc.Replaced); f != "" {
		return precondition("a livepatch has replaced %s already: disable it first (/sys/kernel/livepatch)", f)
	}
	if modulesDisabled() {
		return precondition("the kernel takes no modules any more (kernel.modules_disabled=1) until the next boot")
	}
	return nil
}

// Install makes the module's scheduler the running one. On an error the stock
// scheduler runs and the module is not loaded, unless the error is a *KernelFault:
// then the update was made and the kernel complained, and Uninstall takes it back.
func Install(ctx context.Context, m *Module, o Options) (*Status, error) {
	if err := Check(m); err != nil {
		return nil, err
	}
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if s, err := Read(); err != nil {
		return nil, err
	} else if s.Loaded && !s.Active {
		o.say("removing an inactive module that was left behind")
		name, err := loadedModule()
		if err != nil {
			return nil, err
		}
		if err := unload(ctx, name); err != nil {
			return nil, err
		}
	}
	defer hurry()()
	if err := checkAddresses(m.Desc.Witnesses); err != nil {
		return nil, err
	}
	log := openLog()
	defer log.close()
	o.say("loading %s (%d KiB)", m.Path, len(m.image)>>10)
	if err := unix.InitModule(m.image, ""); err != nil {
		return nil, loadError(m, err, log)
	}
	if err := toggle(ctx, "1", &o); err != nil {
		if e := unload(context.WithoutCancel(ctx), m.Desc.Name); e != nil {
			err = errors.Join(err, e)
		}
		return nil, err
	}
	return finish(log)
}

// Uninstall gives the kernel its own scheduler back and unloads the module. On
// an error the module's scheduler goes on running.
func Uninstall(ctx context.Context, o Options) (*Status, error) {
	if !maySysModule() {
		return nil, precondition("removing a scheduler needs root (CAP_SYS_MODULE)")
	}
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := Read()
	if err != nil {
		return nil, err
	}
	if !s.Loaded {
		return nil, precondition("no scheduler is installed: the kernel runs its own")
	}
	name, err := loadedModule()
	if err != nil {
		return nil, err
	}
	defer hurry()()
	log := openLog()
	defer log.close()
	where, whereErr := moduleSpan(name)
	var timings *Timings
	if s.Active {
		if err := toggle(ctx, "0", &o); err != nil {
			return nil, err
		}
		if now, err := Read(); err == nil {
			timings = now.Timings
		}
	}
	if err := unload(context.WithoutCancel(ctx), name); err != nil {
		return nil, err
	}
	functions := s.Functions
	s, err = finish(log)
	if s == nil || err != nil {
		return s, err
	}
	s.Timings = timings
	if o.Verify {
		if whereErr != nil {
			return s, fmt.Errorf("removed, but not verified: %w", whereErr)
		}
		l, err := findLeftovers(name, where, functions)
		if err != nil {
			return s, fmt.Errorf("removed, but not verified: %w", err)
		}
		s.Leftovers = l
		if l.Deadly() {
			return s, &LeftoverError{l}
		}
	}
	return s, nil
}

// toggle asks for an update and repeats while tasks are in the way. Once the
// kernel has begun it is not interrupted: either answer is final.
func toggle(ctx context.Context, value string, o *Options) error {
	tries := o.Tries
	if tries <= 0 {
		tries = 10
	}
	pause := 10 * time.Millisecond
	for try := 1; ; try++ {
		err := os.WriteFile(filepath.Join(sysfs, "enable"), []byte(value), 0)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EBUSY):
			report, _ := os.ReadFile(filepath.Join(sysfs, "busy"))
			if try >= tries {
				return &BusyError{Tries: try, Report: string(report)}
			}
			o.say("busy, trying again in %v (%d of %d)", pause, try, tries)
		case errors.Is(err, unix.EEXIST):
			return precondition("something else has hooked a function of the scheduler (kprobe, livepatch, another module): the kernel log names it")
		case errors.Is(err, unix.EALREADY):
			return precondition("somebody else has just made this change")
		case errors.Is(err, unix.ENOMEM):
			return precondition("the kernel is out of memory; nothing was changed")
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(pause*2, time.Second)
	}
}

// loadedModule returns the name of the scheduler module that is loaded.
func loadedModule() (string, error) {
	l, err := filepath.Glob("/sys/module/" + desc.NamePrefix + "*")
	if err != nil {
		return "", err
	}
	if len(l) != 1 {
		return "", fmt.Errorf("/sys/module: %d modules are called %s*, not one", len(l), desc.NamePrefix)
	}
	return filepath.Base(l[0]), nil
}

// unload removes the inactive module.
func unload(ctx context.Context, name string) error {
	var err error
	for i := 0; i < 50; i++ {
		if err = unix.DeleteModule(name, unix.O_NONBLOCK); err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("the module cannot be unloaded: %w", err)
}

// finish verifies that every CPU schedules and that the kernel did not complain.
func finish(log *kernelLog) (*Status, error) {
	if err := everyCPU(); err != nil {
		return nil, err
	}
	s, err := Read()
	if err != nil {
		return nil, err
	}
	if lines := log.complaints(); len(lines) > 0 {
		return s, &KernelFault{lines}
	}
	return s, nil
}

// loadError explains why the module loader refused.
func loadError(m *Module, err error, log *kernelLog) error {
	said := log.lines()
	if why := signatureError(m.Signed, err, lockdown(), said); why != "" {
		return precondition("%s: %s", m.Path, why)
	}
	hint := ""
	for _, l := range said {
		if strings.Contains(l, m.Desc.Name+":") {
			hint = " (the kernel says: " + l + ")"
		}
	}
	return precondition("%s: the kernel does not load it: %v%s", m.Path, err, hint)
}
