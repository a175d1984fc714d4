// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/module"
)

// Judgement is what Build says of the tree, as far as that shows before the module is linked.
type Judgement struct {
	// Output is what the compiler says if it does not take the tree, of which nothing else is known then. Errors are those
	// in it: there is one at least, and each has a place.
	Output string
	Errors []Diagnostic
	// Refusals are the changes that Build refuses, but for those that only have no effect.
	Refusals []bind.Refusal
	// Unseen are the changes that the preprocessor leaves out.
	Unseen []bind.Refusal
	// Effect says that the compiler makes other code than the kernel's.
	Effect bool
}

// Judge compiles the tree, applies the boundary and looks at what comes of it, as Build does before it links. It does not
// lock: the tree is a copy, or locked by the caller. That the compiler was killed, or had no room to write, is nobody's edit:
// all that it says of no place in the source is an error.
func (p *Project) Judge(ctx context.Context) (*Judgement, error) {
	in, err := p.basis(nil)
	if err != nil {
		return nil, err
	}
	units, err := p.compile(ctx, in)
	if err != nil {
		return uncompiled(err)
	}
	b, err := p.bind(ctx, in, units, (*bound).judged)
	if err != nil {
		return nil, err
	}
	return p.judge(ctx, in, b)
}

// judged says how many changes are refused, if any are.
func (b *bound) judged() (string, error) {
	if n := len(bind.Distinct(b.Refusals)); n > 0 {
		return strconv.Itoa(n) + " refused", nil
	}
	return strconv.Itoa(len(b.Changed)) + " changed", nil
}

// judge judges what the boundary has made of the units. As in a build, what it refuses is said before what only the
// code shows.
func (p *Project) judge(ctx context.Context, in *inputs, b *bound) (*Judgement, error) {
	j := &Judgement{Unseen: b.Unseen, Effect: len(b.Changed)+len(b.Added)+len(b.Removed) > 0}
	for _, r := range bind.Distinct(b.Refusals) {
		if r.Class != bind.NoEffect && !slices.Contains(b.Unseen, r) {
			j.Refusals = append(j.Refusals, r)
		}
	}
	if len(j.Refusals) > 0 {
		return j, nil
	}
	err := p.examine(ctx, in, b)
	var refused *RefusedError
	if errors.As(err, &refused) {
		j.Refusals = refused.Refusals
		return j, nil
	}
	return j, err
}

// uncompiled is the judgement of a compiler that says what is wrong and where; all else stays an error.
func uncompiled(err error) (*Judgement, error) {
	var wrong *module.CompileError
	if !errors.As(err, &wrong) {
		return nil, err
	}
	j := &Judgement{Output: wrong.Output}
	for _, d := range compilers(wrong.Output) {
		if d.Severity == Wrong && d.File != "" {
			j.Errors = append(j.Errors, d)
		}
	}
	if j.Errors == nil {
		return nil, err
	}
	return j, nil
}
