// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"path"
	"slices"
	"strings"
)

// tree turns the paths in debug information into paths relative to the kernel
// tree. Kbuild compiles in the object tree, so that a relative path is relative
// to the tree already, be the file source or generated; what has to be found out
// is the prefix of the others. Distributions differ: absolute paths, paths
// relative to the object tree ("../../kernel/fork.c"), C units mapped by
// -ffile-prefix-map while the assembler's stay absolute.
type tree struct {
	roots []string // prefixes to remove, longest first; each ends in "/"
}

// unitPath is a compilation unit's name and directory, as DWARF has them.
type unitPath struct{ name, dir string }

// landmark is a unit that every kernel has.
const landmark = "/init/main.c"

// newTree derives the tree's prefixes from all units.
func newTree(units []unitPath) *tree {
	t := &tree{}
	dirs := map[string]bool{}
	var absolute []string
	known := map[string]bool{} // directories of units with a relative name
	source := ""               // the kernel tree within what is mapped
	for _, u := range units {
		if root, ok := strings.CutSuffix(locate(u.name, u.dir), landmark); ok {
			t.add(root)
			if !path.IsAbs(root) {
				source = root
			}
		}
	}
	for _, u := range units {
		if u.dir != "" {
			dirs[path.Clean(u.dir)] = true
		}
		switch p := t.strip(locate(u.name, u.dir)); {
		case path.IsAbs(p):
			absolute = append(absolute, p)
		case path.Dir(p) != ".":
			known[path.Dir(p)] = true
		}
	}
	for d := range dirs {
		t.add(d)
		// A mapped directory is the tail of the same directory unmapped.
		for full := range dirs {
			if !path.IsAbs(d) && d != "." {
				if root, ok := strings.CutSuffix(full, "/"+d); ok && path.IsAbs(full) {
					t.add(root)
					t.add(path.Join(root, source))
				}
			}
		}
	}
	t.sort()
	absolute = slices.DeleteFunc(absolute, func(p string) bool { return t.strip(p) != p })
	if root := vote(absolute, known); root != "" {
		t.add(root)
	} else if root := commonDir(absolute); root != "" {
		t.add(root)
	}
	t.sort()
	return t
}

// locate makes a name relative to the unit's directory absolute if that is how
// it leaves the object tree.
func locate(name, dir string) string {
	name = path.Clean(name)
	if strings.HasPrefix(name, "../") {
		return path.Join(dir, name)
	}
	return name
}

// rel returns the path of a unit's file relative to the kernel tree. dir is the
// unit's directory. A file outside the tree keeps its path.
func (t *tree) rel(name, dir string) string {
	if name == "" {
		return ""
	}
	return t.strip(locate(name, dir))
}

func (t *tree) add(root string) {
	if root == "" || root == "/" || root == "." || slices.Contains(t.roots, root+"/") {
		return
	}
	t.roots = append(t.roots, root+"/")
}

func (t *tree) sort() {
	slices.SortFunc(t.roots, func(a, b string) int { return len(b) - len(a) })
}

func (t *tree) strip(p string) string {
	for _, r := range t.roots {
		if s, ok := strings.CutPrefix(p, r); ok {
			return s
		}
	}
	return p
}

// vote finds the prefix that makes most absolute paths fall into directories
// known from relative ones; "" without a vote.
func vote(absolute []string, known map[string]bool) string {
	votes := map[string]int{}
	for _, p := range absolute {
		dir := path.Dir(p)
		for i := 1; i < len(dir); i++ {
			if dir[i-1] == '/' && i > 1 && known[dir[i:]] {
				votes[dir[:i-1]]++
				break
			}
		}
	}
	best := ""
	for root, n := range votes {
		if n > votes[best] || n == votes[best] && root < best {
			best = root
		}
	}
	return best
}

// commonDir is the longest directory that all paths share.
func commonDir(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	common := path.Dir(paths[0])
	for _, p := range paths[1:] {
		for common != "/" && !strings.HasPrefix(p, common+"/") {
			common = path.Dir(common)
		}
	}
	return strings.TrimSuffix(common, "/")
}
