// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/command/version"
	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/module"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
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

// Build makes the module from the developer's tree, and packages of it.
func (p *Project) Build(ctx context.Context) (*desc.Description, error) {
	b, err := p.newBuild()
	if err != nil {
		return nil, err
	}
	if p.SignKey != "" {
		if b.signer, err = module.NewSigner(ctx, b.tree, p.SignKey, p.SignCert); err != nil {
			return nil, err
		}
	}
	key, err := b.sourceKey()
	if err != nil {
		return nil, err
	}
	steps := []struct {
		name, text, key string
		run             func(context.Context) (string, error)
	}{
		{"compile", "compiling the scheduler", key, b.compile},
		{"bind", "applying the boundary, comparing with the kernel", "", b.bind},
		{"link", "linking the module", "", b.link},
		{"finish", "binding to the kernel", "", b.finish},
		{"package", "making packages", "", b.pack},
	}
	for _, s := range steps {
		if err := p.stage(s.name, s.text, s.key, func() (string, error) { return s.run(ctx) }); err != nil {
			return nil, err
		}
	}
	return b.desc, nil
}

// build is one run of Build.
type build struct {
	*Project
	tree     *module.Tree
	boundary *boundary.Boundary
	symbols  *symbols.Table
	pristine map[string]module.Unit
	units    []module.Unit
	bound    map[string][]byte
	names    map[string]*symbols.Symbol // undefined names that need more than their name
	types    *image.Types               // of one unit: all of them know the scheduler's structures
	ko       string
	places   map[string]module.Place // of the module's undefined names
	desc     *desc.Description
	signer   *module.Signer // nil: the module is not signed
}

func (p *Project) newBuild() (*build, error) {
	if err := p.sameConfig(); err != nil {
		return nil, err
	}
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	b := &build{Project: p, tree: p.tree(t, p.Dir), pristine: map[string]module.Unit{}, bound: map[string][]byte{}, names: map[string]*symbols.Symbol{}}
	if b.boundary, err = p.Boundary(); err != nil {
		return nil, err
	}
	if b.symbols, err = p.symbols(); err != nil {
		return nil, err
	}
	units, err := p.pristine()
	if err != nil {
		return nil, err
	}
	for _, u := range units {
		// An init that was refused may have left a sidecar that is none.
		if b.boundary.Owns(u.Name) || slices.Contains(b.boundary.Sidecars, u.Name) {
			b.pristine[u.Name] = u
		}
	}
	b.desc = &desc.Description{Format: desc.Version, Release: b.boundary.Release, BuildID: b.boundary.BuildID, Tool: version.String(), Boundary: map[string]int{}, Jumps: map[string]uint64{}}
	for c, n := range b.boundary.Counts() {
		b.desc.Boundary[string(c)] = n
	}
	for _, f := range b.boundary.Functions {
		if f.Class.Border() {
			b.desc.Replaced = append(b.desc.Replaced, f.Name)
			b.desc.Jumps[f.Name] = uint64(f.Jump)
		}
		if f.Sidecar {
			b.sidecar(f)
		}
	}
	sort.Strings(b.desc.Replaced)
	return b, nil
}

// sameConfig refuses a plugsched.yaml from which another boundary would follow than
// the one that init derived.
func (p *Project) sameConfig() error {
	cfg, err := boundary.LoadConfig(p.path(configFile))
	if err != nil {
		return &Error{err.Error()}
	}
	is, err := cfg.Fingerprint()
	if err != nil {
		return err
	}
	was, err := os.ReadFile(p.state(configSumFile))
	if err == nil && string(was) != is {
		return userError("%s: has changed since `plugsched init`: run it again, it derives the boundary anew", p.path(configFile))
	}
	return nil
}

