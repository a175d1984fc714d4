// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/outcome"
)

// Verdict says what becomes of a part of a patch.
type Verdict string

// The verdicts. Those from Setting on are of parts without which a patch is not whole.
const (
	Applies    Verdict = "applies"
	Already    Verdict = "already"    // this kernel has it
	Irrelevant Verdict = "irrelevant" // to a scheduler for this kernel
	Setting    Verdict = "setting"    // somebody has to say something first: an option, an entry of plugsched.yaml
	Hook       Verdict = "hook"       // plugsched_init() can do it
	Sidecar    Verdict = "sidecar"    // a function that is not named as one has to move
	Rejected   Verdict = "rejected"   // the text is another here
	Cannot     Verdict = "cannot"
)

// Verdicts are all of them.
var Verdicts = []Verdict{Applies, Already, Irrelevant, Setting, Hook, Sidecar, Rejected, Cannot}

// lacks reports a part that is needed, and was not applied.
func (v Verdict) lacks() bool { return slices.Index(Verdicts, v) >= slices.Index(Verdicts, Setting) }

// Part is a hunk of a patch, or all of what it does to a file.
type Part struct {
	File     string  `json:"file"` // where it is, or would be
	Line     int     `json:"line,omitempty"`
	Function string  `json:"function,omitempty"` // that it is in, as far as the patch says
	Verdict  Verdict `json:"verdict"`
	// Applied says that the text is changed; of what is Irrelevant, it can be.
	Applied  bool     `json:"applied"`
	Why      string   `json:"why,omitempty"`
	Do       string   `json:"do,omitempty"`
	Sidecars []string `json:"sidecars,omitempty"` // that would be needed, FILE:FUNCTION
	Setting  string   `json:"setting,omitempty"`  // that would be needed, OPTION=VALUE
}

// String says where a part is, and why it is not applied.
func (p *Part) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	if p.Function != "" && !strings.HasPrefix(p.Why, p.Function+" ") {
		s += " " + p.Function
	}
	if p.Why != "" {
		s += ": " + p.Why
	}
	return s
}

// PatchReport is what becomes of a patch.
type PatchReport struct {
	From    string `json:"from"`
	Subject string `json:"subject"`
	Commit  string `json:"commit,omitempty"` // that was made of it
	Whole   bool   `json:"whole"`            // all that is needed of it could be applied
	Parts   []Part `json:"parts"`
}

// Application is what becomes of patches.
type Application struct {
	Release string         `json:"release"`
	Applied bool           `json:"applied"` // the working directory has changed
	Patches []*PatchReport `json:"patches"`
	// Effect says that the compiler makes other code of what was applied. It is not known, and false, where not even
	// that was tried.
	Effect bool     `json:"effect"`
	Notes  []string `json:"notes,omitempty"`
}

// Count returns how many parts have a verdict.
func (a *Application) Count(v Verdict) (n int) {
	for _, p := range a.Patches {
		for _, part := range p.Parts {
			if part.Verdict == v {
				n++
			}
		}
	}
	return n
}

// IncompleteError says that patches cannot be applied whole, and nothing was done.
type IncompleteError struct {
	Application *Application
	Why         string // what stands in the way besides the parts' verdicts
}

func (e *IncompleteError) Error() string {
	n := 0
	for _, p := range e.Application.Patches {
		if !p.Whole {
			n++
		}
	}
	text := fmt.Sprintf("%d of %d patches cannot be applied whole: nothing was changed", n, len(e.Application.Patches))
	if n == 0 {
		text = "nothing was changed"
	}
	if e.Why != "" {
		return text + ": " + e.Why
	}
	var ways []string
	var sidecars, settings []string
	for _, p := range e.Application.Patches {
		for _, part := range p.Parts {
			sidecars = append(sidecars, part.Sidecars...)
			if part.Setting != "" {
				settings = append(settings, part.Setting)
			}
		}
	}
	for flag, list := range map[string][]string{"--sidecar": sidecars, "--option": settings} {
		slices.Sort(list)
		for _, v := range slices.Compact(list) {
			ways = append(ways, flag+" "+v)
		}
	}
	slices.Sort(ways)
	if len(ways) > 0 {
		return text + "; try " + strings.Join(ways, " ") + ", or --partial, which leaves out what cannot be"
	}
	return text + "; --partial leaves out what cannot be"
}

// Outcome implements outcome.Error: text that is another here is the input's fault, the rest is refused.
func (e *IncompleteError) Outcome() outcome.Outcome {
	a := e.Application
	if a.Count(Rejected) > 0 && a.Count(Setting)+a.Count(Hook)+a.Count(Sidecar)+a.Count(Cannot) == 0 {
		return outcome.Precondition
	}
	return outcome.Refused
}
