// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
)

// compiledOut finds the edits that the preprocessor leaves out, by asking it which groups of the edited
// files it took: in any unit, with the kernel's own flags. One that an option or macro leaves out which
// nothing knows is refused: it is the change's own, and nobody has set it. One that this
// kernel's configuration leaves out is unseen: a change may be for several configurations.
func (s *Sources) compiledOut(ctx context.Context, src *edits.Set) (*Changes, error) {
	p := &preprocessor{sources: s, diffs: src.Diffs}
	if err := p.run(nil); err != nil {
		return nil, err
	}
	var dead []edits.Region
	unknown := map[string]bool{}
	for _, d := range p.diffs {
		if !s.compiles(d.File) {
			continue // uncompiled says so
		}
		for _, r := range d.Regions(p.live) {
			dead = append(dead, r)
			for _, name := range r.Names {
				unknown[name] = unknown[name] || !r.Gone
			}
		}
		p.asked(d, func(_ int, option string) { unknown[option] = true })
	}
	if err := p.forgetKnown(ctx, unknown); err != nil {
		return nil, err
	}
	undefined := slices.DeleteFunc(sortedNames(unknown), func(o string) bool { return !unknown[o] })
	out := &Changes{}
	found, err := p.undefined(undefined, dead)
	if err != nil {
		return nil, err
	}
	out.Refusals = found
	for _, r := range dead {
		if !p.explained[key{r.File, fmt.Sprint(r.From, r.Gone)}] {
			out.Unseen = append(out.Unseen, p.unseen(&r))
		}
	}
	return out, nil
}

// preprocessor knows what gcc makes of the conditions of the edited files.
type preprocessor struct {
	sources *Sources
	diffs   []*edits.Diff
	taken   map[*edits.Group]bool
	// macros are those that the developer's units know.
	macros    map[string]bool
	explained map[key]bool // regions that a refusal names
}

// live reports a group that some unit takes.
func (p *preprocessor) live(g *edits.Group) bool { return p.taken[g] }

// run asks which groups are taken when the options of define are set, in addition.
func (p *preprocessor) run(define []string) error {
	p.taken, p.macros = map[*edits.Group]bool{}, map[string]bool{}
	for _, pristine := range []bool{true, false} {
		texts := map[string]string{}
		names := map[*edits.Group]string{}
		for _, d := range p.diffs {
			text, groups := d.Is, d.New
			if pristine {
				text, groups = d.Was, d.Old
			}
			if len(groups) == 0 {
				continue
			}
			for _, g := range groups {
				names[g] = fmt.Sprintf("PLUGSCHED_TAKEN_%d", len(names))
			}
			texts[d.File] = edits.Mark(text, groups, func(g *edits.Group) string { return names[g] })
		}
		if len(texts) == 0 {
			continue
		}
		macros, err := p.sources.Macros(pristine, texts, define)
		if err != nil {
			return err
		}
		for g, name := range names {
			p.taken[g] = macros[name]
		}
		if !pristine {
			p.macros = macros
		}
	}
	return nil
}

var askedOption = regexp.MustCompile(`(! )?\bIS_(?:ENABLED|BUILTIN|MODULE|REACHABLE) \( (CONFIG_\w+) \)`)

// asked calls f for each option that an edited line asks for in an expression, where it is no
// error that there is none (include/linux/kconfig.h). What runs without it is not left out.
func (p *preprocessor) asked(d *edits.Diff, f func(line int, option string)) {
	d.Edited(p.live, func(line int, tokens string) {
		for _, m := range askedOption.FindAllStringSubmatch(tokens, -1) {
			if m[1] == "" {
				f(line, m[2])
			}
		}
	})
}

// forgetKnown takes the options and macros out that somebody knows: the compiler, the kernel's configuration, its
// Kconfig files, or its source. Names that begin with two underscores are compilers' and architectures'.
func (p *preprocessor) forgetKnown(ctx context.Context, names map[string]bool) error {
	mentioned := func(text string) {
		for n := range names {
			if strings.Contains(text, n) && regexp.MustCompile(`\b`+n+`\b`).MatchString(text) {
				delete(names, n)
			}
		}
	}
	configured := func(text, pattern string) {
		for n := range names {
			option, ok := strings.CutPrefix(n, edits.OptionPrefix)
			if ok && strings.Contains(text, option) && regexp.MustCompile(fmt.Sprintf(pattern, option)).MatchString(text) {
				delete(names, n)
			}
		}
	}
	for n := range names {
		if p.macros[n] || p.macros[n+"_MODULE"] || strings.HasPrefix(n, "__") {
			delete(names, n)
		}
	}
	for _, d := range p.diffs {
		mentioned(d.Was)
	}
	if len(names) == 0 {
		return nil
	}
	text, err := os.ReadFile(p.sources.Config)
	if err != nil {
		return err
	}
	configured(string(text), `(?m)^(?:# )?CONFIG_%s[ =]`)
	// Kconfig files of other architectures are not at hand, but code speaks of their options.
	return filepath.WalkDir(p.sources.Kernel, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case len(names) == 0:
			return fs.SkipAll
		case !e.Type().IsRegular():
			return nil
		}
		isKconfig := strings.HasPrefix(e.Name(), "Kconfig")
		if ext := filepath.Ext(path); !isKconfig && ext != ".c" && ext != ".h" && ext != ".S" && e.Name() != "Makefile" {
			return nil
		}
		text, err := os.ReadFile(path)
		if isKconfig {
			configured(string(text), `(?m)^\s*(?:menu)?config\s+%s\s*$`)
		} else {
			mentioned(string(text))
		}
		return err
	})
}

