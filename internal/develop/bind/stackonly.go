// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/image"
)

// linkage are members by which the kernel reaches a structure without a pointer
// of its type.
var linkage = map[string]bool{
	"struct list_head": true, "struct hlist_node": true, "struct rb_node": true, "struct callback_head": true,
	"struct llist_node": true, "struct kobject": true, "struct timer_list": true, "struct hrtimer": true,
	"struct work_struct": true, "struct kthread_work": true, "struct irq_work": true, "struct wait_queue_entry": true,
	"struct __call_single_data": true, "struct cpu_stop_work": true,
}

// linked reports a structure with a linkage in it, be it in a structure inside.
func linked(t *image.Types, name string, depth int) bool {
	const deep = 16
	return slices.ContainsFunc(t.Layouts[name].Members, func(m image.Member) bool {
		inner := elementType(m.Type)
		return linkage[inner] || depth < deep && linked(t, inner, depth+1)
	})
}

// stackOnly reports a structure of the scheduler's that only ever is on the stack of functions
// that move. Then its layout is theirs alone, whatever lists or timers it is linked into. That
// is sound because
//
//   - whoever is inside of such a function has its frame on a stack, and the update inspects all
//     stacks (runtime/scan.c, runtime/stopped.c): at the switch there is no such frame, and so no
//     object that the code before it has laid out. What would then still lead to one would lead
//     into a frame that is gone, with and without an update;
//   - __schedule is none of these functions. All sleepers are in its frame;
//   - functions that stay do not have one on their stack, nor in what is inlined into them;
//   - there is no object elsewhere: each is seen to be a variable in a function, and each pointer
//     to one to be a parameter. What would come from an allocation, or from a list by
//     container_of(), has to be converted to a pointer of the type, which takes a variable, a
//     member, a result or a cast. Variables of all functions are in the debug information, those
//     that macros make included; casts are in the source only.
//
// A pointer that is kept as a void * or as a number and cast back makes the structure one
// that is held, for the cast's sake.
func (k *Kernel) stackOnly(ctx context.Context, t *image.Types, unit, name string, s *Sources) (bool, error) {
	on := t.Automatic[name]
	if len(on) == 0 || t.Pointed[name] || k.memberPointsAt(t, name) {
		return false, nil
	}
	for _, function := range on {
		if !k.allMove(function, unit) {
			return false, nil
		}
	}
	held, err := k.heldInSource(ctx, name, t.Layouts[name].DeclFile, s)
	return !held && err == nil, err
}

// allMove reports whether all the code of a source's function in a unit, clones and parts
// included, moves, and is left by all tasks at the switch.
func (k *Kernel) allMove(function, unit string) bool {
	n := 0
	for _, f := range k.Boundary.Functions {
		if f.Unit != unit || k.sourceName(f.Name) != k.sourceName(function) {
			continue
		}
		if n++; !f.Class.Moves() || f.Name == schedule {
			return false
		}
	}
	return n > 0
}

// memberPointsAt reports whether a structure has a member with a pointer to another one in it.
func (k *Kernel) memberPointsAt(t *image.Types, name string) bool {
	for _, l := range t.Layouts {
		for _, m := range l.Members {
			if elementType(m.Type) != name && slices.Contains(typeNames.FindAllString(m.Type, -1), name) {
				return true
			}
		}
	}
	return false
}

// heldInSource reports whether the kernel's source mentions a structure in another way than to
// define it, to have a variable of it or a parameter that points at one. If a header defines it,
// nobody else may mention it at all.
func (k *Kernel) heldInSource(ctx context.Context, name, declared string, s *Sources) (held bool, err error) {
	_, tag, ok := strings.Cut(name, " ")
	if !ok || s == nil {
		return true, nil
	}
	if strings.HasSuffix(declared, ".h") {
		err = k.eachOutside(ctx, s, func(_, text string) bool { held = edits.Mention(text, tag) > 0; return held })
	}
	for _, dir := range k.Boundary.Sources {
		if held || err != nil {
			break
		}
		err = filepath.WalkDir(filepath.Join(s.Kernel, dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil || !e.Type().IsRegular() || !strings.HasSuffix(path, ".c") && !strings.HasSuffix(path, ".h") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if held = edits.Held(string(text), tag); held {
				return fs.SkipAll
			}
			return nil
		})
	}
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // without the source nothing is known
	}
	return held, err
}
