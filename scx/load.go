// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Load makes the object's scheduler the running one. When it returns nil the scheduler stays until Stop, or until the
// kernel ends it; otherwise the kernel's own has all tasks, and nothing is pinned. That is so, too, when the process
// is killed: until its link is pinned a scheduler ends with the process.
//
// Errors to look for are *UnsupportedError, *RunningError, *VerifierError and *StartError.
func (o *Object) Load(ctx context.Context, opt Options) error {
	if _, err := state(); err != nil {
		return err
	}
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := mustBeFree(ctx); err != nil {
		return err
	}
	o, err = o.set(opt)
	if err != nil {
		return err
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return &PreconditionError{fmt.Errorf("the kernel's own types: %w", err)}
	}
	if err := resolveKfuncs(o.spec, kernel); err != nil {
		return err
	}
	all, err := ebpf.NewCollection(o.spec)
	if err != nil {
		return needsRoot(refusal(err))
	}
	defer all.Close()
	if err := ctx.Err(); err != nil {
		return err
	}
	return o.begin(ctx, all)
}

// mustBeFree refuses while a scheduler runs.
func mustBeFree(ctx context.Context) error {
	s, err := lookSettled(ctx)
	if err != nil {
		return err
	}
	if s.State != disabled {
		return &RunningError{Name: s.Name, Owner: s.Owner, Holders: s.Holders}
	}
	return nil
}

// begin attaches a scheduler that the verifier has taken, and pins it.
func (o *Object) begin(ctx context.Context, all *ebpf.Collection) (err error) {
	dir := filepath.Join(Pins, o.name)
	// As none runs, whatever is pinned has ended. Why it did stays, but for one of the same name.
	var none *NotRunningError
	if _, err := sweep(); err != nil && !errors.As(err, &none) {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	end := all.Maps[endMap]
	if end != nil {
		if err := end.Pin(pinned(o.name, pinEnd)); err != nil {
			return err
		}
	}
	l, err := link.AttachStructOps(link.StructOpsOptions{Map: all.Maps[o.ops]})
	if err != nil {
		return o.notBegun(ctx, err, end)
	}
	if err := o.begun(end); err != nil {
		return errors.Join(err, l.Close())
	}
	if err := l.Pin(pinned(o.name, pinLink)); err != nil {
		// It ends before its link is gone, which the kernel does when it comes to it.
		return errors.Join(err, l.Detach(), l.Close())
	}
	return l.Close()
}

// begun finds out whether a scheduler has begun. When its init fails, the kernel makes a link all the same: what went wrong
// is told to the scheduler's exit, which has been called by then (kernel/sched/ext, scx_root_enable_workfn).
func (o *Object) begun(end *ebpf.Map) error {
	s, err := state()
	if err != nil || s != disabled {
		return err
	}
	return o.startError(errors.New("the kernel has ended it"), end)
}

// notBegun finds out why the kernel does not let a scheduler begin.
func (o *Object) notBegun(ctx context.Context, err error, end *ebpf.Map) error {
	if errors.Is(err, unix.EBUSY) {
		if busy := mustBeFree(ctx); busy != nil {
			return busy // somebody else was quicker
		}
	}
	return o.startError(err, end)
}

// startError is with what the scheduler has noted of its end.
func (o *Object) startError(err error, end *ebpf.Map) error {
	e := &StartError{Name: o.name, Err: err}
	if end != nil {
		var bad error
		if e.End, bad = readEnd(o.name, end); bad != nil {
			return errors.Join(e, bad)
		}
	}
	return e
}
