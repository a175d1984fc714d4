// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Class is a kind of refusal: a section of docs/develop/refusals.md.
type Class string

// The classes of refusals.
const (
	Stays       Class = "stays"
	Inlined     Class = "inlined"
	Init        Class = "init"
	Builder     Class = "builder"
	Signature   Class = "signature"
	Entry       Class = "entry"
	Folded      Class = "folded"
	Layout      Class = "layout"
	Value       Class = "value"
	Variable    Class = "variable"
	Header      Class = "header"
	Export      Class = "export"
	Syscall     Class = "syscall"
	Parameter   Class = "parameter"
	Initcall    Class = "initcall"
	Tracepoint  Class = "tracepoint"
	StaticCall  Class = "static-call"
	SchedClass  Class = "class"
	Registered  Class = "registered"
	Section     Class = "section"
	Switch      Class = "switch"
	Pointer     Class = "pointer"
	Undefined   Class = "undefined"
	Twice       Class = "twice"
	NotCompiled Class = "not-compiled"
	CompiledOut Class = "compiled-out"
	NoEffect    Class = "no-effect"
	Flags       Class = "flags"
	Inherited   Class = "inherited"
)

// Classes are all classes, in the order of docs/develop/refusals.md.
var Classes = []Class{Stays, Inlined, Init, Builder, Signature, Entry, Folded, Layout, Value, Variable, Header, Export, Syscall,
	Parameter, Initcall, Tracepoint, StaticCall, SchedClass, Registered, Section, Switch, Pointer, Undefined, Twice,
	NotCompiled, CompiledOut, NoEffect, Flags, Inherited}

// Refusal is one change that could not take effect, or not safely.
type Refusal struct {
	Class Class
	Name  string // function, variable or structure
	File  string // of the change, "" when unknown
	Line  int
	Why   string
	Do    string // what to do instead
	// Derived marks a refusal whose own source is unchanged: that of the structure
	// or header that it uses says more.
	Derived bool `json:"-"`
	// Unexplained is the unit of a function whose code differs while its source does not.
	Unexplained string `json:"-"`
	// To is the last line of a region that is compiled out, 0 of a whole file; Gone says that its lines are those
	// of the file as it was.
	To   int  `json:"-"`
	Gone bool `json:"-"`
}

func (r Refusal) String() string {
	s := r.Name
	switch {
	case r.Line > 0:
		s = fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Name)
	case r.File != "":
		s = r.File + ": " + r.Name
	}
	return fmt.Sprintf("%s %s; %s (docs/develop/refusals.md#%s)", s, r.Why, r.Do, r.Class)
}

// Distinct sorts refusals and leaves out those that others explain.
func Distinct(list []Refusal) []Refusal {
	explained := slices.ContainsFunc(list, func(r Refusal) bool { return r.Class == Layout || r.Class == Header })
	list = slices.DeleteFunc(slices.Clone(list), func(r Refusal) bool { return r.Derived && explained })
	slices.SortFunc(list, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.String(), b.String()))
	})
	return slices.CompactFunc(list, func(a, b Refusal) bool { return a.String() == b.String() })
}
