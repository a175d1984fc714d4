// SPDX-License-Identifier: BSD-3-Clause

package asm

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch"
)

// arm64Unit is testdata/arm64.c as gcc writes it.
func arm64Unit(t *testing.T, change func(string) string) *Unit {
	t.Helper()
	text, err := os.ReadFile("testdata/arm64.s")
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		was := string(text)
		if text = []byte(change(was)); string(text) == was {
			t.Fatal("nothing was changed")
		}
	}
	u, err := Parse(&arch.ARM64.Assembly, "arm64.s", text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestARM64Refs(t *testing.T) {
	u := arm64Unit(t, nil)
	for name, want := range map[string][]string{
		"first":  {"counter", "counter", "outside()"},
		"warns":  {"table", "table", "outside()"},
		"enable": {"counter", "counter"},
		"last":   {"counter", "counter", "outside()", "warns()", "enable()"},
		"table":  nil,
		"alias":  {"alias", "last"},
	} {
		d := u.Lookup(name)
		if d == nil {
			t.Errorf("no %s", name)
			continue
		}
		var got []string
		u.Refs(d, func(name string, branch bool) {
			if branch {
				name += "()"
			}
			got = append(got, name)
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s refers to %q, want %q", name, got, want)
		}
	}
	for _, d := range u.Defs {
		if d.Section != map[string]string{"table": ".data", "counter": ".bss", "alias": ".data"}[d.Name] && d.Section != ".text" {
			t.Errorf("%s is in %s", d.Name, d.Section)
		}
	}
}

// TestARM64Immediates: whatever number of an instruction or of a table is changed, the code is not equal any more; that a
// warning is in another line makes no difference.
func TestARM64Immediates(t *testing.T) {
	pristine := arm64Unit(t, nil)
	text, err := os.ReadFile("testdata/arm64.s")
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`\b\d+\b`)
	lines := strings.Split(string(text), "\n")
	changed := 0
	for i, l := range lines {
		owner := owner(pristine, lines, i)
		if word, _ := firstWord(l); owner != nil && owner.Kind == Object && word != ".xword" {
			continue
		}
		if owner == nil || strings.HasPrefix(l, "//") || !strings.HasPrefix(l, "\t") || strings.Contains(l, ".cfi") ||
			strings.Contains(l, ".LPFE") {
			continue
		}
		if word, _ := firstWord(l); word == ".align" || word == ".p2align" || word == ".pushsection" || word == ".subsection" ||
			word == ".org" || word == ".section" || word == ".irp" {
			continue
		}
		code, _, _ := strings.Cut(l, "//")
		for _, at := range number.FindAllStringIndex(code, -1) {
			n, _ := strconv.Atoi(l[at[0]:at[1]])
			edited := slices.Clone(lines)
			edited[i] = l[:at[0]] + strconv.Itoa(n+1) + l[at[1]:]
			u, err := Parse(&arch.ARM64.Assembly, "arm64.s", []byte(strings.Join(edited, "\n")))
			if err != nil {
				t.Errorf("line %d: %q: %v", i+1, edited[i], err)
				continue
			}
			if d := u.Lookup(owner.Name); d == nil || u.Normal(d) == pristine.Normal(owner) {
				t.Errorf("line %d: %q is taken for %q", i+1, strings.TrimSpace(edited[i]), strings.TrimSpace(l))
			}
			changed++
		}
	}
	if changed < 25 {
		t.Errorf("only %d numbers were changed", changed)
	}
	moved := arm64Unit(t, func(s string) string {
		return strings.NewReplacer(".short 48;", ".short 53;", `// 48 "arm64.c" 1`, `// 53 "arm64.c" 1`).Replace(s)
	})
	if a, b := pristine.Normal(pristine.Lookup("warns")), moved.Normal(moved.Lookup("warns")); a != b {
		t.Errorf("a warning in another line:\n%s\n%s", a, b)
	}
	flags := arm64Unit(t, func(s string) string { return strings.Replace(s, ".short 48; .short 1;", ".short 48; .short 3;", 1) })
	if a, b := pristine.Normal(pristine.Lookup("warns")), flags.Normal(flags.Lookup("warns")); a == b {
		t.Error("another kind of warning is taken for the same")
	}
}

// owner is the definition that a line of the file, found by its text and place, belongs to.
func owner(u *Unit, lines []string, i int) *Def {
	for ; i >= 0; i-- {
		if name, ok := labelOf(lines[i]); ok && u.Lookup(name) != nil {
			return u.Lookup(name)
		}
		if word, _ := firstWord(lines[i]); word == ".size" {
			return nil
		}
	}
	return nil
}

// assembled is what the assembler makes of a text.
func assembled(t *testing.T, text []byte) *elf.File {
	t.Helper()
	const assembler = "aarch64-linux-gnu-as"
	if _, err := exec.LookPath(assembler); err != nil {
		if os.Getenv("PLUGSCHED_NEED_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skipf("nothing was assembled: there is no %s (Debian: binutils-aarch64-linux-gnu)", assembler)
	}
	out := filepath.Join(t.TempDir(), "a.o")
	cmd := exec.Command(assembler, "-o", out, "-")
	cmd.Stdin = bytes.NewReader(text)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, text)
	}
	f, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contents(t *testing.T, f *elf.File, section string) string {
	t.Helper()
	var all []byte
	for _, s := range f.Sections {
		if s.Name != section {
			continue
		}
		b, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return string(all)
}

// TestARM64Write: what was read is given back, the parts of sections too.
func TestARM64Write(t *testing.T) {
	text, err := os.ReadFile("testdata/arm64.s")
	if err != nil {
		t.Fatal(err)
	}
	was := assembled(t, text)
	for _, debug := range []bool{false, true} {
		now := assembled(t, arm64Unit(t, nil).Write(Edit{Debug: debug}))
		for _, s := range []string{".text", ".data", ".altinstructions", "__bug_table", ".rodata.str", "__patchable_function_entries"} {
			if a, b := contents(t, was, s), contents(t, now, s); a != b || a == "" {
				t.Errorf("%s: % x\nwas\n% x", s, b, a)
			}
		}
	}
}

// TestARM64Drop: the function to which gcc links the places of all others may be left out, and those of a function that has
// another name and section are linked to that.
func TestARM64Drop(t *testing.T) {
	u := arm64Unit(t, nil)
	out := u.Write(Edit{
		Drop: func(d *Def) bool { return d.Name == "warns" },
		Rename: func(d *Def) (name, section string) {
			if d.Name == "enable" {
				return "enabled", ".text.enabled"
			}
			return "", ""
		},
	})
	f := assembled(t, out)
	var linked []string
	for _, s := range f.Sections {
		if s.Name == "__patchable_function_entries" {
			linked = append(linked, f.Sections[s.Link].Name)
			if s.Size%8 != 0 || s.Size == 0 {
				t.Errorf("%d bytes of places", s.Size)
			}
		}
	}
	slices.Sort(linked)
	if !slices.Equal(linked, []string{".text", ".text", ".text.enabled"}) {
		t.Errorf("places are linked to %q", linked)
	}
	// The replacement of its alternative goes where the function does: within reach of a branch.
	if got := contents(t, f, ".text.enabled"); len(got) == 0 || !strings.Contains(got, "\x00\x46\x18\xd5") {
		t.Errorf("% x", got)
	}
	if strings.Contains(string(u.Write(Edit{Drop: func(d *Def) bool { return d.Name == "enable" }})), "subsection") {
		t.Error("a part of a function that is left out stays")
	}
}

// TestARM64Anchors: assembly in which variables have no names is refused.
func TestARM64Anchors(t *testing.T) {
	const text = "\t.bss\n\t.set\t.LANCHOR0,. + 0\n\t.type\tcounter, %object\n\t.size\tcounter, 8\ncounter:\n\t.zero\t8\n"
	if _, err := Parse(&arch.ARM64.Assembly, "a.s", []byte(text)); err == nil || !strings.Contains(err.Error(), "-fno-section-anchors") {
		t.Errorf("%v", err)
	}
}
