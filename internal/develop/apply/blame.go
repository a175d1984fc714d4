// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
)

// diagnosed makes refusals of a compiler's errors.
func diagnosed(list []project.Diagnostic) (out []bind.Refusal) {
	for _, d := range list {
		out = append(out, bind.Refusal{Name: "it", File: filepath.Clean(d.File), Line: d.Line, Why: "does not compile here: " + d.Message,
			Do: "bring along what it needs"})
	}
	return out
}

// namesRE are the names in a refusal that an edit can have.
var namesRE = regexp.MustCompile(`[A-Za-z_]\w+`)

// blamed returns the applied pieces that a refusal is about.
func (s *series) blamed(r *bind.Refusal) []*piece {
	var own []*piece
	for _, x := range s.pieces {
		if x.Applied && x.hunk != nil {
			own = append(own, x)
		}
	}
	pick := func(is func(x *piece) bool) (out []*piece) {
		for _, x := range own {
			if is(x) {
				out = append(out, x)
			}
		}
		return out
	}
	here := func(x *piece) bool { return x.File == r.File }
	if out := pick(func(x *piece) bool { return here(x) && x.place.From <= r.Line && r.Line <= x.place.To }); out != nil {
		return out
	}
	const around = 4 // of a hunk's surroundings
	if out := pick(func(x *piece) bool { return here(x) && x.place.From-around <= r.Line && r.Line <= x.place.To+around }); out != nil {
		return out
	}
	name := r.Name
	if name == "it" || name == "the module" {
		name = ""
	}
	names := slices.DeleteFunc(namesRE.FindAllString(name+" "+quoted(r.Why), -1), func(n string) bool { return n == "struct" })
	edited := func(x *piece) bool {
		return slices.ContainsFunc(slices.Concat(x.hunk.Edits('+'), x.hunk.Edits('-')), func(l string) bool {
			return slices.ContainsFunc(namesRE.FindAllString(l, -1), func(w string) bool { return slices.Contains(names, w) })
		})
	}
	if out := pick(func(x *piece) bool { return here(x) && edited(x) }); out != nil {
		return out
	}
	if out := pick(edited); out != nil {
		return out
	}
	return pick(func(x *piece) bool { return slices.Contains(names, x.hunk.Function()) })
}

var quotedRE = regexp.MustCompile(`[‘'](\w+)['’(]`)

// quoted are the words that a compiler's message has in quotes.
func quoted(text string) string {
	var out []string
	for _, m := range quotedRE.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return strings.Join(out, " ")
}

var (
	sidecarRE = regexp.MustCompile(`--sidecar (\S+)`)
	defineRE  = regexp.MustCompile("`#define (CONFIG_\\w+) (\\w+)`")
)

// refuse gives a piece the verdict of a refusal.
func (x *piece) refuse(r *bind.Refusal) {
	x.Applied = false
	x.Verdict, x.Why, x.Do = Cannot, r.Name+" "+r.Why, r.Do
	x.Sidecars, x.Setting = nil, ""
	if r.Class != "" && !strings.Contains(r.Do, "(docs/") {
		x.Do += " (docs/develop/refusals.md#" + string(r.Class) + ")"
	}
	if r.Line > 0 && r.File == x.File && !r.Gone {
		x.Line = r.Line
	}
	for _, m := range sidecarRE.FindAllStringSubmatch(r.Do, -1) {
		x.Verdict = Sidecar
		x.Sidecars = append(x.Sidecars, strings.Trim(m[1], "`.,)"))
	}
	switch m := defineRE.FindStringSubmatch(r.Do); {
	case x.Verdict == Sidecar:
		x.Do = doSidecars(x.Sidecars)
	case m != nil:
		x.Verdict, x.Setting = Setting, m[1]+"="+m[2]
	case r.Class == bind.Inherited:
		x.Verdict = Setting
	case strings.Contains(r.Do, "plugsched_init()"):
		x.Verdict = Hook
	}
}

// doSidecars is the advice for what would have to move.
func doSidecars(list []string) string {
	return "give `--sidecar " + strings.Join(list, " --sidecar ") + "`, and it moves with the scheduler (docs/develop/sidecar.md)"
}

// leftOut marks the pieces of which the preprocessor takes nothing.
func (s *series) leftOut(unseen []bind.Refusal) error {
	for _, x := range s.pieces {
		if !x.Applied || x.hunk == nil {
			continue
		}
		// What was removed is told by the lines of the kernel's own text: of one that had been edited before, nothing is said.
		was, err := s.pristine(x.File)
		if err != nil {
			return err
		}
		source, err := os.ReadFile(s.p.PristineFile(x.File))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		original := was != nil && *was == string(source)
		if why := x.unseen(unseen, original); why != "" {
			x.Verdict, x.Why = Irrelevant, why
		}
	}
	return nil
}

// unseen says what leaves a piece out, "" if the compiler sees some of it.
func (x *piece) unseen(unseen []bind.Refusal, original bool) (why string) {
	is, was := x.place.From-before(x.hunk), x.hunk.Old
	for _, l := range x.hunk.Lines {
		at, gone := is, l.Op == '-'
		if gone {
			at = was
		}
		if l.Op != '-' {
			is++
		}
		if l.Op != '+' {
			was++
		}
		if l.Op == ' ' || !code(l.Text) {
			continue
		}
		n := slices.IndexFunc(unseen, func(r bind.Refusal) bool {
			return r.File == x.File && (r.To == 0 || r.Gone == gone && (!gone || original) && r.Line <= at && at <= r.To)
		})
		if n < 0 {
			return ""
		}
		if why == "" {
			why, _, _ = strings.Cut(unseen[n].Why, ": the change has no effect")
		}
	}
	return why
}

// before counts the lines before a hunk's first edit.
func before(h *patch.Hunk) int {
	return slices.IndexFunc(h.Lines, func(l patch.Line) bool { return l.Op != ' ' })
}

// code reports a line that is more than a comment or blank, as far as one line can tell.
func code(l string) bool {
	l = strings.TrimSpace(l)
	return l != "" && !strings.HasPrefix(l, "/*") && !strings.HasPrefix(l, "*") && !strings.HasPrefix(l, "//") && !strings.HasPrefix(l, "#")
}
