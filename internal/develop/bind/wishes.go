// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
)

// Wishes are what a project wants to be otherwise with its scheduler, of what one scheduler inherits
// from another.
type Wishes struct {
	Features map[string]bool   // of kernel/sched/features.h
	Values   map[string]uint64 // bits of the kernel's variables
	// File is the project's, Line where it lists a name of a section.
	File string
	Line func(section, name string) int
	// Derived says why a variable does nothing unless its sysctl is written, Recomputed when the kernel puts
	// another number there: both "" for the most.
	Derived, Recomputed func(name string) string
}

// WantedValue is a variable of the kernel and the number that is wanted in it.
type WantedValue struct {
	Name         string
	Addr         uint64 // link address
	Size, Wanted uint64 // bytes, bits
}

// Grant holds the wishes against what there is, and what was edited against the wishes: defaults of
// features, and initial values, are inherited from the scheduler before, whatever the source says. It takes
// back the refusals of values that are wished.
func (b *Bound) Grant(k *Kernel, pristine, edited map[string]*asm.Unit, src *edits.Set, w *Wishes) []WantedValue {
	b.features(k, pristine, edited, src, w)
	return b.values(k, pristine, edited, w)
}

func (w *Wishes) refusal(section, name, why, do string) Refusal {
	return Refusal{Class: Inherited, Name: name, File: w.File, Line: w.Line(section, name), Why: why, Do: do}
}

// featureKeys are there if features can be changed at run time, and are carried over (runtime/features.c).
const featureKeys = "sched_feat_keys"

func (b *Bound) features(k *Kernel, pristine, edited map[string]*asm.Unit, src *edits.Set, w *Wishes) {
	if len(k.Boundary.FindObject(featureKeys)) == 0 {
		for _, name := range slices.Sorted(maps.Keys(w.Features)) {
			b.Refusals = append(b.Refusals, w.refusal("features", name,
				"is a constant of this kernel: features cannot be set when the scheduler runs",
				"take it out of `features:`, and change kernel/sched/features.h, which takes effect"))
		}
		return
	}
	was, is := features(pristine), features(edited)
	for _, name := range slices.Sorted(maps.Keys(w.Features)) {
		if _, ok := is[name]; !ok {
			b.Refusals = append(b.Refusals, w.refusal("features", name, "is no feature of this scheduler", "see kernel/sched/features.h"))
			continue
		}
		b.Warnings = append(b.Warnings, fmt.Sprintf("%s: is set to %v when this scheduler takes over (features: in %s)", name,
			w.Features[name], w.File))
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		before, had := was[name]
		now := is[name]
		wanted, wished := w.Features[name]
		if !had || before == now || wished && wanted == now {
			continue
		}
		r := Refusal{Class: Inherited, Name: name, File: "kernel/sched/features.h",
			Why: fmt.Sprintf("is a feature that this kernel has: what is set there is carried over, so that its new default (%v) would not show",
				now),
			Do: fmt.Sprintf("say in plugsched.yaml what it is to be with this scheduler (`features: {%s: %v}`)", name, now)}
		if wished {
			r.Why = fmt.Sprintf("is to be %v by `features:` in %s, and %v by its new default", wanted, w.File, now)
			r.Do = "make the two agree"
		}
		for _, e := range src.Changes {
			if e.Macro == "SCHED_FEAT" && e.Name == name && !e.Gone {
				r.File, r.Line = e.File, e.At
			}
		}
		b.Refusals = append(b.Refusals, r)
	}
}

var (
	quoted    = regexp.MustCompile(`"(\w+)"`)
	directive = regexp.MustCompile(`^\.(byte|value|short|word|hword|2byte|long|int|4byte|quad|xword|8byte)\s+(-?\d+)$`)
)

// features are the features of a scheduler and their defaults: the names in sched_feat_names
// number the bits of sysctl_sched_features (kernel/sched/debug.c and core.c).
func features(units map[string]*asm.Unit) map[string]bool {
	out := map[string]bool{}
	_, names := definition(units, "sched_feat_names")
	_, bits := definition(units, "sysctl_sched_features")
	set, ok := scalar(bits)
	if !ok {
		return out
	}
	for i, m := range quoted.FindAllStringSubmatch(names, -1) {
		out[m[1]] = set>>i&1 != 0
	}
	return out
}

// definition returns an object of some unit, and its contents line by line.
func definition(units map[string]*asm.Unit, name string) (d *asm.Def, text string) {
	for _, unit := range slices.Sorted(maps.Keys(units)) {
		if d := units[unit].Lookup(name); d != nil && d.Kind == asm.Object {
			_, text, _ := strings.Cut(units[unit].Normal(d), "\n") // behind the label
			return d, text
		}
	}
	return nil, ""
}

// scalar reads contents that are one number.
func scalar(text string) (uint64, bool) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, ".zero") && !strings.Contains(text, "\n") {
		return 0, true
	}
	m := directive.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	if n, err := strconv.ParseInt(m[2], 10, 64); err == nil {
		return uint64(n), true
	}
	n, err := strconv.ParseUint(m[2], 10, 64)
	return n, err == nil
}

