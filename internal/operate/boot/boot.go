// SPDX-License-Identifier: BSD-3-Clause

// Package boot makes a package's scheduler the running one: when the package is
// installed and at each boot. A scheduler is on trial until the machine has been seen to
// work with it, and the guard remembers on disk one that did not get so far.
package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
)

// Kernel is what is asked of the running kernel: a live.Host, or for schedulers in BPF a Sched.
type Kernel interface {
	Read() (*live.Status, error)
	Check(*live.Module, live.InstallOptions) error
	Install(context.Context, *live.Module, live.InstallOptions) (*live.Status, error)
	Settle(ctx context.Context, module string, d time.Duration) error
	Confirm(context.Context, live.Progress) (*live.Status, error)
	Rollback(ctx context.Context, module, reason string, to live.Progress) (*live.Status, error)
	Uninstall(context.Context, live.UninstallOptions) (*live.Status, error)
}

// Runner loads the scheduler of one package.
type Runner struct {
	Package *installed.Package
	Kernel  Kernel
	Root    string // of the file system that holds the guard
	BootID  string
	// Trial is how long the kernel waits for the confirmation, which comes when
	// the machine was watched for Settle.
	Trial, Settle time.Duration
	Say           func(string)
	// Select is to make the package the selected one when its scheduler runs. Without it, it has to be
	// selected already.
	Select bool
}

func (r *Runner) say(format string, args ...any) {
	if r.Say != nil {
		r.Say(fmt.Sprintf(format, args...))
	}
}

// Adopt makes the package's scheduler the running one, instead of the kernel's own, of an
// earlier version of the package or of another package's. When it returns an error, the scheduler before
// runs and is selected, unless the error says otherwise.
func (r *Runner) Adopt(ctx context.Context) (*live.Status, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !r.Select {
		if err := r.selected(); err != nil {
			return nil, err
		}
		if err := r.adopt(ctx); err != nil {
			return nil, err
		}
		return r.Kernel.Read()
	}
	choice, err := choose(r.Root, r.Package)
	if err != nil {
		return nil, &live.PreconditionError{Err: fmt.Errorf("nothing was changed, because the selection cannot be written: %w", err)}
	}
	defer choice.drop()
	if err := r.adopt(ctx); err != nil {
		return nil, err
	}
	if err := choice.take(); err != nil {
		return nil, fmt.Errorf("%s is the running scheduler, but is not selected, so that the next boot begins with another: %w", r.Package, err)
	}
	return r.Kernel.Read()
}

func (r *Runner) adopt(ctx context.Context) error {
	guard, err := ReadGuard(r.Root, r.Package)
	if err != nil {
		return err
	}
	s, err := r.Kernel.Read()
	if err != nil {
		return err
	}
	if s.Active && s.Name == r.Package.Module {
		return r.resume(ctx, guard, s)
	}
	if err := r.mayReplace(guard, s); err != nil {
		return err
	}
	if why := guard.Tripped(r.Package.Module, r.BootID); why != "" {
		return &GuardError{why, r.Package.Scheduler}
	}
	o := live.InstallOptions{Progress: r.Say}
	o.Replace, o.Trial = s.Active, r.Trial
	var m *live.Module // one in BPF has none
	if r.Package.BPF == nil {
		if m, err = r.open(); err != nil {
			return err
		}
	}
	if err := r.Kernel.Check(m, o); err != nil {
		return err
	}
	if err := r.begin(guard); err != nil {
		return err
	}
	if _, err := r.Kernel.Install(ctx, m, o); err != nil {
		return r.notInstalled(ctx, guard, err)
	}
	return r.confirm(ctx, guard)
}

// open reads the package's module.
func (r *Runner) open() (*live.Module, error) {
	m, err := live.Open(r.Package.File(installed.Module))
	if err != nil {
		return nil, err
	}
	if m.Desc.Name != r.Package.Module {
		return nil, &live.PreconditionError{Err: fmt.Errorf("%s is %s, not the package's %s: install the package again", m.Path,
			m.Desc.Name, r.Package.Module)}
	}
	return m, nil
}

// mayReplace looks at the scheduler that runs, which is not the package's.
func (r *Runner) mayReplace(guard *Guard, s *live.Status) error {
	switch {
	case !s.Active:
		return nil
	case s.TrialLeft > 0:
		return &live.PreconditionError{Err: fmt.Errorf("the scheduler %s is on trial: run `plugsched confirm` or %s first", s.Name,
			r.way())}
	case !guard.Knows(s.Name) && !r.otherOwns(s.Name):
		return &live.PreconditionError{Err: fmt.Errorf("the scheduler %s runs, which is of no package here: %s it first",
			s.Name, r.way())}
	}
	return nil
}

// way is the command that ends a scheduler of the package's sort.
func (r *Runner) way() string {
	if r.Package.BPF != nil {
		return "`plugsched scx stop`"
	}
	return "`plugsched uninstall`"
}

// otherOwns reports whether another package for the kernel knows a module, in its version or an earlier one.
func (r *Runner) otherOwns(module string) bool {
	all, _ := installed.ForKernel(r.Root, r.Package.Kernels()) // one that is damaged knows nothing
	return slices.ContainsFunc(all, func(p *installed.Package) bool {
		g, _ := ReadGuard(r.Root, p)
		return p.Name != r.Package.Name && (p.Module == module || g.Knows(module))
	})
}