// undefined refuses the options and macros that nothing defines and that would bring an edit in, each with all that
// it leaves out. If the preprocessor cannot say what they would bring in, for want of a file that is included
// then, that is what is conditional on them.
func (p *preprocessor) undefined(names []string, dead []edits.Region) (out []Refusal, err error) {
	p.explained = map[key]bool{}
	if len(names) == 0 {
		return nil, nil
	}
	taken, macros := p.taken, p.macros
	defer func() { p.taken, p.macros = taken, macros }()
	err = p.run(names)
	var fails *exec.ExitError
	if errors.As(err, &fails) {
		p.taken, p.macros = taken, macros
	} else if err != nil {
		return nil, err
	}
	for _, name := range names {
		var places []string
		r := Refusal{Class: CompiledOut, Name: name}
		first := func(file string, line int) {
			if r.File == "" {
				r.File, r.Line = file, line
			}
		}
		lines := 0
		for _, d := range dead {
			if !slices.Contains(d.Names, name) || fails == nil && !p.taken[d.Group] {
				continue
			}
			first(d.File, d.From)
			places = append(places, span(&d))
			lines += d.Lines
			p.explained[key{d.File, fmt.Sprint(d.From, d.Gone)}] = true
		}
		for _, d := range p.diffs {
			p.asked(d, func(line int, o string) {
				if o == name {
					first(d.File, line)
					places = append(places, fmt.Sprintf("%s:%d", d.File, line))
					lines++
				}
			})
		}
		if lines == 0 {
			continue
		}
		what := "is a macro"
		if strings.HasPrefix(name, edits.OptionPrefix) {
			what = "is an option"
		}
		r.Why = fmt.Sprintf("%s that nothing defines, and leaves out what was edited (%s: %s)", what,
			counted(lines, "line"), strings.Join(places, ", "))
		r.Do = "define it in the tree (`#define " + name + " 1` at the end of include/linux/kconfig.h, which all files get first)," +
			" or take the condition away"
		out = append(out, r)
	}
	return out, nil
}

// unseen says what leaves a region out.
func (p *preprocessor) unseen(r *edits.Region) Refusal {
	name, what := "what was edited in "+lineRange(r), "is"
	if r.Gone {
		name, what = "what was removed of the old "+lineRange(r), "was"
	}
	var states []string
	for _, n := range r.Names {
		state := map[bool]string{true: "is defined", false: "is not defined"}
		if strings.HasPrefix(n, edits.OptionPrefix) {
			state = map[bool]string{true: "is set", false: "is off"}
		}
		states = append(states, n+" "+state[p.macros[n] || p.macros[n+"_MODULE"]])
	}
	why := fmt.Sprintf("%s compiled out by %s in line %d", what, r.Condition, r.Group.Line)
	if len(states) > 0 {
		why += " (" + strings.Join(states, ", ") + ")"
	}
	return Refusal{Class: CompiledOut, Name: name + " (" + counted(r.Lines, "line") + ")", File: r.File, Line: r.From, To: r.To, Gone: r.Gone,
		Why: why + ": the change has no effect on this kernel", Do: "leave it out, or make it where this kernel's configuration compiles it"}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// span is FILE:LINE, or FILE:FROM-TO.
func span(r *edits.Region) string { return r.File + ":" + lineRange(r) }

func lineRange(r *edits.Region) string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// Settle decides on what the compiler does not see, when all else is known: beside changes that
// take effect it is told; an edited tree that makes no difference is refused.
func (c *Changes) Settle(src *edits.Set, s *Sources) error {
	if len(c.Refusals) > 0 || len(c.Changed)+len(c.Added)+len(c.Removed) > 0 {
		for _, r := range c.Unseen {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s:%d: %s %s", r.File, r.Line, r.Name, r.Why))
		}
		slices.Sort(c.Warnings)
		return nil
	}
	c.Refusals = append(c.Refusals, c.Unseen...)
	r := Refusal{Class: NoEffect, Why: "is edited, but the compiler makes the same code of the whole scheduler",
		Do: "see whether anything uses what was edited"}
	for _, e := range src.Changes {
		if !slices.ContainsFunc(c.Unseen, func(r Refusal) bool { return r.File == e.File }) {
			r.Name, r.File, r.Line = e.Name, e.File, e.At
			c.Refusals = append(c.Refusals, r)
			return nil
		}
	}
	r.Name, r.File = "Makefile", filepath.Join(s.SchedDir, "Makefile")
	text, err := os.ReadFile(filepath.Join(s.Tree, r.File))
	if err != nil {
		return err
	}
	if r.Line = flagLine(s.Makefile, string(text), nil); r.Line > 0 {
		c.Refusals = append(c.Refusals, r)
	}
	return nil
}
