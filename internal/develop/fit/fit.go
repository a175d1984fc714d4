// SPDX-License-Identifier: BSD-3-Clause

// Package fit says whether a kernel will do for this tool, by rules and before anything is compiled.
package fit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/develop/environment"
	"plugsched/internal/develop/module"
	"plugsched/internal/elffile"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/needs"
	"plugsched/internal/outcome"
)

// What a look at something comes to.
const (
	Yes     = "ok"
	No      = "no"      // the kernel will not do
	Unknown = "unknown" // only init can tell
)

// Point is one thing that was looked at.
type Point struct {
	Check  string `json:"check"`  // "debug symbols", "configuration", "compiler", ...
	Result string `json:"result"` // "ok", "no" or "unknown"
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"` // what can be done, if it is "no"
}

// Fitness is whether a kernel will do.
type Fitness struct {
	Release string  `json:"release"`
	Version string  `json:"version,omitempty"` // of its packages
	OK      bool    `json:"ok"`                // nothing that was looked at is "no"
	Points  []Point `json:"points"`
}

func (r *Fitness) add(check, result, format string, args ...any) {
	r.Points = append(r.Points, Point{Check: check, Result: result, Text: fmt.Sprintf(format, args...)})
}

// refuse takes an error for an answer if it says that the kernel will not do. Of others the look itself
// fails.
func (r *Fitness) refuse(check string, err error) error {
	var lacks *needs.Error
	var tool *fetch.ToolError
	switch {
	case errors.As(err, &lacks):
		r.faults(lacks.Faults)
	case outcome.Of(err) == outcome.Precondition || errors.As(err, &tool):
		r.add(check, No, "%v", err)
	default:
		return err
	}
	return nil
}

func (r *Fitness) faults(list []needs.Fault) {
	for _, f := range list {
		r.Points = append(r.Points, Point{Check: "configuration", Result: No, Text: fmt.Sprintf("%s=%s: %s", f.Option, f.Got, f.Why),
			Fix: fmt.Sprintf("build it with %s=%s: %s", f.Option, f.Want, f.Where)})
	}
}

// Check looks at a kernel. An error is one of the look, not of the kernel.
func Check(ctx context.Context, o fetch.Options, e environment.Options) (*Fitness, error) {
	r := &Fitness{Release: o.Release, Points: []Point{}}
	err := r.look(ctx, o, e)
	r.OK = !slices.ContainsFunc(r.Points, func(p Point) bool { return p.Result == No })
	return r, err
}

func (r *Fitness) look(ctx context.Context, o fetch.Options, e environment.Options) error {
	out, err := fetch.Look(ctx, o)
	if err != nil {
		return r.refuse("kernel", err)
	}
	t := &out.Target
	r.Release, r.Version = t.Release, t.Version
	same := len(out.Parts) > 1 && !slices.ContainsFunc(out.Parts, func(p fetch.Part) bool {
		return p.Err == nil || p.Err.Error() != out.Parts[0].Err.Error()
	})
	if same { // nobody knows the kernel
		r.add("kernel", No, "%v", out.Parts[0].Err)
		return nil
	}
	for _, p := range out.Parts {
		switch {
		case p.Err != nil:
			r.add(p.What, No, "%v", p.Err)
		case p.Unsure:
			r.add(p.What, Unknown, "%s", p.Place)
		case p.Download > 0:
			r.add(p.What, Yes, "%s, %d MB", p.Place, p.Download/1_000_000)
		default:
			r.add(p.What, Yes, "%s", p.Place)
		}
	}
	if t.Config == "" {
		r.add("configuration", Unknown, "it comes with the headers or the boot image")
		return nil
	}
	text, err := os.ReadFile(t.Config)
	if err != nil {
		return err
	}
	config, err := needs.ReadConfig(t.Config)
	if err != nil {
		return err
	}
	a := r.architecture(t, string(text))
	if faults := config.Faults(); len(faults) > 0 {
		r.faults(faults)
	} else {
		r.add("configuration", Yes, "%s", t.Config)
	}
	if err := r.classes(t, a, string(text)); err != nil {
		return err
	}
	if t.Compiler == "" {
		t.Compiler = config.Compiler()
	}
	return r.compiler(ctx, t, e)
}

// titleRE finds the kernel's name of the architecture in what a configuration begins with
// (scripts/kconfig/confdata.c).
var titleRE = regexp.MustCompile(`(?m)^# Linux/(\S+) \S+ Kernel Configuration$`)