// resume goes on where an earlier run was ended.
func (r *Runner) resume(ctx context.Context, guard *Guard, s *live.Status) error {
	ours := guard.Attempt != nil && guard.Attempt.Module == s.Name
	switch {
	case s.TrialLeft == 0 && ours:
		return guard.Confirm()
	case s.TrialLeft == 0:
		return r.note(guard)
	case !ours:
		return &live.PreconditionError{Err: fmt.Errorf("the scheduler %s is on trial already: run `plugsched confirm` or %s first", s.Name,
			r.way())}
	}
	r.say("%s is on trial already: going on", s.Name)
	return r.confirm(ctx, guard)
}

// note lets the guard know a scheduler that somebody tried and confirmed before its package
// was installed, so that the package's next version may replace it.
func (r *Runner) note(guard *Guard) error {
	if guard.Confirmed != nil && guard.Confirmed.Module == r.Package.Module {
		return nil
	}
	if err := guard.Begin(r.attempt()); err != nil {
		return err
	}
	return guard.Confirm()
}

func (r *Runner) attempt() Attempt {
	p := r.Package
	return Attempt{Package: p.Name, Version: p.Version, Module: p.Module, BootID: r.BootID}
}

// begin notes the attempt, and has everything else on disk before something
// unknown runs.
func (r *Runner) begin(guard *Guard) error {
	if err := guard.Begin(r.attempt()); err != nil {
		return &live.PreconditionError{Err: fmt.Errorf("nothing was loaded, because the boot guard cannot be written: %w", err)}
	}
	unix.Sync()
	return nil
}

// notInstalled has the scheduler before run after an install that failed, and notes
// whose fault it was.
func (r *Runner) notInstalled(ctx context.Context, guard *Guard, err error) error {
	s, e := r.Kernel.Read()
	if e != nil {
		return errors.Join(err, e)
	}
	if loaded(s, r.Package.Module) { // it ran, and may have been rolled back already
		return r.takeBack(ctx, guard, err)
	}
	if e := guard.Withdraw(); e != nil {
		err = errors.Join(err, fmt.Errorf("the boot guard: %w", e))
	}
	return err
}

// confirm watches the machine and ends the trial.
func (r *Runner) confirm(ctx context.Context, guard *Guard) error {
	r.say("watching %s for %v", r.Package.Module, r.Settle)
	if err := r.Kernel.Settle(ctx, r.Package.Module, r.Settle); err != nil {
		return r.takeBack(ctx, guard, err)
	}
	if _, err := r.Kernel.Confirm(ctx, r.Say); err != nil && !r.confirmed() {
		return r.takeBack(ctx, guard, err)
	}
	if err := guard.Confirm(); err != nil {
		return fmt.Errorf("%s is the running scheduler, but the boot guard does not know, and will not load it at the next boot: %w",
			r.Package, err)
	}
	return nil
}

// confirmed reports whether somebody else has ended the trial.
func (r *Runner) confirmed() bool {
	s, err := r.Kernel.Read()
	return err == nil && s.Name == r.Package.Module && s.TrialLeft == 0
}

// rollbackTimeout bounds how long the way back is waited for. The kernel rolls back in any
// case, at the latest when the trial is over.
const rollbackTimeout = time.Minute

// takeBack ends the trial for the scheduler before. An interrupted trial is not the
// scheduler's fault: the guard keeps it open for this boot.
func (r *Runner) takeBack(ctx context.Context, guard *Guard, why error) error {
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if !interrupted {
		if e := guard.Fail(firstLine(why)); e != nil {
			why = errors.Join(why, fmt.Errorf("the boot guard: %w", e))
		}
	}
	s, err := r.Kernel.Read()
	if err == nil && s.Name == r.Package.Module {
		_, err = r.Kernel.Rollback(ctx, r.Package.Module, firstLine(why), r.Say)
	}
	if err != nil {
		return errors.Join(why, fmt.Errorf("rolling back failed, the kernel does it by itself when the trial is over: %w", err))
	}
	return why
}

// Remove gives the kernel its own scheduler back if the package's runs, in whatever
// version, and unloads a module of it that was rolled back. It returns nil when there was
// nothing to do.
func (r *Runner) Remove(ctx context.Context) (*live.Status, error) {
	return r.remove(ctx, func(string) bool { return false })
}

// Stop is Remove for whichever package's scheduler runs.
func (r *Runner) Stop(ctx context.Context) (*live.Status, error) { return r.remove(ctx, r.otherOwns) }

func (r *Runner) remove(ctx context.Context, also func(module string) bool) (*live.Status, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := r.Kernel.Read()
	if err != nil {
		return nil, err
	}
	// A damaged guard knows no earlier version, and does not keep this one here.
	guard, _ := ReadGuard(r.Root, r.Package)
	owns := func(module string) bool { return module == r.Package.Module || guard.Knows(module) || also(module) }
	if !slices.ContainsFunc(s.Modules, func(l live.Loaded) bool { return owns(l.Name) }) {
		return nil, nil
	}
	switch {
	case s.TrialLeft > 0:
		return nil, &live.PreconditionError{Err: fmt.Errorf("the scheduler %s is on trial: run `plugsched confirm` or %s first, or wait %v",
			s.Name, r.way(), s.TrialLeft.Round(time.Second))}
	case s.Active && !owns(s.Name):
		return nil, nil
	}
	o := live.UninstallOptions{Progress: r.Say, Verify: true}
	return r.Kernel.Uninstall(ctx, o)
}

func loaded(s *live.Status, module string) bool {
	return slices.ContainsFunc(s.Modules, func(l live.Loaded) bool { return l.Name == module })
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
