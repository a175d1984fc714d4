// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
)

// aside are places of a kernel's source that have no part in the code of an image, and what they are.
var aside = []struct{ prefix, what string }{
	{"Documentation/", "documentation"}, {"tools/", "a tool or a test"}, {"samples/", "an example"}, {"scripts/", "of the kernel's own build"},
	{"LICENSES/", "a licence"}, {"debian/", "of Debian's packaging"}, {"usr/", "of the kernel's own build"},
}

// outside judges what a patch does to a file that the tree does not have.
func (s *series) outside(f *patch.File) ([]*piece, error) {
	file := f.Path()
	whole := func(v Verdict, why, do string) []*piece {
		return []*piece{{Part: Part{File: file, Verdict: v, Why: why, Do: do}}}
	}
	base := path.Base(file)
	for _, a := range aside {
		if strings.HasPrefix(file, a.prefix) {
			return whole(Irrelevant, "is "+a.what, ""), nil
		}
	}
	arch, _, _ := strings.Cut(strings.TrimPrefix(file, "arch/"), "/")
	switch ext := path.Ext(file); {
	case strings.HasPrefix(file, "arch/") && arch != s.target.KernelArch && strings.Contains(file[len("arch/"):], "/"):
		return whole(Irrelevant, "is of another architecture", ""), nil
	case strings.HasPrefix(base, "Kconfig"):
		return s.kconfig(f), nil
	case strings.HasPrefix(file, "arch/") && strings.Contains(file, "/configs/"):
		return whole(Irrelevant, "is a default configuration: this kernel is configured", ""), nil
	case slices.Contains([]string{"Makefile", "Kbuild", ".gitignore"}, base), slices.Contains([]string{".txt", ".rst", ".md"}, ext),
		!strings.Contains(file, "/"):
		return whole(Irrelevant, "is of the kernel's own build, or a text", ""), nil
	case f.Binary:
		return whole(Cannot, "is no text", "leave it out, or add it by hand"), nil
	case ext != ".c" && ext != ".h":
		return whole(Cannot, "is no C: it is in the kernel's image as it is", "make the change in functions that move"), nil
	}
	was, err := s.beyond(f)
	_, known := s.outer[f.Old]
	switch {
	case err != nil:
		return nil, err
	case was == nil && known:
		return whole(Rejected, "a patch before has moved or removed it", "adapt the patch to that"), nil
	case was == nil && f.Old == "", was != nil && was.made:
		s.takeIn(f, &outer{made: true})
		return whole(Cannot, "is new, and only "+project.SchedDir+" is built",
			"put it there, with a line in "+project.SchedDir+"/Makefile (obj-y += "+strings.TrimSuffix(base, ".c")+".o)"), nil
	case was == nil && s.kernel.Compiled(f.Old):
		return whole(Cannot, "is of a file that stays in the kernel, and whose source is not at hand",
			"make the change in functions that move, or let `plugsched init --source` have a whole tree and look again"), nil
	case was == nil:
		return whole(Irrelevant, "is not in this kernel's source at hand: no part that the scheduler is built with", ""), nil
	}
	unit := ""
	if ext := path.Ext(file); ext == ".c" {
		if unit, err = s.compiledAs(was.file); err != nil {
			return nil, err
		}
		if unit == "" {
			if by := s.builtBy(was.file); by != "" {
				return whole(Cannot, "is a part of a module ("+by+"=m), not of the kernel's image",
					"build that module anew, if it needs the change"), nil
			}
			return whole(Irrelevant, "is not compiled into this kernel", ""), nil
		}
	}
	return s.hunksOutside(f, was, unit), nil
}

// outer is a file of the kernel's source that the tree does not have, as far as the patches have come with it.
type outer struct {
	file string // in the kernel's source
	text string
	made bool // by a patch: its text is not followed
}

// beyond returns a file that the tree does not have as it is before a change, nil if there is none.
func (s *series) beyond(f *patch.File) (*outer, error) {
	file := cmp.Or(f.Old, f.New)
	if o, known := s.outer[file]; known {
		return o, nil
	}
	text, err := os.ReadFile(filepath.Join(s.target.Source, file))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return &outer{file: file, text: string(text)}, err
}

// takeIn notes what a change makes of a file that the tree does not have: the next patch goes on from that.
func (s *series) takeIn(f *patch.File, is *outer) {
	if s.outer == nil {
		s.outer = map[string]*outer{}
	}
	if f.Old != f.New && f.Old != "" {
		s.outer[f.Old] = nil
	}
	if f.New != "" {
		s.outer[f.New] = is
	}
}