// sourceKey changes with whatever the units are compiled from.
func (b *build) sourceKey() (string, error) {
	self, err := b.selfHash()
	if err != nil {
		return "", err
	}
	var files []string
	for _, dir := range b.sourceDirs() {
		below, err := filesBelow(b.path(dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		files = append(files, below...)
	}
	return hashOf(append([]string{self, b.tree.KernelBuild, b.tree.CC}, b.boundary.Sidecars...), files...)
}

func (b *build) compile(ctx context.Context) (string, error) {
	units, err := module.Compile(ctx, b.tree, b.state("edited"))
	if err != nil {
		return "", err
	}
	sidecars, err := module.CompileSidecars(ctx, b.tree, b.state("edited-sidecar"), b.boundary.Sidecars)
	if err != nil {
		return "", err
	}
	units = append(units, sidecars...)
	return fmt.Sprintf("%d units", len(units)), writeJSON(b.state(editedFile), units)
}

// bind applies the boundary to every unit, and refuses what would not take
// effect.
func (b *build) bind(context.Context) (string, error) {
	if err := readJSON(b.state(editedFile), &b.units); err != nil {
		return "", err
	}
	src, err := b.changes()
	if err != nil {
		return "", err
	}
	kernel := bind.NewKernel(b.boundary, b.symbols)
	pristine, edited, err := b.parseUnits()
	if err != nil {
		return "", err
	}
	kernel.Learn(pristine, edited)
	refusals, err := b.compareSources(kernel, src)
	if err != nil {
		return "", err
	}
	for _, name := range unitNames(pristine, edited) {
		r, err := b.bindUnit(kernel, name, edited[name], pristine[name], src)
		if err != nil {
			return "", err
		}
		refusals = append(refusals, r...)
	}
	for _, l := range []*[]string{&b.desc.Changed, &b.desc.Added, &b.desc.Removed, &b.desc.Warnings} {
		sort.Strings(*l)
		*l = slices.Compact(*l)
	}
	if refusals = bind.Distinct(refusals); len(refusals) > 0 {
		return "", &RefusedError{refusals}
	}
	return fmt.Sprintf("%d changed, %d added, %d removed", len(b.desc.Changed), len(b.desc.Added), len(b.desc.Removed)), nil
}

// bindUnit compares one unit with the kernel's and applies the boundary to it. Of
// a unit that is new, and of one that is gone, the other side is nil.
func (b *build) bindUnit(kernel *bind.Kernel, name string, edited, pristine *asm.Unit, src *edits.Set) ([]bind.Refusal, error) {
	if pristine == nil {
		pristine = &asm.Unit{Name: name}
	}
	if edited == nil {
		return kernel.Decide(name, &asm.Unit{Name: name}, pristine).Compare(src).Refusals, nil
	}
	plan := kernel.Decide(name, edited, pristine)
	c := plan.Compare(src)
	b.desc.Changed = append(b.desc.Changed, c.Changed...)
	b.desc.Added = append(b.desc.Added, c.Added...)
	b.desc.Removed = append(b.desc.Removed, c.Removed...)
	b.desc.Warnings = append(b.desc.Warnings, c.Warnings...)
	b.bound[name] = plan.Render()
	for name, s := range plan.Bound {
		b.names[name] = s
	}
	was, ok := b.pristine[name]
	if !ok {
		return c.Refusals, nil
	}
	before, err := bind.ReadTypes(was.Object)
	if err != nil {
		return nil, err
	}
	now, err := bind.ReadTypes(b.unit(name).Object)
	if err != nil {
		return nil, err
	}
	if b.types == nil && b.boundary.Owns(name) {
		b.types = before
	}
	refusals, warnings := kernel.CompareTypes(name, now, before, src)
	b.desc.Warnings = append(b.desc.Warnings, warnings...)
	return append(c.Refusals, refusals...), nil
}

func (b *build) unit(name string) module.Unit {
	i := slices.IndexFunc(b.units, func(u module.Unit) bool { return u.Name == name })
	return b.units[i]
}

// parseUnits reads the assembly of all units.
func (b *build) parseUnits() (pristine, edited map[string]*asm.Unit, err error) {
	pristine, edited = map[string]*asm.Unit{}, map[string]*asm.Unit{}
	for name, u := range b.pristine {
		if pristine[name], err = parse(u.Assembly); err != nil {
			return nil, nil, err
		}
	}
	for _, u := range b.units {
		if edited[u.Name], err = parse(u.Assembly); err != nil {
			return nil, nil, err
		}
	}
	return pristine, edited, nil
}

func unitNames(sets ...map[string]*asm.Unit) []string {
	var out []string
	for _, s := range sets {
		for name := range s {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func parse(path string) (*asm.Unit, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return asm.Parse(path, text)
}

func (b *build) link(ctx context.Context) (string, error) {
	spring, err := b.springboard()
	if err != nil {
		return "", err
	}
	b.ko, err = module.Link(ctx, b.tree, b.state("module"), &module.Plan{Bound: b.bound, Boundary: b.boundary, Symbols: b.symbols, Springboard: spring, Types: b.types})
	return module.Name + ".ko", err
}

// finish works out where every undefined symbol of the module is, and makes the
// module final.
func (b *build) finish(ctx context.Context) (string, error) {
	if err := module.CheckTargets(b.ko, b.boundary); err != nil {
		return "", err
	}
	undefined, err := module.Undefined(b.ko)
	if err != nil {
		return "", err
	}
	if err := b.resolve(undefined); err != nil {
		return "", err
	}
	binding, err := module.Bind(b.ko, b.tree, b.symbols, b.places)
	if err != nil {
		return "", err
	}
	b.desc.Commit = b.commit(ctx)
	tmp := b.Module() + ".tmp"
	if err := module.Finish(ctx, b.ko, tmp, b.desc, binding); err != nil {
		os.Remove(tmp)
		return "", err
	}
	if b.signer != nil {
		if err := b.signer.Sign(ctx, tmp); err != nil {
			os.Remove(tmp)
			return "", err
		}
	}
	text, err := yaml.Marshal(b.desc)
	if err != nil {
		return "", err
	}
	if err := durable.WriteFile(b.Description(), text, 0o644); err != nil {
		return "", err
	}
	if err := durable.Replace(tmp, b.Module()); err != nil {
		return "", err
	}
	st, err := os.Stat(b.Module())
	if err != nil {
		return "", err
	}
	signed := ""
	if b.signer != nil {
		signed = ", signed"
	}
	return fmt.Sprintf("%s: %d symbols bound by %s, %d bytes%s", b.desc.Name, len(b.places), binding.Anchor, st.Size(), signed), nil
}

// resolve finds the kernel's symbol for every undefined name.
func (b *build) resolve(undefined []string) error {
	b.places, b.desc.Witnesses = map[string]module.Place{}, map[string]uint64{}
	var missing []string
	for _, name := range undefined {
		s := b.find(name)
		if s == nil {
			missing = append(missing, name)
			continue
		}
		b.places[name] = module.Place{Addr: s.Addr, Fixed: s.Fixed}
	}
	if len(missing) > 0 {
		return userError("the kernel has no %s: the change uses something that this kernel does not have", strings.Join(missing, ", "))
	}
	names := make([]string, 0, len(b.places))
	for name, v := range b.places {
		if !v.Fixed && b.symbols.Unique(name) {
			names = append(names, name)
		}
	}
	// /proc/kallsyms is in order of addresses: the lowest are found soonest.
	sort.Slice(names, func(i, j int) bool {
		a, b := b.places[names[i]].Addr, b.places[names[j]].Addr
		return a < b || a == b && names[i] < names[j]
	})
	for _, name := range names[:min(len(names), witnesses)] {
		b.desc.Witnesses[name] = b.places[name].Addr
	}
	return nil
}

// witnesses is how many symbols the installer checks.
const witnesses = 64

func (b *build) find(name string) *symbols.Symbol {
	if s := b.names[name]; s != nil {
		return s
	}
	name = strings.TrimPrefix(name, bind.OrigPrefix)
	if s := b.symbols.Global(name); s != nil {
		return s
	}
	for _, f := range b.boundary.Find(name) {
		if s := b.symbols.In(f.Name, f.Unit); s != nil && f.Name == name {
			return s
		}
	}
	if l := b.symbols.Named(name); len(l) > 0 && b.symbols.Unique(name) {
		return l[0]
	}
	return nil
}

// commit names the state of the developer's tree, "" when git does not know.
func (b *build) commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "-C", b.Dir, "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(out))
	if exec.CommandContext(ctx, "git", "-C", b.Dir, "diff", "--quiet", "HEAD").Run() != nil {
		id += "+"
	}
	return id
}
