// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

// Sched is a Kernel for the package of a scheduler in BPF: the same steps, and the same guard, as for a module. What runs has the
// name by which its package knows it, or else the kernel's.
type Sched struct {
	Host    live.Host
	Package *installed.Package
}

// BPFRuns is what of a package runs in BPF, or the kernel's name for what is of none; "" if nothing does.
func BPFRuns(s *scx.Snapshot) string {
	switch {
	case s == nil || s.State == "disabled":
		return ""
	case s.Of != "":
		return s.Of
	}
	return s.Name
}

// Read implements Kernel.
func (k Sched) Read() (*live.Status, error) {
	b, err := k.Host.SCX()
	if err != nil {
		return nil, err
	}
	s := &live.Status{Name: BPFRuns(b)}
	if s.Name != "" {
		s.Active, s.TrialLeft, s.Modules = true, b.TrialLeft, []live.Loaded{{Name: s.Name}}
	}
	return s, nil
}

// options are how the package wants its scheduler to be loaded.
func (k Sched) options() scx.Options {
	b := k.Package.BPF
	return scx.Options{Partial: b.Partial, Timeout: b.Timeout, Constants: b.Constants, Of: k.Package.Module}
}

func (k Sched) object(o scx.Options) (*scx.Object, error) {
	object, err := scx.Open(k.Package.File(installed.Object))
	if err != nil {
		return nil, err
	}
	return object, object.Check(o)
}

// Check implements Kernel. There is no module to look at.
func (k Sched) Check(_ *live.Module, o live.InstallOptions) error {
	opt := k.options()
	opt.Trial = o.Trial
	if _, err := k.object(opt); err != nil {
		return err
	}
	b, err := k.Host.SCX()
	switch {
	case err != nil:
		return err
	case b == nil:
		return &scx.UnsupportedError{}
	}
	return k.Host.CheckNoModule()
}

// Install implements Kernel. In BPF one that replaces another begins when that has ended; the way back is to the kernel's own.
func (k Sched) Install(ctx context.Context, _ *live.Module, o live.InstallOptions) (*live.Status, error) {
	opt := k.options()
	opt.Trial = o.Trial
	object, err := k.object(opt)
	if err != nil {
		return nil, err
	}
	return k.alone(func() error {
		if err := k.Host.CheckNoModule(); err != nil {
			return err
		}
		if o.Replace {
			if _, err := scx.Stop(ctx, false); err != nil {
				return err
			}
		}
		err := object.Load(ctx, opt)
		if err != nil && o.Replace {
			return outcome.AfterChange(fmt.Errorf("%w; the scheduler before had ended", err))
		}
		return err
	})
}

// alone changes the machine's scheduler while nobody else does.
func (k Sched) alone(change func() error) (*live.Status, error) {
	end, err := k.Host.Alone()
	if err != nil {
		return nil, err
	}
	defer end()
	if err := change(); err != nil {
		return nil, err
	}
	return k.Read()
}

// Settle implements Kernel.
func (k Sched) Settle(ctx context.Context, module string, d time.Duration) error {
	return k.Host.SettleBPF(ctx, module, d)
}

// Confirm implements Kernel.
func (k Sched) Confirm(ctx context.Context, _ live.Progress) (*live.Status, error) {
	return k.alone(func() error {
		_, err := scx.Confirm(ctx)
		return err
	})
}

// Rollback implements Kernel: the kernel's own scheduler runs again.
func (k Sched) Rollback(ctx context.Context, module, _ string, _ live.Progress) (*live.Status, error) {
	return k.alone(func() error { return k.stop(ctx, module) })
}

// stop ends what is of a package; that it has ended by itself is as good.
func (k Sched) stop(ctx context.Context, of string) error {
	b, err := k.Host.SCX()
	if err != nil || BPFRuns(b) != of {
		return err
	}
	_, err = scx.Stop(ctx, false)
	var none *scx.NotRunningError
	if errors.As(err, &none) {
		return nil
	}
	return err
}

// Uninstall implements Kernel.
func (k Sched) Uninstall(ctx context.Context, _ live.UninstallOptions) (*live.Status, error) {
	return k.alone(func() error {
		_, err := scx.Stop(ctx, false)
		return err
	})
}