// compiledAs returns the unit of the kernel's image that has a file's code: itself, or one beside it that includes it; "" if
// there is none.
func (s *series) compiledAs(file string) (string, error) {
	if s.kernel.Compiled(file) {
		return file, nil
	}
	includes := regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]+"(?:[^"\n]*/)?` + regexp.QuoteMeta(path.Base(file)) + `"`)
	beside, err := filepath.Glob(filepath.Join(s.target.Source, path.Dir(file), "*.c"))
	if err != nil {
		return "", err
	}
	for _, abs := range beside {
		text, err := os.ReadFile(abs)
		if err != nil {
			return "", err
		}
		if unit := path.Join(path.Dir(file), filepath.Base(abs)); includes.Match(text) && s.kernel.Compiled(unit) {
			return unit, nil
		}
	}
	return "", nil
}

// hunksOutside judges the hunks of a file of the kernel's source, which is compiled as a part of unit.
func (s *series) hunksOutside(f *patch.File, before *outer, unit string) (out []*piece) {
	was, file := before.text, before.file
	t := patch.NewText(was)
	for _, h := range f.Hunks {
		x := &piece{Part: Part{File: f.Path()}, hunk: h}
		place, err := t.Put(h)
		x.at(place, err, f.Path())
		x.Applied = false
		out = append(out, x)
	}
	is := t.String()
	s.takeIn(f, &outer{file: file, text: is})
	if len(out) == 0 {
		return []*piece{{Part: Part{File: f.Path(), Verdict: Cannot, Why: "moves a file of the kernel's", Do: "leave it out"}}}
	}
	src := &edits.Set{}
	src.Compare(file, was, is)
	var found []elsewhere
	if path.Ext(file) == ".c" {
		for _, e := range s.kernel.Elsewhere(file, unit, was, src) {
			v := Cannot
			switch {
			case len(e.Sidecars) > 0:
				v, e.Do = Sidecar, doSidecars(e.Sidecars)
			case e.Hook:
				v = Hook
			}
			at := elsewhere{Part{Function: e.Name, Verdict: v, Why: e.Why, Do: e.Do, Sidecars: e.Sidecars}, e.Line, e.Last()}
			found = append(found, at)
		}
	}
	same := edits.NewDiff(file, was, is).Same()
	for _, x := range out {
		if x.Verdict != Applies {
			continue
		}
		x.judge(found, src, same, path.Ext(file) == ".h")
	}
	return out
}

// elsewhere is a verdict on some lines of a changed file.
type elsewhere struct {
	Part
	from, to int
}

// judge gives a hunk of a file outside of the tree its verdict.
func (x *piece) judge(found []elsewhere, src *edits.Set, same, header bool) {
	from, to := x.place.From, x.place.To
	for _, e := range found {
		if e.from <= to && from <= e.to {
			x.Function, x.Verdict, x.Why, x.Do, x.Sidecars = e.Function, e.Verdict, e.Why, e.Do, e.Sidecars
			return
		}
	}
	changed := slices.ContainsFunc(src.Changes, func(c *edits.Change) bool {
		return !c.New && !c.Gone && c.Line <= to && from <= c.Last()
	})
	needs := slices.IndexFunc(found, func(e elsewhere) bool { return e.Verdict == Sidecar })
	switch {
	case same:
		x.Verdict, x.Why = Irrelevant, "changes comments only"
	case header && changed:
		x.Verdict, x.Why = Cannot, "others were compiled with what this changes, and the scheduler does not include it"
		x.Do = "give the scheduler's own a new name, in a header of " + project.SchedDir
	case header:
		x.Verdict, x.Why = Irrelevant, "is for others: the scheduler does not include this header"
	case needs >= 0:
		x.Verdict, x.Why = Sidecar, "goes along with "+found[needs].Function
		x.Sidecars, x.Do = found[needs].Sidecars, found[needs].Do
	case changed:
		x.Verdict, x.Why, x.Do = Cannot, "is of a file that stays in the kernel", "make the change in functions that move"
	default:
		x.Verdict, x.Why = Cannot, "adds to a file that stays in the kernel"
		x.Do = "put it into a file of " + project.SchedDir
	}
}

var (
	objectRE = regexp.MustCompile(`(?m)^\s*([\w-]+|[\w-]*\$\(CONFIG_\w+\))\s*[:+]?=((?:.*\\\n)*.*)$`)
	optionRE = regexp.MustCompile(`\$\(CONFIG_(\w+)\)`)
)

