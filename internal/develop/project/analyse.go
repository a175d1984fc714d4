// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"cmp"
	"context"
	"fmt"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// Analyse derives the boundary of a kernel of which only the vmlinux need be
// there. Nothing can be built in such a directory, until Init completes it.
func (p *Project) Analyse(ctx context.Context, t *fetch.Target) error {
	unlock, err := p.claim(t)
	if err != nil {
		return err
	}
	defer unlock()
	self, err := p.selfHash()
	if err != nil {
		return err
	}
	cfg, err := p.loadConfig()
	if err != nil {
		return err
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
		split, err := boundary.SplitSchedule(prog, a)
		if err != nil {
			return "", fmt.Errorf("%s: %w", t.Release, err)
		}
		b, err := boundary.Derive(ctx, prog, a, cfg, split.Tail)
		if err != nil {
			return "", &Error{err.Error()}
		}
		users, err := prog.ObjectUsers(ctx, func(o *image.Object) bool { return cfg.Source(o.Unit) })
		if err != nil {
			return "", err
		}
		b.SetUsers(users)
		records, err := prog.FrameRecords(ctx)
		if err != nil {
			return "", err
		}
		obstacle := cmp.Or(split.Obstacle, module.Unsupported(a, prog.Symbol, b), boundary.CheckRecords(b, records))
		switch {
		case obstacle != nil:
			b.Obstacle = obstacle.Error()
		case build:
			// What the last init proved may not hold for all of the new boundary.
			if err := folder.Remove(p.state(reproduceFile), p.state("reproduce.done")); err != nil {
				return "", err
			}
			if err := p.saveForBuild(prog, cfg, split.Springboard, records); err != nil {
				return "", err
			}
		}
		if err := writeJSON(p.state(boundaryFile), b); err != nil {
			return "", err
		}
		if build && obstacle != nil {
			return "", Errorf("%s: no module can be built for this kernel, only its boundary is there (`plugsched boundary show`): %v",
				t.Release, obstacle)
		}
		c := b.Counts()
		done := fmt.Sprintf("%d functions, %d on the border, %d stay because users can keep tasks in them",
			len(b.Functions), c[boundary.Interface]+c[boundary.Callback], b.Kept())
		if records != nil {
			done += fmt.Sprintf("; of %d functions that could be on a stack %d call without a frame record", records.Functions,
				len(records.Unframed))
		}
		return done, nil
	})
}

func (p *Project) saveForBuild(prog *image.Program, cfg *boundary.Config, spring *isa.Springboard, records *image.FrameRecords) error {
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
	if records != nil {
		if err := writeJSON(p.state(unframedFile), records.Unframed); err != nil {
			return err
		}
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
