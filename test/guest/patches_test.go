// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && patches

package guest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/apply"
)

// A corpus is what kernel developers changed in the scheduler between two releases, and what
// becomes of each change. It is a file of test/patches; the text of the changes is in the
// kernels' own sources.
type corpus struct {
	From, To string // releases
	Changes  []upstream
}

// upstream is one change: hunks of the difference between the sources, which belong together.
type upstream struct {
	Name  string
	Hunks []string // FILE:LINE, the first line in From's source
	// What build has to say of it on From, and of its reverse on To: what of the running kernel it
	// changes (and perhaps others that have these inlined), or why not. Of a change of comments,
	// all are empty.
	Changed []string
	Refused []string // "CLASS TEXT": each refusal is of one of these classes, and has its text
	Back    []string // more of them, for the reverse
}

// hunk is a part of a unified difference.
type hunk struct {
	file string // relative to the source
	line int    // the first in the older source
	text string // with its @@ line
}

func (h *hunk) id() string { return fmt.Sprintf("%s:%d", h.file, h.line) }

// difference returns the hunks by which a directory or file of two sources differs.
func difference(t *testing.T, from, to, path string) (hunks []*hunk) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "diff", "-rupN", "-U3", filepath.Join(from, path), filepath.Join(to, path))
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() > 1 {
		t.Fatalf("%v: %v", cmd, err)
	}
	var file string
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.HasPrefix(line, "--- "+from):
			file, _, _ = strings.Cut(strings.TrimPrefix(line, "--- "+from+"/"), "\t")
		case strings.HasPrefix(line, "diff "), strings.HasPrefix(line, "+++ "+to):
		case strings.HasPrefix(line, "@@ -"):
			number, _, _ := strings.Cut(strings.TrimPrefix(line, "@@ -"), ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			hunks = append(hunks, &hunk{file, n, line})
		default:
			hunks[len(hunks)-1].text += line
		}
	}
	return hunks
}

// patchOf writes hunks down as a patch.
func patchOf(hunks []*hunk) []byte {
	slices.SortFunc(hunks, func(a, b *hunk) int { return cmp.Or(strings.Compare(a.file, b.file), a.line-b.line) })
	var b bytes.Buffer
	for i, h := range hunks {
		if i == 0 || hunks[i-1].file != h.file {
			fmt.Fprintf(&b, "--- a/%s\n+++ b/%s\n", h.file, h.file)
		}
		b.WriteString(h.text)
	}
	return b.Bytes()
}

// changesOf finds the hunks of each change. Every hunk of the scheduler's own source has to be
// part of one.
func (c *corpus) changesOf(t *testing.T, from, to *origin) map[string][]*hunk {
	t.Helper()
	known := map[string]*hunk{}
	for _, path := range []string{"kernel/sched", "include/linux/sched.h", "include/linux/sched", "include/linux/psi.h"} {
		for _, h := range difference(t, from.target.Source, to.target.Source, path) {
			known[h.id()] = h
		}
	}
	out := map[string][]*hunk{}
	for _, change := range c.Changes {
		for _, id := range change.Hunks {
			if known[id] == nil {
				t.Fatalf("%s: the sources do not differ at %s", change.Name, id)
			}
			out[change.Name] = append(out[change.Name], known[id])
			known[id].file += "\x00" // it has been claimed
		}
	}
	for id, h := range known {
		if file, claimed := strings.CutSuffix(h.file, "\x00"); claimed {
			h.file = file
		} else if strings.HasPrefix(file, "kernel/sched/") {
			t.Errorf("%s belongs to no change", id)
		}
	}
	return out
}

// TestPatches: what upstream changed in the scheduler takes effect, or is refused with the right
// reason, one change at a time, forth and back; and all that was accepted runs together.
func TestPatches(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared.root, "test/patches/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c corpus
			d := yaml.NewDecoder(bytes.NewReader(text))
			d.KnownFields(true)
			if err := d.Decode(&c); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			c.test(t)
		})
	}
}

func (c *corpus) test(t *testing.T) {
	from, to := of(t, c.From), of(t, c.To)
	changes := c.changesOf(t, from, to)
	var accepted []*hunk
	counts := map[string]int{}
	for _, change := range c.Changes {
		t.Run(change.Name+"/forward", func(t *testing.T) {
			became := from.becomes(t, patchOf(changes[change.Name]), false)
			counts[became.holds(t, change.Changed, change.Refused)]++
		})
		if len(change.Changed) > 0 {
			accepted = append(accepted, changes[change.Name]...)
		}
		t.Run(change.Name+"/back", func(t *testing.T) {
			became := to.becomes(t, patchOf(changes[change.Name]), true)
			counts[became.holds(t, change.Changed, slices.Concat(change.Refused, change.Back))]++
		})
	}
	for _, how := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%d %s", counts[how], how)
	}
	t.Run("catch-up", func(t *testing.T) { c.catchUp(t, from, to) })
	t.Run("together", func(t *testing.T) {
		ko := filepath.Join(t.TempDir(), "together.ko")
		if became := from.becomes(t, patchOf(accepted), false); became.ko == nil {
			t.Fatalf("refused together:\n%s", became.said)
		} else if err := os.WriteFile(ko, became.ko, 0o644); err != nil {
			t.Fatal(err)
		}
		m := boot(t, both(with("/together.ko", ko), from.boots))
		ok(t, m, "schedload start --spec light")
		for range rounds(2, 5) {
			installs(t, m, "plugsched install /together.ko")
			goesOn(t, m)
			ok(t, m, "plugsched uninstall")
			goesOn(t, m)
		}
		ok(t, m, "schedload stop")
		stock(t, m)
	})
}