// builtBy returns the option that makes a file a part of a module, "" if none is known to.
func (s *series) builtBy(file string) string {
	dir := filepath.Join(s.target.Source, filepath.Dir(file))
	config, err := os.ReadFile(s.target.Config)
	if err != nil {
		return ""
	}
	for _, name := range []string{"Kbuild", "Makefile"} {
		makefile, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		object := strings.TrimSuffix(filepath.Base(file), ".c")
		for range 3 { // a part of a part
			next := ""
			for _, m := range objectRE.FindAllStringSubmatch(string(makefile), -1) {
				if !slices.Contains(strings.Fields(strings.ReplaceAll(m[2], "\\\n", " ")), object+".o") {
					continue
				}
				if o := optionRE.FindStringSubmatch(m[1]); o != nil && strings.HasPrefix(m[1], "obj-") {
					if strings.Contains(string(config), "\nCONFIG_"+o[1]+"=m\n") {
						return "CONFIG_" + o[1]
					}
					continue
				}
				if part, _, ok := strings.Cut(m[1], "-"); ok && part != "obj" && part != "lib" {
					next = part
				}
			}
			if next == "" || next == object {
				break
			}
			object = next
		}
	}
	return ""
}

var (
	configRE  = regexp.MustCompile(`^\s*(?:menu)?config\s+(\w+)`)
	typeRE    = regexp.MustCompile(`^\s*(?:def_)?(bool|tristate|int|hex|string)\b`)
	defaultRE = regexp.MustCompile(`^\s*(?:default|def_bool|def_tristate)\s+("[^"]*"|\S+)`)
)

// kconfig judges a file of options: their text is for who configures a kernel, but one that is new and that the patches
// ask for has to be given.
func (s *series) kconfig(f *patch.File) []*piece {
	type option struct{ name, typ, value string }
	var all []*option
	for _, h := range f.Hunks {
		for _, l := range h.Edits('+') {
			if m := configRE.FindStringSubmatch(l); m != nil {
				all = append(all, &option{name: "CONFIG_" + m[1]})
			}
			if len(all) == 0 {
				continue
			}
			o := all[len(all)-1]
			if m := typeRE.FindStringSubmatch(l); m != nil && o.typ == "" {
				o.typ = m[1]
			}
			if m := defaultRE.FindStringSubmatch(l); m != nil && o.value == "" {
				o.value = m[1]
			}
		}
	}
	var out []*piece
	for _, o := range all {
		if !s.asksFor(o.name) || s.defines(o.name) {
			continue
		}
		value := "1"
		if o.typ == "int" || o.typ == "hex" || o.typ == "string" {
			value = cmp.Or(o.value, "0")
		}
		out = append(out, &piece{Part: Part{File: f.Path(), Verdict: Setting, Setting: o.name + "=" + value,
			Why: o.name + " is an option of the patch's own, and this kernel is configured already",
			Do:  fmt.Sprintf("give it with `--option %s=%s`, or take its condition out of the patch", o.name, value)}})
	}
	if out == nil {
		out = []*piece{{Part: Part{File: f.Path(), Verdict: Irrelevant, Why: "is text for who configures a kernel"}}}
	}
	return out
}

// asksFor reports that some patch adds a line of C with an option in it.
func (s *series) asksFor(option string) bool {
	word := regexp.MustCompile(`\b` + option + `\b`)
	for _, p := range s.patches {
		for _, f := range p.Files {
			if ext := path.Ext(f.Path()); ext != ".c" && ext != ".h" {
				continue
			}
			for _, h := range f.Hunks {
				if slices.ContainsFunc(h.Edits('+'), word.MatchString) {
					return true
				}
			}
		}
	}
	return false
}

// optionsHeader is what all files get before their first line.
const optionsHeader = "include/linux/kconfig.h"

// defines reports an option that is set: by the header, by an option of this run, or by the kernel's configuration.
func (s *series) defines(option string) bool {
	c, err := s.tree(optionsHeader)
	if err == nil && c != nil && regexp.MustCompile(`(?m)^#define `+option+`\b`).MatchString(c.text.String()) {
		return true
	}
	config, err := os.ReadFile(s.target.Config)
	return err == nil && regexp.MustCompile(`(?m)^(# )?`+option+`[= ]`).Match(config)
}

// withOptions puts definitions at the end of the header of options.
func withOptions(text, options string) string {
	if at := strings.LastIndex(text, "#endif"); at >= 0 {
		return text[:at] + options + text[at:]
	}
	return text + options
}

var optionFlagRE = regexp.MustCompile(`^(CONFIG_\w+)(?:=(.*))?$`)

// optionLines makes definitions of OPTION or OPTION=VALUE.
func optionLines(list []string) (string, error) {
	var b strings.Builder
	for _, o := range list {
		m := optionFlagRE.FindStringSubmatch(o)
		if m == nil || m[2] == "n" {
			return "", project.Errorf("--option %s: write CONFIG_NAME or CONFIG_NAME=VALUE", o)
		}
		value := m[2]
		if value == "" || value == "y" {
			value = "1"
		}
		fmt.Fprintf(&b, "#define %s %s\n", m[1], value)
	}
	return b.String(), nil
}