func (r *Fitness) architecture(t *fetch.Target, config string) *arch.Arch {
	name := t.KernelArch
	if m := titleRE.FindStringSubmatch(config); m != nil && name == "" {
		name = m[1]
	}
	if name == "" {
		r.add("architecture", Unknown, "%s does not name it", t.Config)
		return nil
	}
	a, err := arch.Named(name)
	if err != nil {
		r.add("architecture", No, "%v", err)
		return nil
	}
	t.KernelArch = a.Name
	r.add("architecture", Yes, "%s", a.Title)
	return a
}

var (
	// classRE finds the variables that are scheduling classes, classSectionRE the sections that the linker
	// puts them in order by (include/asm-generic/vmlinux.lds.h, SCHED_DATA).
	classRE        = regexp.MustCompile(`^[a-z]+_sched_class$`)
	classSectionRE = regexp.MustCompile(`\*\(__([a-z]+_sched_class)\)`)
)

// classes looks for what the runtime is not made for: in the kernel's symbols if they are at hand, else
// in what the headers say of its scheduling classes.
func (r *Fitness) classes(t *fetch.Target, a *arch.Arch, config string) error {
	if t.Vmlinux != "" {
		return r.symbols(t, a)
	}
	text, err := os.ReadFile(filepath.Join(t.HeadersCommon, "include/asm-generic/vmlinux.lds.h"))
	found := classSectionRE.FindAllStringSubmatch(string(text), -1)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case len(found) == 0:
		r.add("scheduling classes", Unknown, "the headers name none")
		return nil
	}
	good := true
	for _, m := range found {
		class := m[1]
		told, known := module.MovedBy(class)
		if known && told == "" {
			continue
		}
		// A class that can be left out has an option of its name (init/Kconfig).
		option := "CONFIG_SCHED_CLASS_" + strings.ToUpper(strings.TrimSuffix(class, "_sched_class"))
		switch set := strings.Contains(config, "\n"+option+"=y"); {
		case set && known:
			good = false
			r.add("scheduling classes", Unknown, "the debug symbols will say whether %s can be moved", class)
		case set:
			good = false
			r.Points = append(r.Points, Point{Check: "scheduling classes", Result: No,
				Text: fmt.Sprintf("the kernel has a scheduling class, %s, that cannot be moved (%s)", class, option),
				Fix:  "take a kernel without it; its boundary can be derived with --analyze-only"})
		case !strings.Contains(config, "\n# "+option+" is not set"):
			good = false
			r.add("scheduling classes", Unknown, "the debug symbols will say whether there is %s", class)
		}
	}
	if good {
		r.add("scheduling classes", Yes, "all of them can be moved")
	}
	r.add("what the runtime needs", Unknown, "the debug symbols will say, which are not here yet")
	return nil
}

// symbols looks at those of a vmlinux.
func (r *Fitness) symbols(t *fetch.Target, a *arch.Arch) error {
	file, err := os.Open(t.Vmlinux)
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	f, err := elffile.NewFile(file, st.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", t.Vmlinux, err)
	}
	syms, err := f.Symbols()
	if err != nil {
		return fmt.Errorf("%s: %w", t.Vmlinux, err)
	}
	addr, good := map[string]uint64{}, true
	for _, s := range syms {
		addr[s.Name] = s.Value
	}
	symbol := func(name string) (uint64, bool) { v, ok := addr[name]; return v, ok }
	for _, s := range syms {
		if classRE.MatchString(s.Name) && !module.Movable(s.Name, symbol) {
			good = false
			r.add("scheduling classes", No, "the kernel has a scheduling class, %s, that cannot be moved", s.Name)
		}
	}
	if good {
		r.add("scheduling classes", Yes, "all of them can be moved")
	}
	if a == nil {
		return nil
	}
	err = module.Obstacle(a, symbol)
	if err != nil {
		r.add("what the runtime needs", No, "%v", err)
	} else {
		r.add("what the runtime needs", Yes, "%d symbols were looked through", len(addr))
	}
	return nil
}

// compiler finds out whether the one that built the kernel can be had.
func (r *Fitness) compiler(ctx context.Context, t *fetch.Target, e environment.Options) error {
	if t.Compiler == "" || t.KernelBuild == "" {
		r.add("compiler", Unknown, "the headers will say which")
		return nil
	}
	text, err := environment.Probe(ctx, t, e)
	if err != nil {
		return r.refuse("compiler", err)
	}
	r.add("compiler", Yes, "%s", text)
	return nil
}
