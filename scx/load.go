// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

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
	c, err := o.verified(ctx, opt)
	if err != nil {
		return err
	}
	defer c.close()
	return c.begin(ctx)
}

// verified is the object with its options when the kernel has taken its programs.
func (o *Object) verified(ctx context.Context, opt Options) (*candidate, error) {
	o, err := o.set(opt)
	if err != nil {
		return nil, err
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &PreconditionError{fmt.Errorf("the kernel's own types: %w", err)}
	}
	if err := resolveKfuncs(o.spec, kernel); err != nil {
		return nil, err
	}
	all, err := ebpf.NewCollection(o.spec)
	if err != nil {
		return nil, needsRoot(refusal(err))
	}
	c := &candidate{name: o.name, of: opt.Of, ops: all.DetachMap(o.ops), keeps: all.DetachMap(endMap), stay: map[string]*ebpf.Map{}}
	for _, name := range o.stay() {
		c.stay[name] = all.DetachMap(name)
	}
	if opt.Trial != 0 {
		c.trial, c.confirm = all.DetachMap(trialMap), all.DetachProgram(trialProgram)
	}
	all.Close()
	if err := ctx.Err(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// candidate is a scheduler that can begin. But for the first they may be nil.
type candidate struct {
	name    string
	of      string // what it is of, "" is nothing
	ops     *ebpf.Map
	keeps   *ebpf.Map // why it ended
	trial   *ebpf.Map
	confirm *ebpf.Program
	// stay are maps that are pinned while it runs, by name: with timers of its own, which the kernel cancels if no process has their map and
	// it is not pinned (kernel/bpf/helpers.c, bpf_timer_init), and those of a balancer.
	stay map[string]*ebpf.Map
}

func (c *candidate) close() {
	for _, m := range []*ebpf.Map{c.ops, c.keeps, c.trial} {
		m.Close()
	}
	c.confirm.Close()
	for _, m := range c.stay {
		m.Close()
	}
}

// stay are the names of maps that have a timer, but for that of the trial, and of those that a balancer needs.
func (o *Object) stay() (names []string) {
	for name, m := range o.spec.Maps {
		value, ok := m.Value.(*btf.Struct)
		timer := ok && slices.ContainsFunc(value.Members, func(m btf.Member) bool { return m.Type.TypeName() == "bpf_timer" })
		if name != trialMap && timer || name == membersMap || name == wishesMap || name == doneMap {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
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
func (c *candidate) begin(ctx context.Context) (err error) {
	dir := filepath.Join(Pins, c.name)
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
	if err := c.pin(); err != nil {
		return err
	}
	l, err := link.AttachStructOps(link.StructOpsOptions{Map: c.ops})
	if err != nil {
		return c.notBegun(ctx, err)
	}
	if err := c.begun(); err != nil {
		return errors.Join(err, l.Close())
	}
	if err := c.onTrial(); err != nil {
		return errors.Join(err, l.Detach(), l.Close())
	}
	if err := l.Pin(pinned(c.name, pinLink)); err != nil {
		// It ends before its link is gone, which the kernel does when it comes to it.
		return errors.Join(err, l.Detach(), l.Close())
	}
	return l.Close()
}

// pin pins what has to be there when it begins.
func (c *candidate) pin() error {
	if c.keeps != nil {
		if err := c.keeps.Pin(pinned(c.name, pinEnd)); err != nil {
			return err
		}
	}
	for name, m := range c.stay {
		if err := m.Pin(pinned(c.name, name)); err != nil {
			return err
		}
	}
	if c.of != "" {
		if err := os.Symlink(c.of, pinned(c.name, pinnedOf)); err != nil {
			return err
		}
	}
	if c.trial == nil {
		return nil
	}
	if err := c.trial.Pin(pinned(c.name, pinnedTrial)); err != nil {
		return err
	}
	return c.confirm.Pin(pinned(c.name, pinnedConfirm))
}

// onTrial finds out whether a scheduler has begun its trial, if it was to.
func (c *candidate) onTrial() error {
	if c.trial == nil {
		return nil
	}
	t, err := readTrial(c.name, c.trial)
	if err == nil && t.state == 0 {
		err = &PreconditionError{fmt.Errorf("the scheduler %s cannot be tried: its init does not call begin_trial", c.name)}
	}
	return err
}

// begun finds out whether a scheduler has begun. When its init fails, the kernel makes a link all the same: what went wrong
// is told to the scheduler's exit, which has been called by then (kernel/sched/ext, scx_root_enable_workfn).
func (c *candidate) begun() error {
	s, err := state()
	if err != nil || s != disabled {
		return err
	}
	return c.startError(errors.New("the kernel has ended it"))
}

// notBegun finds out why the kernel does not let a scheduler begin.
func (c *candidate) notBegun(ctx context.Context, err error) error {
	if errors.Is(err, unix.EBUSY) {
		if busy := mustBeFree(ctx); busy != nil {
			return busy // somebody else was quicker
		}
	}
	return c.startError(err)
}

// startError is with what the scheduler has noted of its end.
func (c *candidate) startError(err error) error {
	e := &StartError{Name: c.name, Err: err}
	if c.keeps != nil {
		var bad error
		if e.End, bad = readEnd(c.name, c.keeps); bad != nil {
			return errors.Join(e, bad)
		}
	}
	return e
}
