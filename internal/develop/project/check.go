// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/module"
)

// Checked is what Build would say of the developer's tree.
type Checked struct {
	Directory   string       `json:"directory"` // that files are relative to
	Release     string       `json:"release"`
	OK          bool         `json:"ok"` // it can be built
	Changed     []string     `json:"changed,omitempty"`
	Added       []string     `json:"added,omitempty"`
	Removed     []string     `json:"removed,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics"`
}

// Check is Build without anything made: it compiles what an edit reaches, applies the boundary and
// looks for what is refused, but links no module. What Build fails of otherwise is an error.
func (p *Project) Check(ctx context.Context) (*Checked, error) {
	in, unlock, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	v := &Checked{Directory: p.Dir, Release: in.boundary().Release, Diagnostics: []Diagnostic{}}
	b, err := p.refusals(ctx, in)
	var wrong *module.CompileError
	var refused *RefusedError
	switch {
	case errors.As(err, &wrong):
		v.Diagnostics = compilers(wrong.Output)
	case errors.As(err, &refused):
		for _, r := range refused.Refusals {
			v.Diagnostics = append(v.Diagnostics, p.refusal(r))
		}
	case err != nil:
		return nil, err
	default:
		v.OK, v.Changed, v.Added, v.Removed = true, b.Changed, b.Added, b.Removed
		for _, w := range distinct(slices.Concat(b.Warnings, sidecarWarnings(in.boundary()))) {
			v.Diagnostics = append(v.Diagnostics, p.warning(w))
		}
	}
	return v, nil
}

// refusals goes as far as Build goes without the runtime.
func (p *Project) refusals(ctx context.Context, in *inputs) (*bound, error) {
	units, err := p.compile(ctx, in)
	if err != nil {
		return nil, err
	}
	b, err := p.bind(ctx, in, units, (*bound).accepted)
	if err != nil {
		return nil, err
	}
	return b, p.examine(ctx, in, b)
}

// examine assembles what goes into a module, and refuses what only shows there.
func (p *Project) examine(ctx context.Context, in *inputs, b *bound) error {
	return p.stage("assemble", "looking at what the code refers to", "", func() (string, error) {
		objects, err := module.Assemble(ctx, in.tree, p.state("checked"), b.Assembly)
		if err != nil {
			return "", err
		}
		undefined, err := module.Undefined(objects...)
		if err != nil {
			return "", err
		}
		places, err := examine(in, b, slices.DeleteFunc(undefined, bind.BoundLater), objects...)
		return fmt.Sprintf("%d symbols of the kernel", len(places)), err
	})
}
