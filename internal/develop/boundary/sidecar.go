// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// Sidecar is a function that moves although the boundary does not reach it: one of
// another part of the kernel, or one of the scheduler that would stay. It keeps to
// the rules of the scheduler's own functions.
type Sidecar struct {
	File     string // relative to the kernel tree
	Function string // name in the source, of a system call too, or symbol
	Reason   string
	Line     int // in plugsched.yaml
}

// SidecarError makes the error of a sidecar.
func (c *Config) SidecarError(s *Sidecar, format string, args ...any) error {
	return &ConfigError{c.file, s.Line, "sidecar: " + s.File + ": " + fmt.Sprintf(format, args...)}
}

// Sidecars is what plugsched.yaml lists: files, their functions, the reasons.
type Sidecars []Sidecar

// UnmarshalYAML reads the list. Errors name the line.
func (l *Sidecars) UnmarshalYAML(n *yaml.Node) error {
	*l = nil
	err := pairs(n, func(file, functions *yaml.Node) error {
		if err := checkFile(file); err != nil {
			return err
		}
		if len(functions.Content) == 0 {
			return fmt.Errorf("line %d: sidecar: %s: name its functions below it, as FUNCTION: reason", file.Line, file.Value)
		}
		return pairs(functions, func(function, reason *yaml.Node) error {
			if reason.Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: sidecar: %s: the reason for %s is not a text", reason.Line, file.Value, function.Value)
			}
			*l = append(*l, Sidecar{File: file.Value, Function: function.Value, Reason: reason.Value, Line: function.Line})
			return nil
		})
	})
	sort.Slice(*l, func(i, j int) bool {
		a, b := (*l)[i], (*l)[j]
		return a.File < b.File || a.File == b.File && a.Function < b.Function
	})
	return err
}

