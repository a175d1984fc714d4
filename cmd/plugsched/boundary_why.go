// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/project"
)

func newBoundaryWhy() *cobra.Command {
	var dir string
	var all, asJSON bool
	c := &cobra.Command{
		Use:   "why NAME [--all | --json] [--dir WORKDIR]",
		Short: "Say where a function or variable belongs, and the facts that put it there",
		Long: `Why names the class of a function or variable, and each fact from which that
follows: who calls it, who takes its address, how the kernel's compiler treated it,
and for a variable who names it.`,
		Example: `  plugsched boundary why --dir work try_to_wake_up
  plugsched boundary why --dir work runqueues
  plugsched boundary why --dir work try_to_wake_up --json | jq -r '.functions[].facts[].text'`,
		Args: cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			b, err := openBoundary(dir)
			if err != nil {
				return err
			}
			if asJSON {
				found, err := find(b, a[0])
				if err != nil {
					return err
				}
				return cli.PrintJSON(c.OutOrStdout(), found)
			}
			e := explainer{w: c.OutOrStdout(), b: b, most: 12}
			if all {
				e.most = len(b.Functions) + 1<<20
			}
			return e.explain(a[0])
		},
	}
	dirFlag(c, &dir)
	c.Flags().BoolVar(&all, "all", false, "do not shorten long lists")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, which is never shortened")
	c.MarkFlagsMutuallyExclusive("all", "json")
	return c
}

// found is all that has a name.
type found struct {
	Name      string               `json:"name"`
	Functions []*boundary.Function `json:"functions,omitempty"`
	Objects   []*boundary.Object   `json:"objects,omitempty"`
	Absent    []*boundary.Absent   `json:"absent,omitempty"`
}

func find(b *boundary.Boundary, name string) (*found, error) {
	f := &found{Name: name, Functions: b.Find(name), Objects: b.FindObject(name), Absent: b.FindAbsent(name)}
	for _, fn := range b.Functions {
		if strings.HasSuffix(fn.Movable, ":"+name) && !slices.Contains(f.Functions, fn) {
			f.Functions = append(f.Functions, fn) // a system call, by the name in SYSCALL_DEFINE
		}
	}
	if len(f.Functions)+len(f.Objects)+len(f.Absent) > 0 {
		return f, nil
	}
	text := name + ": the scheduler has no function or variable of that name, in the kernel or inlined"
	if l := b.Similar(name, 5); len(l) > 0 {
		text += "; there are: " + strings.Join(l, ", ")
	}
	return nil, &project.Error{Text: text}
}

type explainer struct {
	w    io.Writer
	b    *boundary.Boundary
	most int // elements of a list
}

func (e *explainer) explain(name string) error {
	all, err := find(e.b, name)
	if err != nil {
		return err
	}
	for _, f := range all.Functions {
		e.function(f)
	}
	for _, o := range all.Objects {
		e.object(o)
	}
	for _, x := range all.Absent {
		e.absent(x)
	}
	return nil
}

func (e *explainer) item(format string, args ...any) {
	fmt.Fprintf(e.w, "  - "+format+"\n", args...)
}

// list joins names and cuts the list off.
func (e *explainer) list(names []string) string {
	if n := len(names) - e.most; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:e.most], ", "), n)
	}
	return strings.Join(names, ", ")
}

func (e *explainer) function(f *boundary.Function) {
	class := f.Class.Describe()
	if f.Movable != "" {
		class = "external: it stays in the kernel unless it is named as a sidecar"
	}
	fmt.Fprintf(e.w, "%s (%s:%d) is %s\n", f.Name, f.DeclFile, f.DeclLine, class)
	for i, fact := range f.Facts {
		if i == e.most {
			e.item("and %d more facts: see --all", len(f.Facts)-i)
			break
		}
		e.item("%s", fact.Text)
	}
	if f.Movable != "" {
		e.item("named as a sidecar it moves, and an update is busy while a task is in it: `plugsched build --sidecar %s WORKDIR`", f.Movable)
	}
	if len(f.Aliases) > 0 {
		e.item("other functions with the same code: %s", e.list(f.Aliases))
	}
	if len(f.Inlines) > 0 {
		e.item("scheduler functions inlined into it, which cannot be changed either: %s", e.list(f.Inlines))
	}
}

func (e *explainer) object(o *boundary.Object) {
	typ := o.Type
	if typ == "" {
		typ = "of unknown type"
	}
	fmt.Fprintf(e.w, "%s (%s:%d, %s, %d bytes) is %s\n", o.Name, o.DeclFile, o.DeclLine, typ, o.Size, o.Class.Describe())
	e.item("%s", o.Why)
	if o.Exported {
		e.item("is exported, so that modules may use it")
	}
	if len(o.Outside) > 0 {
		e.item("named outside of the scheduler by %s", e.list(o.Outside))
	}
	if len(o.Inside) > 0 {
		e.item("named in the scheduler by %s", e.list(o.Inside))
	}
	if len(o.Inside)+len(o.Outside) == 0 {
		e.item("no instruction names it: it is used through pointers, or not at all")
	}
}

func (e *explainer) absent(x *boundary.Absent) {
	fmt.Fprintf(e.w, "%s (%s:%d) is no function of its own in the kernel\n", x.Name, x.DeclFile, x.DeclLine)
	if x.Over != "" {
		e.item("it is weak, and %s replaces it: a change here has no effect", x.Over)
		return
	}
	var moves, stays []string
	for _, name := range x.Into {
		if e.stays(name) {
			stays = append(stays, name)
		} else {
			moves = append(moves, name)
		}
	}
	if len(moves) > 0 {
		e.item("inlined into functions that move, where a change takes effect: %s", e.list(moves))
	}
	if len(stays) > 0 {
		e.item("inlined into functions that stay: a change that alters them is refused: %s", e.list(stays))
		if list := e.movable(stays); len(list) > 0 {
			e.item("these move as sidecars: `plugsched build --sidecar %s WORKDIR`", strings.Join(list, " --sidecar "))
		}
	}
}

func (e *explainer) stays(name string) bool {
	for _, f := range e.b.Find(name) {
		if f.Name == name && !f.Class.Moves() {
			return true
		}
	}
	return false
}

// movable returns the sidecars as which all of the named functions move, nil if one does not.
func (e *explainer) movable(names []string) (out []string) {
	for _, name := range names {
		i := slices.IndexFunc(e.b.Functions, func(f *boundary.Function) bool { return f.Name == name && f.Movable != "" })
		if i < 0 {
			return nil
		}
		out = append(out, e.b.Functions[i].Movable)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
