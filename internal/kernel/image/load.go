// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"bytes"
	"cmp"
	"context"
	"debug/dwarf"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"plugsched/internal/kernel/arch/isa"
)

// Options control Load.
type Options struct {
	// SourceDirs are the directories of the kernel tree whose units are read in
	// detail, such as "kernel/sched": declarations, types and inlining. Without
	// any, all units are.
	SourceDirs []string
	// Progress, if set, is told what Load is about to do.
	Progress func(string)
}

func (o *Options) progress(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

func (o *Options) detailed(unit string) bool {
	if len(o.SourceDirs) == 0 {
		return true
	}
	for _, d := range o.SourceDirs {
		if d = strings.TrimSuffix(d, "/"); unit == d || strings.HasPrefix(unit, d+"/") {
			return true
		}
	}
	return false
}

// Load reads the vmlinux at path. A file without debug information is an error
// that wraps ErrNoDWARF; one whose data is only filled in at boot, one that wraps
// ErrDataRelocated.
func Load(ctx context.Context, path string, opt Options) (*Program, error) {
	opt.progress("reading %s", path)
	v, err := open(path)
	if err != nil {
		return nil, err
	}
	defer v.close()
	p, err := load(ctx, v, &opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p.Path = path
	return p, nil
}

func load(ctx context.Context, v *vmlinux, opt *Options) (*Program, error) {
	if err := v.relocate(); err != nil {
		return nil, err
	}
	if err := v.checkDataInPlace(); err != nil {
		return nil, err
	}
	di, err := v.openDWARF()
	if err != nil {
		return nil, err
	}
	p := &Program{BuildID: v.buildID(), Machine: v.elf.Machine}
	var files [][]*Object
	p.Objects, files = v.objects()
	funcs, names := v.functions()
	if len(funcs) == 0 {
		return nil, fmt.Errorf("has no symbols of functions: it is stripped")
	}
	p.Functions = funcs
	p.sortFunctions()
	p.buildIndex(v)
	if p.frames, err = v.named(".debug_frame"); err != nil {
		return nil, err
	}
	p.Release = p.release()

	opt.progress("decoding code and reading debug information: %d functions, %d units", len(funcs), len(di.units))
	facts, refs, err := p.analyse(ctx, v, di, opt)
	if err != nil {
		return nil, err
	}
	units := codeUnits(facts)
	p.describe(facts, units, names, v)
	inferUnits(files)
	p.Compiler = compiler(di, opt)

	opt.progress("linking calls")
	if err := p.linkCode(ctx, v.mach, refs, units.compiled); err != nil {
		return nil, err
	}
	p.indexFunctions()
	starts := p.starts()
	begins := func(a uint64) *Function { return starts[a] }
	p.readDataTakes(v.literals, begins)
	p.readFtrace(v.mach, begins)
	p.dropFtraceCalls()
	p.readPatchSites(v.mach)
	p.readSeals(v.mach)
	p.readNoProbes()
	p.readUserFaults(v.mach)
	return p, ctx.Err()
}

// starts maps the functions' first addresses to them.
func (p *Program) starts() map[uint64]*Function {
	out := make(map[uint64]*Function, len(p.Functions))
	for _, f := range p.Functions {
		out[f.Addr] = f
	}
	return out
}

// analyse does the two parts that take time, on all processors: decoding the
// code and reading the debug information.
func (p *Program) analyse(ctx context.Context, v *vmlinux, di *debugInfo, opt *Options) ([]*unitFacts, []ownedRef, error) {
	starts := p.starts()
	bounds := v.bounds()
	takes := func(r isa.Ref) bool {
		// Comparing with the start of a range of code, or computing with it,
		// does not take the address of the function that happens to be there.
		return starts[r.Target] != nil && !(r.Kind == isa.RefOperand && bounds[r.Target])
	}
	code := batches(p.stretches())
	facts := make([]*unitFacts, len(di.units))
	results := make([]decoded, len(code))

	var jobs []func() error
	for i := range di.units {
		u := &di.units[i]
		jobs = append(jobs, func() (err error) {
			facts[i], err = di.read(u, opt.detailed(u.path))
			return err
		})
	}
	for i := range code {
		jobs = append(jobs, func() error {
			results[i] = decode(v.mach, code[i], takes)
			return nil
		})
	}
	if err := parallel(ctx, jobs); err != nil {
		return nil, nil, err
	}
	var refs []ownedRef
	for _, d := range results {
		refs = append(refs, d.refs...)
		p.Undecoded += d.undecoded
	}
	return facts, refs, nil
}

// parallel runs the jobs on all processors and returns the first job's error.
func parallel(ctx context.Context, jobs []func() error) error {
	errs := make([]error, len(jobs))
	var next atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) {
					return
				}
				if errs[i] = jobs[i](); errs[i] != nil {
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// describe adds what debug information says to functions and objects.
func (p *Program) describe(facts []*unitFacts, units *unitMap, names [][]codeSymbol, v *vmlinux) {
	exported, bpf := v.exports(), v.bpfFunctions()
	starts := p.starts()
	// gcc may put ftrace's place between a function's symbol and what its debug information
	// takes for the beginning (-fpatchable-function-entry).
	begun := func(addr uint64) *Function {
		f := starts[addr-uint64(v.mach.FtraceSize)]
		if starts[addr] != nil || f == nil || addr-f.Addr >= f.Size { // what has no symbol is not the one before
			return starts[addr]
		}
		return f
	}
	known := map[*Function]map[string]bool{}
	for _, u := range facts {
		for _, n := range u.names {
			f := begun(n.addr)
			if known[f] == nil {
				known[f] = map[string]bool{}
			}
			known[f][n.name] = true
		}
	}
	for i, f := range p.Functions {
		f.setNames(names[i], known[f], exported, bpf)
		if u := units.at(f.Addr); u != nil {
			f.Unit = u.path
		}
	}
	for _, u := range facts {
		p.describeFunctions(u, begun)
		p.describeObjects(u)
	}
	p.describeFolded(facts)
	slices.SortFunc(p.Dropped, func(a, b *Source) int { return cmp.Or(strings.Compare(a.Name, b.Name), compareSources(a, b)) })
	p.sortFunctions()
}

func (p *Program) describeFunctions(u *unitFacts, begun func(addr uint64) *Function) {
	for _, d := range u.decls {
		found := false
		for _, a := range d.starts {
			if f := begun(a); f != nil {
				f.DeclFile, f.DeclLine, f.Unit = d.file, d.line, u.path
				found = true
			}
		}
		if !found && d.name != "" {
			p.Dropped = append(p.Dropped, &Source{Name: d.name, DeclFile: d.file, DeclLine: d.line, Unit: u.path})
		}
	}
	touched := map[*Function]bool{}
	for _, in := range u.inlines {
		if f := p.FuncAt(in.addr); f != nil {
			f.Inlines = append(f.Inlines, in.source)
			touched[f] = true
		}
	}
	for f := range touched {
		slices.SortFunc(f.Inlines, compareSources)
		f.Inlines = slices.CompactFunc(f.Inlines, func(a, b *Source) bool { return *a == *b })
	}
}

// describeFolded finds the declarations of functions that debug information does
// not give an address.
func (p *Program) describeFolded(facts []*unitFacts) {
	bodies := map[string]map[string]declaration{}
	for _, u := range facts {
		if u.bodies != nil {
			bodies[u.path] = u.bodies
		}
	}
	for _, f := range p.Functions {
		if d, ok := bodies[f.Unit][f.Base]; ok && f.DeclFile == "" {
			f.DeclFile, f.DeclLine = d.file, d.line
		}
	}
}

func compareSources(a, b *Source) int {
	return cmp.Or(strings.Compare(a.DeclFile, b.DeclFile), strings.Compare(a.Name, b.Name),
		cmp.Compare(a.DeclLine, b.DeclLine), strings.Compare(a.Unit, b.Unit))
}

// describeObjects finds each variable's symbol. gcc numbers static locals
// ("__key.3"); other names at the same address are aliases that the source
// declares as such, if it declares them at all.
func (p *Program) describeObjects(u *unitFacts) {
	for _, v := range u.vars {
		i, _ := slices.BinarySearchFunc(p.Objects, v.addr, func(o *Object, a uint64) int { return cmp.Compare(o.Addr, a) })
		for ; i < len(p.Objects) && p.Objects[i].Addr == v.addr; i++ {
			o := p.Objects[i]
			same := v.name == "" || o.Name == v.name || strings.HasPrefix(o.Name, v.name+".")
			if !same && o.Unit != "" {
				continue
			}
			o.Unit = u.path
			if u.detail {
				o.DeclFile, o.DeclLine, o.Type = v.file, v.line, v.typeName
			}
		}
	}
}

// unitMap maps addresses of code to units.
type unitMap struct{ spans []unitSpan } // by address

type unitSpan struct {
	span
	unit *unitFacts
}

func codeUnits(facts []*unitFacts) *unitMap {
	m := &unitMap{}
	for _, u := range facts {
		for _, r := range u.code {
			if r[0] < r[1] {
				m.spans = append(m.spans, unitSpan{span{r[0], r[1]}, u})
			}
		}
	}
	slices.SortStableFunc(m.spans, func(a, b unitSpan) int { return cmp.Compare(a.lo, b.lo) })
	return m
}

// at returns the unit whose code covers addr, or nil.
func (m *unitMap) at(addr uint64) *unitFacts {
	i, _ := slices.BinarySearchFunc(m.spans, addr, func(s unitSpan, a uint64) int {
		if s.lo > a {
			return 1
		}
		return -1
	})
	if i > 0 && addr < m.spans[i-1].hi {
		return m.spans[i-1].unit
	}
	return nil
}

// compiled reports whether addr is code of a C unit.
func (m *unitMap) compiled(addr uint64) bool {
	u := m.at(addr)
	return u != nil && !u.asm
}

// compiler is the producer of the first C unit that is read in detail.
func compiler(di *debugInfo, opt *Options) string {
	for _, u := range di.units {
		if !u.asm && opt.detailed(u.path) {
			s, _ := u.entry.Val(dwarf.AttrProducer).(string)
			return s
		}
	}
	return ""
}

// release reads the kernel's release from its banner (init/version-timestamp.c,
// linux_banner: "Linux version RELEASE (...").
func (p *Program) release() string {
	addr, ok := p.Symbol("linux_banner")
	if !ok {
		return ""
	}
	o := p.ObjectNamedAt("linux_banner", addr)
	if o == nil {
		return ""
	}
	fields := bytes.Fields(p.Bytes(addr, int(min(o.Size, 4096))))
	if len(fields) < 3 || string(fields[0]) != "Linux" || string(fields[1]) != "version" {
		return ""
	}
	return string(fields[2])
}