// pairs calls f for the entries of a mapping.
func pairs(n *yaml.Node, f func(key, value *yaml.Node) error) error {
	n = target(n)
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: sidecar: write FILE:, and below it FUNCTION: reason", n.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := target(n.Content[i])
		switch {
		case k.Kind != yaml.ScalarNode || k.Value == "":
			return fmt.Errorf("line %d: sidecar: a name is missing", k.Line)
		case seen[k.Value]:
			return fmt.Errorf("line %d: sidecar: %s is listed twice", k.Line, k.Value)
		}
		seen[k.Value] = true
		if err := f(k, target(n.Content[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// target is what an alias means.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// MarshalYAML is the reverse of UnmarshalYAML.
func (l Sidecars) MarshalYAML() (any, error) {
	out := map[string]map[string]string{}
	for _, s := range l {
		if out[s.File] == nil {
			out[s.File] = map[string]string{}
		}
		out[s.File][s.Function] = s.Reason
	}
	return out, nil
}

func checkFile(n *yaml.Node) error {
	why := ""
	switch file := n.Value; {
	case path.IsAbs(file), path.Clean(file) != file, strings.HasPrefix(file, "../"):
		why = "write the path from the top of the kernel tree"
	case strings.HasSuffix(file, ".S"):
		why = "is assembly: only C can be changed"
	case !strings.HasSuffix(file, ".c"):
		why = "is not a .c file: name the one whose function is to change"
	default:
		return nil
	}
	return fmt.Errorf("line %d: sidecar: %s: %s", n.Line, n.Value, why)
}

// Files lists the files, sorted.
func (l Sidecars) Files() []string {
	var out []string
	for _, s := range l {
		out = append(out, s.File)
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// AddSidecar adds an entry to the text of a plugsched.yaml, and leaves everything
// else in it alone. An entry that is there already is kept.
func AddSidecar(text []byte, file, function, reason string) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	if last := lines[len(lines)-1]; len(last) > 0 {
		lines[len(lines)-1] = append(slices.Clip(last), '\n')
	}
	entry := []string{"sidecar:", quote(file) + ":", quote(function) + ": " + quote(reason)}
	at, indent := len(lines), 0 // the line behind which the rest of the entry goes, and its column
	for n := &doc; len(entry) > 0; entry = entry[1:] {
		if n.Kind == yaml.DocumentNode {
			n = n.Content[0]
		}
		if n.Kind == 0 || n.Tag == "!!null" {
			break // nothing but comments, or NAME: alone
		}
		if n.Kind != yaml.MappingNode || n.Style&yaml.FlowStyle != 0 {
			return nil, fmt.Errorf("line %d: add the sidecar %s:%s here by hand: this is not a list of NAME: lines", n.Line, file, function)
		}
		if len(n.Content) > 0 {
			indent = n.Content[0].Column - 1
		}
		key, value := lookup(n, []string{"sidecar", file, function}[3-len(entry)])
		if key == nil {
			break
		}
		at, n, indent = key.Line, value, indent+2
	}
	var out bytes.Buffer
	for _, l := range lines[:at] {
		out.Write(l)
	}
	for i, l := range entry {
		fmt.Fprintf(&out, "%*s%s\n", indent+2*i, "", l)
	}
	for _, l := range lines[at:] {
		out.Write(l)
	}
	return out.Bytes(), nil
}

func lookup(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// quote writes a text as YAML would.
func quote(s string) string {
	out, err := yaml.Marshal(s)
	if err != nil {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSpace(string(out))
}

// findSidecars finds the functions that the sidecars mean.
func (d *deriver) findSidecars() error {
	d.named = map[*image.Function]*Sidecar{}
	for i := range d.cfg.Sidecar {
		s := &d.cfg.Sidecar[i]
		found := false
		for _, f := range d.prog.Functions {
			if d.means(s, f) && d.holds(s, f) {
				d.named[f] = s
				found = true
			}
		}
		if !found {
			return d.unknown(s)
		}
	}
	return nil
}

// means reports whether f is the function, a part that gcc split from it, or one of
// the functions that the system call is made of.
func (d *deriver) means(s *Sidecar, f *image.Function) bool {
	if strings.HasSuffix(f.Name, ".cold") {
		return false
	}
	for _, name := range append([]string{f.Name, f.Base}, f.Aliases...) {
		if name == s.Function || d.arch.SyscallName(name) == s.Function {
			return true
		}
	}
	return false
}

// holds reports whether f is in the file of s. Files of the scheduler may be
// included by its units (kernel/sched/build_policy.c).
func (d *deriver) holds(s *Sidecar, f *image.Function) bool {
	return f.Unit == s.File || d.cfg.Source(s.File) && d.cfg.Source(f.Unit) && f.DeclFile == s.File
}

// unknown says why a sidecar's function was not found.
func (d *deriver) unknown(s *Sidecar) error {
	compiled := false
	for _, f := range d.prog.Functions {
		compiled = compiled || d.holds(s, f)
	}
	if !compiled {
		return d.cfg.SidecarError(s, "the kernel's image has no code of this file: it is part of a module, not configured, or included by another file")
	}
	if hosts := d.sidecarHosts(s, func(*image.Function) bool { return true }); len(hosts) > 0 {
		return d.cfg.SidecarError(s, "the compiler inlined %s into %s: name that instead", s.Function, strings.Join(hosts, ", "))
	}
	return d.cfg.SidecarError(s, "the kernel has no function %s there", s.Function)
}

// sidecarHosts names the functions that want accepts and that have a copy of a
// sidecar's code inside.
func (d *deriver) sidecarHosts(s *Sidecar, want func(*image.Function) bool) []string {
	var out []string
	for _, f := range d.prog.Functions {
		if w := d.whole(f); d.holds(s, f) && want(w) && slices.ContainsFunc(f.Inlines, func(in *image.Source) bool {
			return in.Name == s.Function && d.cfg.Compiled(in.DeclFile)
		}) {
			out = append(out, w.Name)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// sidecarSleepers marks sidecars in which tasks wait by way of functions that have
// no class: those of the same file that nobody named. A wait in a scheduler
// function that stays (wait_for_completion) is one as well.
func (d *deriver) sidecarSleepers() {
	for _, n := range d.order {
		if n.side == nil || len(n.stays) > 0 {
			continue
		}
		seen := map[*image.Function]bool{n.fn: true}
		for work := []*image.Function{n.fn}; len(work) > 0 && len(n.stays) == 0; work = work[1:] {
			for _, c := range work[0].Calls {
				to := d.whole(c.To)
				if seen[to] || d.cfg.preempts(to.Name) {
					continue
				}
				seen[to] = true
				if d.sleepsIn(to) {
					n.stays = append(n.stays, Fact{Kind: "sleeps", By: to.Name, Text: "sleeps: " + work[0].Name + " calls " + describe(to)})
					break
				}
				if to.Unit == n.fn.Unit && d.nodes[to] == nil {
					work = append(work, to)
				}
			}
		}
	}
}

// sleepsIn reports functions in which a task waits for as long as it likes.
func (d *deriver) sleepsIn(f *image.Function) bool {
	if d.waits[f] || f.Name == scheduleName {
		return true
	}
	n := d.nodes[f]
	return n != nil && slices.ContainsFunc(n.stays, func(f Fact) bool { return f.Kind == "sleeps" })
}

// checkSidecars refuses sidecars that the analysis keeps where they are.
func (d *deriver) checkSidecars() error {
	for i := range d.cfg.Sidecar {
		s := &d.cfg.Sidecar[i]
		needed := !d.cfg.Source(s.File)
		for _, n := range d.order {
			if n.side != s {
				continue
			}
			needed = needed || len(n.notes) > 0
			if why := d.hinders(n); why != "" {
				return d.cfg.SidecarError(s, "%s cannot move: it %s", n.fn.Name, why)
			}
		}
		if !needed {
			return d.cfg.SidecarError(s, "%s is inside the boundary and moves already", s.Function)
		}
	}
	return nil
}

// hinders says what keeps a sidecar from moving, or "".
func (d *deriver) hinders(n *node) string {
	f := n.fn
	if len(n.stays) > 0 {
		why := n.stays[0].Text
		if f.Name != f.Base {
			why += ": " + strings.Join(names(d.outsideCallers(n)), ", ")
		}
		return why
	}
	stays := func(f *image.Function) bool {
		c := d.nodes[f]
		return !strings.HasPrefix(f.Section, ".init") && (c == nil || len(c.stays) > 0)
	}
	if hosts := d.sidecarHosts(n.side, stays); len(hosts) > 0 {
		return "is also inlined into " + strings.Join(hosts, ", ") + ", where a change would be lost: name that too"
	}
	if !d.reached(n) {
		return ""
	}
	// The module's copies are linked by name.
	for _, g := range d.prog.Func(f.Name) {
		if g == f {
			continue
		}
		if c := d.nodes[g]; c != nil && len(c.stays) == 0 || g.Global && !f.Global {
			return "has the name of another function, in " + g.Unit
		}
	}
	return ""
}

// unnamed lists the functions of the sidecars' files that nobody named: they stay.
func (d *deriver) unnamed() []*Function {
	files := d.cfg.Sidecar.Files()
	var out []*Function
	for _, f := range d.prog.Functions {
		if d.nodes[f] != nil || !slices.Contains(files, f.Unit) || strings.HasSuffix(f.Name, ".cold") {
			continue
		}
		r := &Function{Name: f.Name, Base: f.Base, Aliases: f.Aliases, Unit: f.Unit, DeclFile: f.DeclFile, DeclLine: f.DeclLine,
			Addr: f.Addr, Size: f.Size, Class: External, Inlines: d.inlined(f)}
		switch {
		case symbols.InitSection(f.Section):
			r.Class = Init
			r.Facts = []Fact{{Kind: "init", Text: "is in " + f.Section + ": it ran at boot and its memory is gone"}}
		default:
			r.Facts = []Fact{{Kind: "unnamed", Text: "is outside of the scheduler, and plugsched.yaml does not name it under sidecar"}}
		}
		out = append(out, r)
	}
	return out
}

// movable finds the functions that move if the project names them, by deriving once more with all of them
// named that stay for a reason which a sidecar may overrule.
func (d *deriver) movable(ctx context.Context, b *Boundary) error {
	cfg := *d.cfg
	cfg.Sidecar = slices.Clone(cfg.Sidecar)
	wanted := map[string]bool{}
	for _, n := range d.order {
		if n.side != nil || len(n.stays) == 0 || slices.ContainsFunc(n.stays, func(f Fact) bool { return f.Kind != "waits" }) {
			continue
		}
		s := Sidecar{File: n.fn.DeclFile, Function: d.arch.SyscallName(n.fn.Base)}
		if id := s.File + ":" + s.Function; !wanted[id] {
			wanted[id] = true
			cfg.Sidecar = append(cfg.Sidecar, s)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	trial := &deriver{prog: d.prog, arch: d.arch, cfg: &cfg, tail: d.tail, nodes: map[*image.Function]*node{}}
	if err := trial.classes(ctx); err != nil {
		return err
	}
	held := map[string]bool{}
	for _, n := range trial.order {
		if n.side != nil && trial.hinders(n) != "" {
			held[n.side.File+":"+n.side.Function] = true
		}
	}
	for _, f := range b.Functions {
		n := trial.nodes[d.function(f)]
		if n == nil || n.side == nil || f.Sidecar || f.Class.Moves() {
			continue
		}
		if id := n.side.File + ":" + n.side.Function; wanted[id] && !held[id] {
			f.Movable = id
		}
	}
	return nil
}

// function is the one of the image that a result is about.
func (d *deriver) function(f *Function) *image.Function {
	for _, n := range d.prog.Func(f.Name) {
		if n.Addr == f.Addr {
			return n
		}
	}
	return nil
}
