// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/image"
	"plugsched/internal/outcome"
)

// RefusedError lists changes that could not take effect, or not safely.
type RefusedError struct{ Refusals []bind.Refusal }

func (e *RefusedError) Error() string {
	var b strings.Builder
	for i, r := range e.Refusals {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(r.String())
	}
	return b.String()
}

// Outcome implements outcome.Error.
func (*RefusedError) Outcome() outcome.Outcome { return outcome.Refused }

// Built is what Build has made.
type Built struct {
	*desc.Description
	Packages []string // their paths
}

// Build makes the module from the developer's tree, and packages of it.
func (p *Project) Build(ctx context.Context) (*Built, error) {
	in, unlock, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d, err := p.buildModule(ctx, in)
	if err != nil {
		return nil, err
	}
	packages, err := p.pack(in, d, p.SignKey != "")
	if err != nil {
		return nil, err
	}
	return &Built{d, packages}, nil
}

// BuildModule is Build without the packages, which keep what an earlier one has made.
func (p *Project) BuildModule(ctx context.Context) (*desc.Description, error) {
	in, unlock, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return p.buildModule(ctx, in)
}

func (p *Project) buildModule(ctx context.Context, in *inputs) (d *desc.Description, err error) {
	in.kernel.Debug = true
	var signer *module.Signer // nil: the module is not signed
	if p.SignKey != "" {
		if signer, err = module.NewSigner(ctx, in.tree, p.SignKey, p.SignCert); err != nil {
			return nil, err
		}
	}
	return p.make(ctx, in, signer, product{module: p.Module(), description: p.Description()})
}

// begin locks the project and reads what a build works from.
func (p *Project) begin(ctx context.Context) (in *inputs, unlock func(), err error) {
	if unlock, err = p.Lock(); err != nil {
		return nil, nil, err
	}
	if in, err = p.inputs(ctx); err != nil {
		unlock()
		return nil, nil, err
	}
	return in, unlock, nil
}

// product is where a module goes, and whether it is one for benchmarks.
type product struct {
	module, description string
	bench               bool
}

// make makes a module from the developer's tree.
func (p *Project) make(ctx context.Context, in *inputs, signer *module.Signer, out product) (*desc.Description, error) {
	units, err := p.compile(ctx, in)
	if err != nil {
		return nil, err
	}
	bound, err := p.bind(ctx, in, units, (*bound).accepted)
	if err != nil {
		return nil, err
	}
	ko, err := p.link(ctx, in, bound, out.bench)
	if err != nil {
		return nil, err
	}
	return p.finish(ctx, in, bound, ko, signer, out)
}

// inputs are what a build works from besides the developer's source: what init left, and
// plugsched.yaml, each read once.
type inputs struct {
	target      *fetch.Target
	config      *boundary.Config
	about       about
	tree        *module.Tree
	kernel      *bind.Kernel
	springboard *isa.Springboard
	unframed    []isa.Unframed
	pristine    map[string]module.Unit
}

func (in *inputs) boundary() *boundary.Boundary { return in.kernel.Boundary }

func (p *Project) inputs(ctx context.Context) (*inputs, error) {
	return p.basis(func(in *inputs, release string) (err error) {
		in.about, err = p.about(ctx, in.config, release)
		return err
	})
}

// basis are the inputs but for what is said about a module; also, if not nil, is called before the large ones are read.
func (p *Project) basis(also func(in *inputs, release string) error) (*inputs, error) {
	in := &inputs{pristine: map[string]module.Unit{}}
	err := p.complete()
	if err != nil {
		return nil, err
	}
	if in.config, err = p.sameConfig(); err != nil {
		return nil, err
	}
	if in.target, err = p.Target(); err != nil {
		return nil, err
	}
	for _, path := range []string{in.target.KernelBuild, in.target.HeadersCommon, in.target.Source} {
		if _, err := os.Stat(path); err != nil {
			return nil, Errorf("%v: run `plugsched init` again, which fetches what is gone from the cache", err)
		}
	}
	if err := p.sameTree(in.target); err != nil {
		return nil, err
	}
	a, err := arch.Named(in.target.KernelArch)
	if err != nil {
		return nil, err
	}
	if _, err := p.Programs(); err != nil {
		return nil, err
	}
	if in.tree, err = p.tree(in.target, p.Dir); err != nil {
		return nil, err
	}
	in.tree.Module = true
	b, err := p.Boundary()
	if err != nil {
		return nil, err
	}
	units, err := p.pristine()
	if err != nil {
		return nil, err
	}
	for _, u := range units {
		// An init that was refused may have left a sidecar that is none.
		if b.Owns(u.Name) || slices.Contains(b.Sidecars, u.Name) {
			in.pristine[u.Name] = u
		}
	}
	if also != nil {
		if err := also(in, b.Release); err != nil {
			return nil, err
		}
	}
	syms, err := p.symbols()
	if err != nil {
		return nil, err
	}
	in.kernel = bind.NewKernel(a, b, syms)
	in.kernel.Rebuilt = in.config.Rebuilt
	if in.springboard, err = p.springboard(); err != nil {
		return nil, err
	}
	if in.unframed, err = p.unframed(a); err != nil {
		return nil, err
	}
	return in, nil
}

