// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"regexp"
	"strings"
	"testing"

	"plugsched/internal/develop/boundary"
)

// TestSelfContained: the page has all facts, fetches nothing, and what a kernel's
// names say is data.
func TestSelfContained(t *testing.T) {
	evil := "</script><script>alert(1)</script>"
	b := &boundary.Boundary{Release: "6.1 <b>", Functions: []*boundary.Function{
		{Name: "f", Class: boundary.Interface, DeclFile: "kernel/sched/core.c", DeclLine: 7,
			Facts: []boundary.Fact{{Text: "is called by " + evil}}, Callers: []string{"g"}},
	}, Absent: []*boundary.Absent{{Name: "inline_one", Into: []string{"f"}}, {Name: "weak_one", Over: "arch.c"}},
		Objects: []*boundary.Object{{Name: "v", Class: boundary.Shared, Why: "state is inherited", Outside: []string{"user"}}}}
	var out strings.Builder
	if err := Write(&out, b); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{`"n":"f"`, "kernel/sched/core.c", `"is inlined into f"`, "replaced by arch.c", "state is inherited",
		"by user", "6.1 &lt;b&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, evil) || strings.Count(page, "</script>") != 1 {
		t.Error("data got into the page's code")
	}
	// Links lead to the page itself, of which hash() makes addresses.
	for _, m := range regexp.MustCompile(`(?i)(src|href|url|https?:|@import|<link|fetch|XMLHttp)\S*( hash\()?`).FindAllString(page, -1) {
		if !strings.HasPrefix(m, "URLSearchParams") && !strings.HasPrefix(m, "href: hash(") {
			t.Errorf("the page refers to something: %s", m)
		}
	}
}