// values grants the wishes for variables: numbers of the scheduler's own that can be written.
func (b *Bound) values(k *Kernel, pristine, edited map[string]*asm.Unit, w *Wishes) (out []WantedValue) {
	granted := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(w.Values)) {
		wanted := w.Values[name]
		d, _ := definition(pristine, name)
		list := k.Boundary.FindObject(name)
		switch {
		case d == nil || len(list) != 1:
			b.Refusals = append(b.Refusals, w.refusal("values", name, "is no variable of the scheduler in this kernel",
				"see `plugsched boundary show`"))
			continue
		case w.Derived(name) != "":
			b.Refusals = append(b.Refusals, w.refusal("values", name, "does nothing if only the variable is set: "+w.Derived(name), doSysctl))
			continue
		case !settable(list[0], d, pristine):
			b.Refusals = append(b.Refusals, w.refusal("values", name, "is no single number that the kernel has and that can be written",
				"set it in plugsched_init() (docs/develop/hooks.md)"))
			continue
		}
		if ok, room := canHold(list[0], d.Size, wanted); !ok {
			b.Refusals = append(b.Refusals, w.refusal("values", name, fmt.Sprintf("is to be %s, and is %s (%s), which cannot hold that",
				decimal(wanted), list[0].Type, room), "give it a number that it can hold"))
			continue
		}
		_, text := definition(edited, name)
		_, before := definition(pristine, name)
		if is, ok := scalar(text); ok && text != before && bitsOf(is, d.Size) != bitsOf(wanted, d.Size) {
			b.Refusals = append(b.Refusals, w.refusal("values", name, fmt.Sprintf("is to be %s, and %s by its new initial value",
				decimal(wanted), decimal(is)),
				"make the two agree"))
			continue
		}
		granted[name] = true
		out = append(out, WantedValue{name, list[0].Addr, d.Size, bitsOf(wanted, d.Size)})
		b.Warnings = append(b.Warnings, fmt.Sprintf("%s: is set to %s when this scheduler takes over (values: in %s)", name,
			decimal(wanted), w.File))
		if why := w.Recomputed(name); why != "" {
			b.Warnings = append(b.Warnings, name+": does not keep the number of `values:` for good: "+why)
		}
	}
	b.Refusals = slices.DeleteFunc(b.Refusals, func(r Refusal) bool { return r.Class == Value && granted[r.Name] })
	for i := range b.Refusals {
		r := &b.Refusals[i]
		if r.Class == Value && w.Derived(r.Name) != "" {
			r.Do = doSysctl + " (" + w.Derived(r.Name) + ")"
			continue
		}
		was, _ := definition(pristine, r.Name)
		_, text := definition(edited, r.Name)
		list := k.Boundary.FindObject(r.Name)
		if n, ok := scalar(text); r.Class == Value && ok && was != nil && len(list) == 1 && settable(list[0], was, pristine) {
			r.Do = fmt.Sprintf("say in plugsched.yaml what it is to be with this scheduler (`values: {%s: %s}`), or %s", r.Name, decimal(n),
				strings.TrimPrefix(doValue, "undo the change, and "))
		}
	}
	slices.SortFunc(out, func(a, b WantedValue) int { return cmp.Compare(a.Addr, b.Addr) })
	return out
}

// doSysctl is what to do about a variable that is only what a sysctl shows.
const doSysctl = "set it by its sysctl or file in debugfs"

// settable reports a variable that the kernel has and that is one number.
func settable(o *boundary.Object, d *asm.Def, units map[string]*asm.Unit) bool {
	_, text := definition(units, o.Name)
	_, number := scalar(text)
	return o.Class == boundary.Shared && o.Addr != 0 && number && numberType.MatchString(unqualified(o.Type)) && writable(d.Section) &&
		slices.Contains([]uint64{1, 2, 4, 8}, d.Size)
}

// numberType are the types of plain numbers: those of C, as debug information spells them, and the kernel's
// names for them (include/linux/types.h, include/asm-generic/int-ll64.h). Any other name may stand for a lock, a
// counter or a pointer, which are not for anybody to write.
var numberType = regexp.MustCompile(`^(((signed|unsigned|long|short) )*(char|int)|_Bool|bool|(__)?[us](8|16|32|64)|enum \w+)$`)

func unqualified(ctype string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(ctype), func(w string) bool { return w == "const" || w == "volatile" }), " ")
}

// canHold reports whether a number, signed or not, is one of a variable's, and which those are.
func canHold(o *boundary.Object, size, n uint64) (ok bool, room string) {
	if t := unqualified(o.Type); t == "bool" || t == "_Bool" {
		return n <= 1, "0 or 1"
	}
	bits := 8 * size
	signed := int64(n<<(64-bits))>>(64-bits) == int64(n)
	return signed || bitsOf(n, size) == n, fmt.Sprintf("%d bits", bits)
}

// decimal writes the bits of a number as people do who mean a small one below zero.
func decimal(n uint64) string {
	if int64(n) < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(n, 10)
}

func bitsOf(n, size uint64) uint64 {
	if size >= 8 {
		return n
	}
	return n & (1<<(8*size) - 1)
}

// writable reports sections that stay writable when the kernel has booted
// (include/asm-generic/vmlinux.lds.h).
func writable(section string) bool {
	switch section {
	case ".data", ".bss", ".data..read_mostly", ".data..cacheline_aligned":
		return true
	}
	return strings.HasPrefix(section, ".data.") && !strings.HasPrefix(section, ".data..") && !strings.HasPrefix(section, ".data.rel.ro") ||
		strings.HasPrefix(section, ".bss.") && !strings.HasPrefix(section, ".bss..")
}
