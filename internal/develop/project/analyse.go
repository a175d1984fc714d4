// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"cmp"
	"context"
	"fmt"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/module"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/x86"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// Analyse derives the boundary of a kernel of which only the vmlinux need be
// there. Nothing can be built in such a directory, until Init completes it.
func (p *Project) Analyse(ctx context.Context, t *fetch.Target) error {
	if err := p.claim(t); err != nil {
		return err
	}
	self, err := p.selfHash()
	if err != nil {
		return err
	}
	cfg, err := boundary.LoadConfig(p.path(configFile))
	if err != nil {
		return &Error{err.Error()}
	}
	rests, err := cfg.Fingerprint()
	if err != nil {
		return err
	}
	return p.analyse(ctx, t, cfg, "only "+t.BuildID+" "+self+"\n"+rests, false)
}

// analyse reads the vmlinux and derives what rests on it alone: the boundary and,
// for building, the rest.
func (p *Project) analyse(ctx context.Context, t *fetch.Target, cfg *boundary.Config, key string, build bool) error {
	return p.stage("analyse", "reading the kernel's binary", key, func() (string, error) {
		prog, err := image.Load(ctx, t.Vmlinux, image.Options{SourceDirs: cfg.Units(),
			Progress: func(text string) { p.event(Event{Stage: "analyse", Text: text}) }})
		if err != nil {
			return "", err
		}
		a, err := arch.Of(prog.Machine)
		if err != nil {
			return "", &Error{err.Error()}
		}
		split, err := splitSchedule(prog)
		if err != nil {
			return "", fmt.Errorf("%s: %w", t.Release, err)
		}
		b, err := boundary.Derive(prog, a, cfg, split.tail)
		if err != nil {
			return "", &Error{err.Error()}
		}
		users, err := prog.ObjectUsers(ctx, func(o *image.Object) bool { return cfg.Source(o.Unit) })
		if err != nil {
			return "", err
		}
		b.SetUsers(users)
		obstacle := cmp.Or(split.obstacle, module.Unable(prog.Symbol, b))
		switch {
		case obstacle != nil:
			b.Obstacle = obstacle.Error()
		case build:
			// What the last init proved may not hold for all of the new boundary.
			if err := removeAll(p.state(reproduceFile), p.state("reproduce.done")); err != nil {
				return "", err
			}
			if err := p.saveForBuild(prog, cfg, split.spring); err != nil {
				return "", err
			}
		}
		if err := writeJSON(p.state(boundaryFile), b); err != nil {
			return "", err
		}
		if build && obstacle != nil {
			return "", userError("%s: no module can be built for this kernel, only its boundary is there (`plugsched boundary show`): %v", t.Release, obstacle)
		}
		c := b.Counts()
		return fmt.Sprintf("%d functions, %d on the border", len(b.Functions), c[boundary.Interface]+c[boundary.Callback]), nil
	})
}

func (p *Project) saveForBuild(prog *image.Program, cfg *boundary.Config, spring *x86.Springboard) error {
	syms, err := symbols.Read(prog)
	if err != nil {
		return err
	}
	if err := syms.Save(p.state(symbolsFile)); err != nil {
		return err
	}
	if err := writeJSON(p.state(springFile), spring); err != nil {
		return err
	}
	rests, err := cfg.Fingerprint()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(p.state(configSumFile), []byte(rests), 0o644); err != nil {
		return err
	}
	return bind.KernelCode(prog, cfg.Compiled).Save(p.state(codeFile))
}

// split is __schedule at its context switch.
type split struct {
	tail     []string         // what the part behind it, which stays, can call
	spring   *x86.Springboard // nil if there is an obstacle
	obstacle error            // why the part before it cannot be replaced
}

func splitSchedule(prog *image.Program) (*split, error) {
	list := prog.Func("__schedule")
	if len(list) != 1 {
		return nil, fmt.Errorf("the kernel has %d functions __schedule", len(list))
	}
	f := list[0]
	s := &split{}
	var switches []image.Call
	for _, c := range f.Calls {
		if c.To.Name == "__switch_to_asm" {
			switches = append(switches, c)
		}
	}
	if len(switches) == 0 {
		return nil, fmt.Errorf("__schedule does not call __switch_to_asm")
	}
	var keys []uint64
	for _, c := range switches {
		r, err := prog.ReachFrom(f, c.Site)
		if err != nil {
			return nil, fmt.Errorf("__schedule behind the context switch: %w", err)
		}
		for _, g := range r.Calls {
			s.tail = append(s.tail, g.Name)
		}
		keys = append(keys, r.Keys...)
	}
	s.spring, s.obstacle = x86.ProveSpringboard(prog.Bytes(f.Addr, int(f.Size)), f.Addr, func(addr uint64) string {
		if g := prog.FuncAt(addr); g != nil && g.Addr == addr {
			return g.Name
		}
		return ""
	})
	if s.obstacle == nil && len(keys) > 0 {
		s.spring, s.obstacle = nil, fmt.Errorf("the code behind the context switch: at +%#x has a static key", keys[0]-f.Addr)
	}
	if s.obstacle != nil {
		s.obstacle = fmt.Errorf("__schedule cannot be replaced yet: %w", s.obstacle)
	}
	return s, nil
}