// Kernel is what a build binds to: the kernel's boundary and symbols. It is the caller's own.
func (p *Project) Kernel() (*bind.Kernel, error) {
	in, err := p.basis(nil)
	if err != nil {
		return nil, err
	}
	return in.kernel, nil
}

// complete says what of the developer's tree is needed and gone, before kbuild does in its words.
func (p *Project) complete() error {
	for _, need := range []string{SchedDir, SchedDir + "/Makefile"} {
		if !folder.Exists(p.path(need)) {
			return Errorf("%s: is gone: `git -C %s checkout %s -- %s` brings it back", p.path(need), p.Dir, pristineTag, need)
		}
	}
	return nil
}

// sameConfig reads plugsched.yaml, and refuses one from which another boundary would follow
// than the one that init derived.
func (p *Project) sameConfig() (*boundary.Config, error) {
	cfg, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	is, err := cfg.Fingerprint()
	if err != nil {
		return nil, err
	}
	was, err := os.ReadFile(p.state(configSumFile))
	if err == nil && string(was) != is {
		return nil, Errorf("%s: has changed since `plugsched init`: run it again, it derives the boundary anew", p.path(ConfigFile))
	}
	return cfg, nil
}

// sourceKey changes with whatever the units are compiled from.
func (p *Project) sourceKey(in *inputs) (string, error) {
	self, err := p.selfHash()
	if err != nil {
		return "", err
	}
	var files []string
	for _, dir := range sourceDirs(in.boundary()) {
		below, err := folder.Files(p.path(dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		files = append(files, below...)
	}
	return hashOf(append([]string{self, in.tree.KernelBuild, in.tree.Env.Key()}, in.boundary().Sidecars...), files...)
}

// sourceDirs are the directories of the tree that can hold source.
func sourceDirs(b *boundary.Boundary) []string {
	out := slices.Clone(fetch.CoreDirs)
	for _, f := range b.Sidecars {
		top, _, _ := strings.Cut(f, "/")
		out = append(out, top)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// compile compiles the developer's units, unless they are those of the last time.
func (p *Project) compile(ctx context.Context, in *inputs) (units []module.Unit, err error) {
	key, err := p.sourceKey(in)
	if err != nil {
		return nil, err
	}
	if readJSON(p.state(editedFile), &units) != nil {
		os.Remove(p.state("compile.done")) // what it says is done is gone
	}
	err = p.stage("compile", "compiling the scheduler", key, func() (string, error) {
		before := p.compiled()
		units, err := module.Compile(ctx, in.tree, p.state("edited"))
		if err != nil {
			return "", err
		}
		sidecars, err := module.CompileSidecars(ctx, in.tree, p.state("edited-sidecar"), in.boundary().Sidecars)
		if err != nil {
			return "", err
		}
		units = append(units, sidecars...)
		n := 0
		for path, when := range p.compiled() {
			if when != before[path] {
				n++
			}
		}
		return fmt.Sprintf("%d of %d units", n, len(units)), writeJSON(p.state(editedFile), units)
	})
	if err == nil {
		err = readJSON(p.state(editedFile), &units)
	}
	return units, err
}

// compiled are the objects of the developer's units, and when each was made: kbuild makes those
// that an edit reaches.
func (p *Project) compiled() map[string]time.Time {
	made := map[string]time.Time{}
	list, _ := filepath.Glob(p.state("edited*", "*.o"))
	for _, path := range list {
		if st, err := os.Stat(path); err == nil {
			made[path] = st.ModTime()
		}
	}
	return made
}

// bound is what the boundary makes of the units.
type bound struct {
	*bind.Bound
	types  *image.Types // of one unit: all of them know the scheduler's structures
	src    *edits.Set
	wishes *bind.Wishes
	values []bind.WantedValue
}

// bind applies the boundary to every unit. What comes of it is answered by the stage's last word, or an error.
func (p *Project) bind(ctx context.Context, in *inputs, units []module.Unit, answer func(*bound) (string, error)) (b *bound, err error) {
	err = p.stage("bind", "applying the boundary, comparing with the kernel", "", func() (string, error) {
		if b, err = p.bindUnits(ctx, in, units); err != nil {
			return "", err
		}
		return answer(b)
	})
	return b, err
}

// accepted refuses what would not take effect, or not safely.
func (b *bound) accepted() (string, error) {
	if refusals := bind.Distinct(b.Refusals); len(refusals) > 0 {
		return "", &RefusedError{refusals}
	}
	return fmt.Sprintf("%d changed, %d added, %d removed", len(b.Changed), len(b.Added), len(b.Removed)), nil
}

func (p *Project) bindUnits(ctx context.Context, in *inputs, units []module.Unit) (*bound, error) {
	src, err := p.changes(ctx, in.target)
	if err != nil {
		return nil, err
	}
	pristine, edited := map[string]*asm.Unit{}, map[string]*asm.Unit{}
	for name, u := range in.pristine {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if pristine[name], err = parse(in.kernel.Arch, u.Assembly); err != nil {
			return nil, err
		}
	}
	for _, u := range units {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if edited[u.Name], err = parse(in.kernel.Arch, u.Assembly); err != nil {
			return nil, err
		}
	}
	types := map[string]*unitTypes{}
	for _, u := range units {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if types[u.Name], err = in.types(u); err != nil {
			return nil, err
		}
		in.kernel.SetInlining(u.Name, types[u.Name].was, types[u.Name].is)
	}
	b := &bound{src: src, wishes: wishes(in.config)}
	if b.Bound, err = in.kernel.Bind(ctx, pristine, edited, src); err != nil {
		return nil, err
	}
	b.values = b.Grant(in.kernel, pristine, edited, src, b.wishes)
	sources, err := p.sources(ctx, in, units)
	if err != nil {
		return nil, err
	}
	found, err := in.kernel.CompareSources(ctx, src, sources)
	if err != nil {
		return nil, err
	}
	b.Add(found)
	undefined := map[string][]string{}
	for _, u := range units {
		if undefined[u.Name], err = module.Undefined(u.Object); err != nil {
			return nil, err
		}
	}
	b.Add(&bind.Changes{Refusals: append(in.kernel.CompareUndefined(undefined, src), in.kernel.CompareDefinitions(src)...)})
	for _, u := range units {
		t := types[u.Name]
		if _, was := in.pristine[u.Name]; was && b.types == nil && in.boundary().Owns(u.Name) {
			b.types = t.was
		}
		found, err := in.kernel.CompareTypes(ctx, u.Name, t.is, t.was, src, sources)
		if err != nil {
			return nil, err
		}
		b.Add(found)
	}
	if err := b.Blame(sources); err != nil {
		return nil, err
	}
	return b, b.Settle(src, sources)
}

// wishes are those of plugsched.yaml, which boundary.LoadConfig has checked.
func wishes(cfg *boundary.Config) *bind.Wishes {
	w := &bind.Wishes{Features: map[string]bool{}, Values: map[string]uint64{}, File: ConfigFile, Line: cfg.Line,
		Derived: cfg.WhyDerived, Recomputed: cfg.WhyRecomputed}
	for name, text := range cfg.Features {
		w.Features[name] = text == "true"
	}
	for name, text := range cfg.Values {
		w.Values[name], _ = boundary.Number(text)
	}
	return w
}

// unitTypes is the debug information of a unit as it was, without anything for a new one,
// and as it is.
type unitTypes struct{ was, is *image.Types }

func (in *inputs) types(u module.Unit) (t *unitTypes, err error) {
	t = &unitTypes{was: &image.Types{}}
	if was, ok := in.pristine[u.Name]; ok {
		if t.was, err = bind.ReadTypes(was.Object); err != nil {
			return nil, err
		}
	}
	t.is, err = bind.ReadTypes(u.Object)
	return t, err
}

func parse(a *arch.Arch, path string) (*asm.Unit, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return asm.Parse(&a.Assembly, path, text)
}

// link links the module with the runtime, and returns the path of what is not final yet.
func (p *Project) link(ctx context.Context, in *inputs, b *bound, bench bool) (ko string, err error) {
	dir := "module"
	if bench {
		dir = "module-bench"
	}
	err = p.stage("link", "linking the module", "", func() (string, error) {
		ko, err = module.Link(ctx, in.tree, p.state(dir), &module.Plan{Arch: in.kernel.Arch, Bound: b.Assembly,
			Boundary: in.boundary(), Symbols: in.kernel.Symbols, Springboard: in.springboard, Unframed: in.unframed, Types: b.types,
			Holes: b.Holes, Features: b.wishes.Features, Values: b.values, Bench: bench})
		return module.Name + ".ko", err
	})
	return ko, err
}

// finish works out where every undefined symbol of the module is, and makes the
// module final.
func (p *Project) finish(ctx context.Context, in *inputs, b *bound, ko string,
	signer *module.Signer, out product) (d *desc.Description, err error) {
	err = p.stage("finish", "binding to the kernel", "", func() (string, error) {
		binding, err := bindModule(in, b, ko)
		if err != nil {
			return "", err
		}
		d = p.describe(in, b, binding)
		size, err := p.write(ctx, in, ko, d, binding, signer, out)
		if err != nil {
			return "", err
		}
		signed := ""
		if signer != nil {
			signed = ", signed"
		}
		return fmt.Sprintf("%s: %d symbols bound by %s, %d bytes%s", d.Name, len(binding.Places), binding.Anchor, size, signed), nil
	})
	return d, err
}

// bindModule finds what the module leaves undefined.
func bindModule(in *inputs, b *bound, ko string) (*module.Binding, error) {
	if err := module.CheckTargets(ko, in.boundary()); err != nil {
		return nil, err
	}
	undefined, err := module.Undefined(ko)
	if err != nil {
		return nil, err
	}
	places, err := examine(in, b, undefined, ko)
	if err != nil {
		return nil, err
	}
	return module.Bind(ko, in.tree, in.kernel.Symbols, places)
}

// examine refuses what only shows in objects: those of the units, or the module that was linked of
// them. It returns where the kernel has what they leave undefined.
func examine(in *inputs, b *bound, undefined []string, objects ...string) (map[string]bind.Place, error) {
	places, missing, gone := in.kernel.Resolve(b.Names, undefined)
	if refusals := bind.Unresolved(missing, gone, b.src); len(refusals) > 0 {
		return nil, &RefusedError{bind.Distinct(refusals)}
	}
	var refusals []bind.Refusal
	for _, o := range objects {
		sections, err := bind.CheckSections(o)
		if err != nil {
			return nil, err
		}
		pointers, err := in.kernel.CheckPointers(o, places, b.src)
		if err != nil {
			return nil, err
		}
		refusals = slices.Concat(refusals, sections, pointers)
	}
	if len(refusals) > 0 {
		return nil, &RefusedError{bind.Distinct(refusals)}
	}
	return places, nil
}

// describe says what the module is, but for its name.
func (p *Project) describe(in *inputs, b *bound, binding *module.Binding) *desc.Description {
	d := &desc.Description{Format: desc.Version, Release: in.boundary().Release, BuildID: in.boundary().BuildID,
		Tool: p.Tool, Commit: in.about.commit, Boundary: map[string]int{},
		Changed: b.Changed, Added: b.Added, Removed: b.Removed,
		Witnesses: in.kernel.Witnesses(binding.Places), Symbols: map[string]uint64{}, Jumps: map[string]uint64{},
		JumpSize: uint64(in.kernel.Arch.JumpSize)}
	d.Features, d.Values = b.wishes.Features, b.wishes.Values
	for name, p := range binding.Places {
		d.Symbols[name] = p.Addr
	}
	for c, n := range in.boundary().Counts() {
		d.Boundary[string(c)] = n
	}
	for _, f := range in.boundary().Functions {
		if f.Class.Border() {
			d.Replaced = append(d.Replaced, f.Name)
			d.Jumps[f.Name] = uint64(f.Jump)
		}
		if f.Sidecar {
			d.Sidecar = append(d.Sidecar, f.DeclFile+":"+f.Name)
		}
	}
	slices.Sort(d.Replaced)
	d.Warnings = distinct(slices.Concat(b.Warnings, sidecarWarnings(in.boundary())))
	return d
}

// distinct sorts a list, and has each of it once.
func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// write makes the module final, and writes it, its debug information and its description.
func (p *Project) write(ctx context.Context, in *inputs, ko string, d *desc.Description, binding *module.Binding,
	signer *module.Signer, out product) (size int64, err error) {
	tmp := out.module + ".tmp"
	debug := tmp + module.DebugSuffix
	defer folder.Remove(tmp, debug) // of which nothing is left once they have been renamed
	if err := module.Finish(ctx, in.tree.Env, ko, tmp, d, binding); err != nil {
		return 0, err
	}
	if signer != nil {
		if err := signer.Sign(ctx, tmp); err != nil {
			return 0, err
		}
	}
	text, err := yaml.Marshal(d)
	if err != nil {
		return 0, err
	}
	if err := durable.WriteFile(out.description, text, 0o644); err != nil {
		return 0, err
	}
	if err := durable.Replace(debug, out.module+module.DebugSuffix); err != nil {
		return 0, err
	}
	if err := durable.Replace(tmp, out.module); err != nil {
		return 0, err
	}
	st, err := os.Stat(out.module)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