// catchUp: one command takes over all of it that takes effect, leaves out what would be refused, and what it leaves is built.
func (c *corpus) catchUp(t *testing.T, from, to *origin) {
	building.Lock()
	defer building.Unlock()
	dir := filepath.Join(shared.root, "build/test/variant", from.release, "work")
	from.renew(t, dir)
	a, code := printed(t, "catch-up", "--json", "--dir", dir, "--source", to.target.Source)
	if code != 0 || !a.Applied || !a.Effect || len(a.Patches) != 1 || a.Patches[0].Commit == "" {
		t.Fatalf("exit code %d: %+v", code, a)
	}
	lacks := map[string]bool{}
	for _, part := range a.Patches[0].Parts {
		if !part.Applied && part.Verdict != apply.Already {
			lacks[part.File] = true
		}
	}
	said, code := plugsched(t, "build", dir)
	if code != 0 {
		t.Fatalf("build: exit code %d\n%s", code, said)
	}
	var d desc.Description
	text, err := os.ReadFile(filepath.Join(dir, "scheduler.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	changed := slices.Concat(d.Changed, d.Added, d.Removed)
	for _, change := range c.Changes {
		for _, name := range change.Changed {
			if !slices.Contains(changed, name) {
				t.Errorf("%s: %s has not changed", change.Name, name)
			}
		}
		for _, r := range change.Refused {
			class, _, _ := strings.Cut(r, " ")
			// That is applied: it does no harm.
			unseen := class == "compiled-out" || class == "not-compiled" || class == "no-effect"
			if !unseen && !slices.ContainsFunc(change.Hunks, func(id string) bool { f, _, _ := strings.Cut(id, ":"); return lacks[f] }) {
				t.Errorf("%s: nothing of it was left out, and it is refused: %s", change.Name, r)
			}
		}
	}
}

// built is what the tool made of a change.
type built struct {
	said        string
	code        int
	description desc.Description
	ko          []byte
}

// becomes builds a kernel's scheduler with a patch.
func (o *origin) becomes(t *testing.T, patch []byte, reverse bool) *built {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	dir := filepath.Join(shared.root, "build/test/variant", o.release, "work")
	o.renew(t, dir)
	args := []string{"-C", dir, "apply"}
	if reverse {
		args = append(args, "-R")
	}
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Stdin = bytes.NewReader(patch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s\n%s", err, out, patch)
	}
	b := &built{}
	b.said, b.code = plugsched(t, "build", dir)
	if b.code != 0 {
		return b
	}
	text, err := os.ReadFile(filepath.Join(dir, "scheduler.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &b.description)
	}
	if err == nil {
		b.ko, err = os.ReadFile(filepath.Join(dir, "scheduler.ko"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// holds checks what became of a change, and says it in a word.
func (b *built) holds(t *testing.T, want, refused []string) string {
	t.Helper()
	changed := slices.Concat(b.description.Changed, b.description.Added, b.description.Removed)
	if len(refused) > 0 {
		b.refused(t, refused)
		return "refused"
	}
	if b.code != 0 {
		t.Errorf("exit code %d, expected that it is accepted:\n%s", b.code, b.said)
	}
	for _, name := range want {
		if !slices.Contains(changed, name) {
			t.Errorf("%s has not changed, but %q", name, changed)
		}
	}
	if len(want) > 0 {
		return "accepted"
	}
	if len(changed) > 0 {
		t.Errorf("%q has changed", changed)
	}
	return "no change"
}

// refused checks that all refusals were expected, and that what was expected was refused.
func (b *built) refused(t *testing.T, want []string) {
	t.Helper()
	if b.code != 6 {
		t.Errorf("exit code %d, expected that it is refused:\n%s", b.code, b.said)
	}
	met := map[string]bool{}
	for line := range strings.Lines(b.said) {
		_, after, found := strings.Cut(line, "(docs/develop/refusals.md#")
		if !found {
			continue
		}
		class, _, _ := strings.Cut(after, ")")
		i := slices.IndexFunc(want, func(r string) bool {
			c, text, _ := strings.Cut(r, " ")
			return c == class && strings.Contains(line, text)
		})
		if i < 0 {
			t.Errorf("not expected: %s", line)
			continue
		}
		met[want[i]] = true
	}
	for _, r := range want {
		if !met[r] {
			t.Errorf("%s: not refused:\n%s", r, b.said)
		}
	}
}
